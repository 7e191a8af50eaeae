"""
Drift: what differs from the training of the model that scores.

A training keeps a summary: which share of its rows lies in each bin of every feature,
and of the scores. A publication is counted into the same bins, and compared by the
population stability index (PSI). So a new model brings a new reference with it.

Source:
    Yurdakul and Naranjo, "Statistical properties of the population stability index",
    Journal of Risk Model Validation 14, 2020: without drift it is distributed as
    chi-square times 1/n + 1/m, by the users on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct, convert
from msgspec.structs import replace
from numpy.typing import NDArray

from propensity.models.encoding import Floats, floats_of, strings_of
from propensity.pages.words import abbreviate, percent, plural
from propensity.tables.models import Bin, Signal

FEATURE = "feature"
SCORE = "score"
USERS = "users"
PROBABILITY = "probability"

# PSI that matters: a season moves the features of a shop by less in a few months.
BOUND = 0.2

# What chance adds to PSI at most, over 1/n + 1/m: of B bins, the quantile of chi-square
# with B - 1 degrees of freedom that one publication in some 10,000 is beyond.
_CHANCE = 12
_CHANCE_OF_BIN = 3

# An alarm of the number of users: half as many as in the training, or twice.
_USER_COUNT_FACTOR = 2.0

# Bins of a number: tenths of the training's rows. Values of a category: the most
# frequent, of at least a hundredth of the rows and so many users: one may be a person.
_TENTHS = np.linspace(0.1, 0.9, 9)
_SHOWN_VALUES = 20
_RARE = 0.01
FEWEST_USERS = 10

# Snapshots of a training that show whether a feature grows with the table's age.
_FEWEST_SNAPSHOTS = 3
# It does so steadily where no step has more of the way; a fault makes one step.
_LARGEST_STEP = 0.6


class WatchedSignal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    A feature, or the scores, in a training.

    Attributes:
        shares: Of the rows, by bin: up to an edge, or with a value; then all other
            rows, and at the end those without a value.
        edges, values: Of a number, or of a category.
        grows: Whether it rose from snapshot to snapshot by as much as an alarm takes:
            of what grows with the age of the table, an alarm would say nothing.
    """

    kind: str
    name: str
    shares: Sequence[float]
    edges: Sequence[float] = ()
    values: Sequence[str] | None = None
    grows: bool = False

    def counts(self, values: Any, weight: Floats | None = None) -> Floats:
        """Return rows by bin, (bins,)."""
        places = self.places(values)
        return np.bincount(places, weight, minlength=len(self.shares)).astype(float)

    def places(self, values: Any) -> NDArray[np.int64]:
        """Return the bin of each row, (rows,)."""
        if self.values is None:
            places = np.searchsorted(self.edges, values, "left")
            places = np.where(np.isnan(values), len(self.edges) + 1, places)
        else:
            known_values = pa.array(self.values, pa.string())
            indices = pc.fill_null(pc.index_in(values, known_values), len(known_values))
            indices = pc.if_else(pc.is_valid(values), indices, len(known_values) + 1)
            places = indices.to_numpy(zero_copy_only=False)
        return np.asarray(places, dtype=np.intp)

    def bins(self) -> list[str]:
        if self.values is not None:
            return list(self.values) + ["another value", "missing"]
        if self.kind == SCORE:
            edges = [f"{100 * edge:.3g}%" for edge in self.edges]
        else:
            edges = [abbreviate(float(f"{edge:.6g}")) for edge in self.edges]
        if not edges:
            return ["any value", "missing"]
        bins = [f"{edges[0]} or less"]
        bins += [f"{low} to {high}" for low, high in pairwise(edges)]
        return bins + [f"over {edges[-1]}", "missing"]


class Reference(Struct, frozen=True, kw_only=True):
    """
    A training, summarised.

    Attributes:
        users: Of a snapshot; ``distinct_users`` of all.
        signals: The scores, and each feature.
    """

    users: int
    distinct_users: int
    signals: Sequence[WatchedSignal]


def summary_of(stored: Mapping[str, Any] | None) -> Reference | None:
    """Return the summary that the card of a version has; None without one."""
    return convert(stored, Reference) if stored else None


