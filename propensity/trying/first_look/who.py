"""
Who the chosen are: what tells them from the others who could have been chosen.

Each line says how many of the chosen and of the others are so: at most or more than a
fixed edge, or of a value. All lines that could be printed are counted before anybody
looks, and a line has to be beyond chance among them all. No line names few people.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import stats

from propensity.learning.trained import Trained
from propensity.measures.statistic import Share, difference_of_means
from propensity.models.encoding import Flags
from propensity.usecases.declaration import Telling

# Lines that are printed.
MOST_LINES = 5
# A cell of fewer people is never printed as it is.
FEWEST = 20
# A share of the chosen is that far above that of the others, in points and in times.
_POINTS = 0.05
_TIMES = 1.5
# Among so many of the strongest, of two that say the same one is left out.
_COMPARED = 12
_ALIKE = 0.7
_LONGEST = 40
_PERSONAL = re.compile(r"@|\d{6}")
# Of fewer chosen or others, the test is exact.
_FEW = 100
_LEVEL = 0.05
_EDGES: Mapping[str, Sequence[float]] = {
    "days": (1, 3, 7, 14, 30, 90, 365),
    "count": (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
}
_STEPS = (1, 2, 5)


class Having(NamedTuple):
    """
    Whom a line is about: who has a value, or a number on one side of an edge.

    ``side`` is "=", "at most" or "more than"; so are so many of the chosen and of the
    others.
    """

    feature: str
    side: str
    value: str | float
    chosen: int
    others: int


@dataclass(frozen=True, kw_only=True)
class Trait:
    """
    A line as it is printed.

    Attributes:
        words: Last visit at most 3 days ago.
        chosen, others: Shares, as they may be printed: 62%, or "fewer than 5%".
        more_low: The nearer end of the interval of the shares' difference.
    """

    words: str
    chosen: str
    others: str
    more_low: float


def who_they_are(
    features: pa.Table,
    chosen: Flags,
    tellings: Mapping[str, Telling],
) -> list[Trait]:
    """
    Return what tells the chosen from the others, the strongest first.

    Args:
        features: Of all who could have been chosen, a row each.
        chosen: Who is, (rows,).
        tellings: How each feature is called and what it is in; without one, it is left
            out.
    """
    n_chosen = int(chosen.sum())
    n_others = len(chosen) - n_chosen
    if min(n_chosen, n_others) < FEWEST:
        return []
    counted = []
    for feature, telling in tellings.items():
        counted += list(count_bins(feature, features[feature], chosen, telling))
    beyond = _beyond_chance(counted, n_chosen, n_others)
    strongest = [having for _, having in beyond[:_COMPARED]]
    kept = _without_alike(strongest, features)
    lines = []
    for low, having in beyond:
        if having in kept:
            lines.append(
                Trait(
                    words=_words(having, tellings[having.feature]),
                    chosen=_share(having.chosen, n_chosen),
                    others=_share(having.others, n_others),
                    more_low=round(low, 4),
                )
            )
    return lines[:MOST_LINES]


def who_of_test(trained: Trained, tellings: Mapping[str, Telling]) -> list[Trait]:
    """Return what tells the best tenth of a test set, unless it is a sample."""
    rows = trained.holdout.rows
    if rows.sample_weight is not None:
        return []
    best_first = np.argsort(-trained.holdout.probability, kind="stable")
    chosen = np.zeros(len(rows), np.bool_)
    chosen[best_first[: len(rows) // 10]] = True
    return who_they_are(rows.rows, chosen, tellings)


def traits_text(lines: Sequence[Trait]) -> str:
    """Write lines as a sentence each: City Porto: 31% (of the others 12%)."""
    told = []
    for number, line in enumerate(lines):
        of_others = f"of the others {line.others}" if number == 0 else line.others
        told.append(f"{line.words}: {line.chosen} ({of_others}).")
    return " ".join(told)


def count_bins(
    feature: str, values: pa.ChunkedArray, chosen: Flags, telling: Telling
) -> Iterator[Having]:
    """Count all bins of a feature of which a line could be printed."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        yield from _count_values(feature, values, chosen)
        return
    numbers = values.to_numpy().astype("float64")
    numbers = np.where(np.isinf(numbers), np.nan, numbers)
    is_number = ~np.isnan(numbers)
    if not is_number.any():
        return
    low = float(numbers[is_number].min())
    high = float(numbers[is_number].max())
    n_chosen = int(chosen[is_number].sum())
    n_others = int(is_number.sum()) - n_chosen
    for edge in _edges(telling.unit, low, high):
        is_below = numbers <= edge
        below = int((is_below & chosen).sum())
        others = int(is_below.sum()) - below
        yield Having(feature, "at most", edge, below, others)
        above = n_chosen - below
        yield Having(feature, "more than", edge, above, n_others - others)


def _count_values(
    feature: str, values: pa.ChunkedArray, chosen: Flags
) -> Iterator[Having]:
    encoded = values.combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy()
    names = encoded.dictionary.to_pylist()
    every = np.bincount(codes[codes >= 0], minlength=len(names))
    of_chosen = np.bincount(codes[chosen & (codes >= 0)], minlength=len(names))
    for code in np.flatnonzero(every >= 2 * FEWEST):
        name = names[code]
        if len(name) > _LONGEST or _PERSONAL.search(name):
            continue
        here = int(of_chosen[code])
        others = int(every[code]) - here
        yield Having(feature, "=", name, here, others)