def reference(
    rows: pa.Table, features: Mapping[str, str], *, score: Floats, snapshots: int
) -> Reference:
    """
    Summarise a training.

    Args:
        rows: Features, ``as_of``, ``user_id`` and ``weight``, the source's rows for
            each; the oldest snapshot first.
        features: ``number`` or ``category`` by name.
        score: Of the newest ``snapshots``, by a model that has not seen them, (rows,).
    """
    weight = rows["weight"].to_numpy().astype(np.float64)
    _, sizes = np.unique(rows["as_of"].to_numpy(), return_counts=True)
    held = weight[-sizes[-snapshots:].sum() :]
    signals = [_numbers(SCORE, PROBABILITY, score, held)]
    for name, kind in features.items():
        values = column_of(rows, name, kind)
        signal = signal_of(name, values, rows["user_id"], weight)
        if kind == "number":
            counts = _by_snapshot(signal, values, weight, sizes)
            if _grows(counts, values, sizes):
                signal = replace(signal, grows=True)
            elif _fills(counts):
                newest = counts[-_stride(counts) :].sum(axis=0)
                signal = replace(signal, shares=_shares(newest))
        signals.append(signal)
    return Reference(
        users=round(held.sum()) // snapshots,
        distinct_users=pc.count_distinct(rows["user_id"]).as_py(),
        signals=signals,
    )


def column_of(rows: pa.Table | pa.RecordBatch, name: str, kind: str) -> Any:
    """Return a feature as floats, NaN for null, or as texts, (rows,)."""
    column = rows[name]
    if kind == "number":
        return floats_of(column).astype(float)
    return strings_of(column)


def signal_of(
    name: str, values: Any, user: pa.ChunkedArray, weight: Floats
) -> WatchedSignal:
    """Divide a feature, as ``column_of`` has it, into bins with their shares."""
    if isinstance(values, np.ndarray):
        return _numbers(FEATURE, name, values, weight)
    return _texts(name, values, user, weight)


def _numbers(kind: str, name: str, values: Floats, weight: Floats) -> WatchedSignal:
    present = values[~np.isnan(values)]
    edges = present[:0]
    if len(present):
        edges = np.unique(np.quantile(present, _TENTHS, method="lower"))
        below = present[present < edges[0]]
        # A value that nearly all have is kept apart from the fewer ones below it.
        if len(edges) == 1 and len(below):
            edges = np.append(below.max(), edges)
        # A sum in another order is the same value.
        edges += 1e-9 * np.abs(edges)
    empty = [0.0] * (len(edges) + 2)
    signal = WatchedSignal(kind=kind, name=name, edges=edges.tolist(), shares=empty)
    return replace(signal, shares=_shares(signal.counts(values, weight)))


def _shares(counts: Floats) -> list[float]:
    shares: list[float] = (counts / max(counts.sum(), 1)).round(6).tolist()
    return shares


def _by_snapshot(
    signal: WatchedSignal, values: Floats, weight: Floats, sizes: NDArray[np.int64]
) -> Floats:
    """
    Return rows by snapshot and bin, (snapshots, bins).

    Args:
        values, weight: Of all rows, the oldest snapshot first, (rows,).
        sizes: Rows of each snapshot.
    """
    counts = []
    for end, size in zip(np.cumsum(sizes), sizes, strict=True):
        counts.append(signal.counts(values[end - size : end], weight[end - size : end]))
    return np.array(counts)


def _grows(counts: Floats, values: Floats, sizes: NDArray[np.int64]) -> bool:
    """Tell whether a number rises with each snapshot, in all by more than the bound."""
    if len(sizes) < _FEWEST_SNAPSHOTS:
        return False
    means = []
    for part in np.split(values, np.cumsum(sizes)[:-1]):
        present = part[~np.isnan(part)]
        if not len(present):
            return False
        means.append(float(present.mean()))
    return bool(np.all(np.diff(means) > 0)) and _from_first(counts)[-1] > BOUND


def _fills(counts: Floats) -> bool:
    """
    Tell whether a number moves on from snapshot to snapshot, by more than the bound.

    It does where it reads a longer window than the table covers: with each snapshot
    more users have bought before, though what one of them does is as it was. So the
    newest snapshots are what later users are compared with.
    """
    if len(counts) < _FEWEST_SNAPSHOTS:
        return False
    distance = np.sqrt(_from_first(counts))
    stride = _stride(counts)
    steps = distance[stride:] - distance[:-stride]
    way = distance[-1]
    is_steady = steps.min() > 0 and steps.max() <= _LARGEST_STEP * way
    return bool(is_steady and way**2 > BOUND)


def _stride(counts: Floats) -> int:
    """Return so many snapshots that what moves on is seen over what chance moves."""
    return max(1, len(counts) // 5)


def _from_first(counts: Floats) -> Floats:
    """Return the index of each snapshot beside the first, (snapshots,)."""
    first = counts[0]
    far = []
    for later in counts:
        users = float(min(first.sum(), later.sum()))
        far.append(_psi(first / first.sum(), later / later.sum(), users))
    return np.array(far)


def _texts(
    name: str, values: pa.Array, user: pa.ChunkedArray, weight: Floats
) -> WatchedSignal:
    table = pa.table({"value": values, "user": user, "weight": weight})
    counted = table.group_by("value").aggregate(
        [("weight", "sum"), ("user", "count_distinct")]
    )
    order = [("weight_sum", "descending"), ("value", "ascending")]
    present = counted.filter(pc.is_valid(counted["value"])).sort_by(order)
    total = max(float(weight.sum()), 1.0)
    frequent = pc.and_(
        pc.greater_equal(present["weight_sum"], _RARE * total),
        pc.greater_equal(present["user_count_distinct"], FEWEST_USERS),
    )
    frequent_values = present.filter(frequent)[:_SHOWN_VALUES]
    frequent_shares = frequent_values["weight_sum"].to_numpy() / total
    present_share = float(present["weight_sum"].to_numpy().sum()) / total
    shares = np.append(
        frequent_shares, [present_share - frequent_shares.sum(), 1.0 - present_share]
    )
    return WatchedSignal(
        kind=FEATURE,
        name=name,
        values=frequent_values["value"].to_pylist(),
        shares=[round(share, 6) for share in shares.clip(min=0.0).tolist()],
    )


def _psi(expected: Floats, observed: Floats, users: float) -> float:
    """Return the index of two shares by bin, with half a user more in every bin."""
    total = users + 0.5 * len(expected)
    before = (expected * users + 0.5) / total
    now = (observed * users + 0.5) / total
    return float(((now - before) * np.log(now / before)).sum())


def _by_chance(bins: int, users: float, users_before: float) -> float:
    """Return the most that chance adds to the index."""
    return (_CHANCE + _CHANCE_OF_BIN * bins) * (1 / users + 1 / users_before)


class Observed:
    """Counts a publication's features and scores by batch; nothing without summary."""

    def __init__(self, summary: Reference | None) -> None:
        self._summary = summary
        self._signals = summary.signals if summary else ()
        self._counts = [np.zeros(len(signal.shares)) for signal in self._signals]
        self._users = 0

    def count(
        self, scored: Iterable[tuple[pa.RecordBatch, Floats]]
    ) -> Iterator[tuple[pa.RecordBatch, Floats]]:
        """Yield scored batches as they are, counted, as the model gave them."""
        for batch, probability in scored:
            self._users += batch.num_rows
            for index, signal in enumerate(self._signals):
                values = probability
                if signal.kind != SCORE:
                    kind = "number" if signal.values is None else "category"
                    values = column_of(batch, signal.name, kind)
                self._counts[index] += signal.counts(values)
            yield batch, probability

    def signals(self) -> list[Signal]:
        """Return all that is watched, each compared with the training."""
        if self._summary is None or not self._users:
            return []
        compared = [_of_users(self._users, self._summary.users)]
        for signal, counts in zip(self._signals, self._counts, strict=True):
            compared.append(compare_signal(signal, counts, summary=self._summary))
        return compared


def compare_signal(
    signal: WatchedSignal, counts: Floats, *, summary: Reference
) -> Signal:
    """Compare the users of a publication by bin, (bins,), with the training."""
    users = float(counts.sum())
    distinct = max(summary.distinct_users, 1)
    expected = np.array(signal.shares)
    observed = counts / users
    psi = _psi(expected, observed, min(users, distinct))
    bound = BOUND + _by_chance(len(counts), users, distinct)
    names = signal.bins()
    cause = None
    message = None
    if psi > bound and not signal.grows:
        change = observed - expected
        missing = len(counts) - 1
        farthest = int(np.argmax(np.abs(change)))
        cause = signal.kind
        # A gap explains all that it took.
        if cause == FEATURE and change[missing] > 0.4 * np.abs(change).sum():
            farthest = missing
            cause = "missing values"
        what = names[farthest]
        if signal.values is not None and farthest < len(signal.values):
            what = repr(what)
        message = (
            f"{signal.name} is {what} for {percent(observed[farthest])} of users "
            f"({percent(expected[farthest])} in the training)"
        )
        if cause == FEATURE:
            message += "; if it moves as the export grows older, train again"
    return Signal(
        kind=signal.kind,
        name=signal.name,
        users=int(users),
        users_before=summary.users,
        missing=float(observed[-1]),
        missing_before=float(expected[-1]),
        psi=psi,
        bound=bound,
        bins=[
            Bin(value=name, expected=float(expected[n]), observed=float(observed[n]))
            for n, name in enumerate(names)
        ],
        is_alarm=message is not None,
        cause=cause,
        message=message,
    )


def _of_users(now: int, before: int) -> Signal:
    signal = Signal(kind=USERS, name=USERS, users=now, users_before=before)
    if before / _USER_COUNT_FACTOR <= now <= before * _USER_COUNT_FACTOR:
        return signal
    message = (
        f"{plural(now, 'user')} have features, and {before:,} had in a snapshot of the "
        "training"
    )
    return replace(signal, is_alarm=True, cause=USERS, message=message)