def _edges(unit: str, low: float, high: float) -> list[float]:
    edges = _EDGES.get(unit.removesuffix(" ago"))
    if edges is None:
        edges = [0.0]
        largest = max(abs(low), abs(high), 1.0)
        for power in range(-2, math.ceil(math.log10(largest)) + 1):
            edges += [step * 10.0**power for step in _STEPS]
        if low < 0:
            edges += [-edge for edge in edges if edge]
    return [edge for edge in sorted(edges) if low <= edge < high]


def _beyond_chance(
    counted: Sequence[Having], n_chosen: int, n_others: int
) -> list[tuple[float, Having]]:
    """
    Return what is beyond chance among all that was counted, the strongest first.

    Each with the nearer end of the interval of its difference, at the level of all. Of
    each feature the strongest number, and all values.
    """
    if not counted:
        return []
    level = _LEVEL / len(counted)
    errors = float(stats.norm.isf(level / 2))
    beyond = []
    for having in counted:
        share = having.chosen / n_chosen
        of_others = having.others / n_others
        is_large = share - of_others >= _POINTS and share >= _TIMES * of_others
        if not is_large or not _may_be_printed(having, n_chosen):
            continue
        if _chance(having, n_chosen, n_others) > level:
            continue
        more = difference_of_means(
            _share_of(having.chosen, n_chosen),
            _share_of(having.others, n_others),
            errors=errors,
        )
        assert more.low is not None
        beyond.append((more.low, having))
    beyond.sort(key=lambda pair: -pair[0])
    return beyond


def _may_be_printed(having: Having, n_chosen: int) -> bool:
    """Tell whether a line names nobody: few are neither in it nor out of it."""
    if having.side == "=" and min(having.chosen, having.others) < FEWEST:
        return False
    return having.chosen >= FEWEST


def _chance(having: Having, n_chosen: int, n_others: int) -> float:
    """
    Return how often chance alone makes shares differ as much, from either side.

    Source:
        The score test of two proportions; of few users Fisher's exact test.
    """
    inside = having.chosen + having.others
    every = n_chosen + n_others
    if min(n_chosen, n_others) < _FEW:
        cells = [
            [having.chosen, n_chosen - having.chosen],
            [having.others, n_others - having.others],
        ]
        return float(stats.fisher_exact(cells).pvalue)
    rate = inside / every
    error = math.sqrt(rate * (1 - rate) * (1 / n_chosen + 1 / n_others))
    difference = having.chosen / n_chosen - having.others / n_others
    return float(2 * stats.norm.sf(abs(difference) / error)) if error else 1.0


def _share_of(inside: int, users: int) -> Share:
    return Share(users=users, positives=inside, total=inside, squares=inside)


def _without_alike(strongest: Sequence[Having], features: pa.Table) -> list[Having]:
    """Return bins of which no two say the same: a number's feature has one."""
    kept = list[Having]()
    masks = list[Flags]()
    for having in strongest:
        names = {other.feature for other in kept if other.side != "="}
        if having.feature in names:
            continue
        mask = _mask(having, features)
        if any(_phi(mask, other) > _ALIKE for other in masks):
            continue
        kept.append(having)
        masks.append(mask)
    return kept


def _mask(having: Having, features: pa.Table) -> Flags:
    values = features[having.feature]
    if having.side == "=":
        is_so = pc.equal(values, having.value)
    elif having.side == "at most":
        is_so = pc.less_equal(values, having.value)
    else:
        is_so = pc.greater(values, having.value)
    flags: NDArray[np.bool_] = is_so.fill_null(False).to_numpy()
    return flags


def _phi(flags: Flags, others: Flags) -> float:
    """Return the correlation of two bins over all rows."""
    both = float((flags & others).mean())
    first = float(flags.mean())
    second = float(others.mean())
    spread = math.sqrt(first * (1 - first) * second * (1 - second))
    return (both - first * second) / spread if spread else 1.0


def _words(having: Having, telling: Telling) -> str:
    phrase = telling.phrase if telling.phrase else having.feature
    if having.side == "=":
        return f"{phrase} {having.value}"
    value: Any = having.value
    if telling.unit == "count" and having.side == "more than":
        return f"{phrase} at least {value + 1:,.0f}"
    words = f"{phrase} {having.side} {value:,.10g}"
    if telling.unit in ("", "count"):
        return words
    unit = telling.unit
    if value == 1:
        unit = unit.replace("days", "day")
    return f"{words} {unit}"


def _share(inside: int, users: int) -> str:
    """Write a share in whole percents, and of few people only a bound."""
    if 0 < inside < FEWEST:
        return f"fewer than {math.ceil(100 * FEWEST / users)}%"
    if 0 < users - inside < FEWEST:
        return f"more than {math.floor(100 * (users - FEWEST) / users)}%"
    return f"{100 * inside / users:.0f}%"
