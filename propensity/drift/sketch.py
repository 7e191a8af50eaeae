"""
Sketches: the values of a feature in one publication, counted.

A number is counted by its sign, its exponent and the first three bits of its mantissa:
buckets of 6% to 12% of the value, which are the same in every week, need no pass over
the data to choose and no state. A category is counted by value. Sketches of any two
weeks can be compared. Rare categories, which may be a person, are counted together.

Source:
    Masson, Rim and Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with
    Relative-Error Guarantees", VLDB 2019: buckets of equal relative width; these are
    equal within a power of two, which costs no logarithm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Value = float | str | None

NUMBER, CATEGORY = "number", "category"

# Bits of a double below its sign, exponent and first mantissa bits: three of a feature,
# ten (a thousandth of the value) of the probabilities, whose ranks are estimated from.
_COARSE, _FINE = 49, 42
# Probabilities below this are counted with it.
_LEAST = 2.0**-30

# A value of a category is named if so many users have it and few values have more.
NAMED_USERS = 10
_NAMED_VALUES = 100
# The rest is counted together before the memory of an instance is at stake.
_DISTINCT_VALUES = 20_000


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """
    The values of one feature in one publication.

    Attributes:
        kind: "number" or "category".
        users: All users, those without a value too.
        missing: Users without a value.
        counts: Users by value: of a number the end of its bucket that is nearer to 0,
            of a category the text, with None for all rare ones.
    """

    kind: str
    users: int
    missing: int
    counts: Mapping[Value, int]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """
    The probabilities of a publication by fine bucket, without the season's shift.

    ``mean`` is that of each bucket's probabilities; both are (buckets,), ascending.
    """

    mean: Floats
    users: Floats

    def level(self) -> tuple[float, float]:
        """Return the logarithm of the mean probability, and its standard error."""
        total = self.users.sum()
        mean = float((self.users * self.mean).sum() / total)
        spread = float((self.users * (self.mean - mean) ** 2).sum() / total)
        if mean <= 0:
            return -np.inf, 0.0
        return float(np.log(mean)), float(np.sqrt(spread / total) / mean)


class Sketches:
    """
    Counts the features and probabilities of a publication, batch by batch.

    Args:
        features: Kind of each feature by name; none where features are not seen.
    """

    def __init__(self, features: Mapping[str, str]) -> None:
        self._features = dict(features)
        self._numbers: dict[str, Counts] = {}
        self._texts: dict[str, Counter[Value]] = {}
        self._missing: Counter[str] = Counter()
        self._users = 0
        self._first = int(_bucket(np.array([_LEAST]), _FINE)[0])
        last = int(_bucket(np.array([1.0]), _FINE)[0])
        self._scores = np.zeros((2, last - self._first + 1))

    def watching(
        self, scored: Iterable[tuple[pa.RecordBatch, Floats]]
    ) -> Iterator[tuple[pa.RecordBatch, Floats]]:
        """Yield scored batches as they are, counted."""
        for batch, probability in scored:
            self.add(batch, probability)
            yield batch, probability

    def add(self, batch: pa.RecordBatch, probability: Floats) -> None:
        """
        Count a batch.

        Args:
            batch: Features of the users, (rows,) each.
            probability: As the model gave them, (rows,).
        """
        # With pandas, which 03-ModelEvaluation lacks: it counts no features.
        from propensity.models.encoding import numbers_of, texts_of

        self._users += batch.num_rows
        for name, kind in self._features.items():
            if kind == NUMBER:
                self._add_number(name, numbers_of(batch.column(name)))
            else:
                self._add_texts(name, texts_of(batch.column(name)))
        self.add_scores(probability)

    def add_scores(self, probability: Floats, users: Floats | None = None) -> None:
        """Count probabilities, one for each user or for so many."""
        place = _bucket(np.maximum(probability, _LEAST), _FINE) - self._first
        size = self._scores.shape[1]
        each = np.ones(len(probability)) if users is None else users
        self._scores[0] += np.bincount(place, weights=each, minlength=size)
        self._scores[1] += np.bincount(
            place, weights=each * probability, minlength=size
        )

    def _add_number(self, name: str, values: NDArray[np.floating]) -> None:
        numbers = values.astype(np.float64, copy=False)
        known = numbers[~np.isnan(numbers)]
        self._missing[name] += len(numbers) - len(known)
        # A sign and fifteen bits.
        half = 1 << (64 - _COARSE - 1)
        counted = np.bincount(_bucket(known, _COARSE) + half, minlength=2 * half)
        self._numbers[name] = self._numbers.get(name, 0) + counted

    def _add_texts(self, name: str, values: pa.Array) -> None:
        counter = self._texts.setdefault(name, Counter())
        for entry in pc.value_counts(values).to_pylist():
            if entry["values"] is None:
                self._missing[name] += entry["counts"]
            else:
                counter[entry["values"]] += entry["counts"]
        if len(counter) > _DISTINCT_VALUES:
            self._texts[name] = Counter(_named(counter, at_most=_DISTINCT_VALUES // 2))

    def features(self) -> dict[str, Sketch]:
        """Return the sketch of each feature by name."""
        sketches = {}
        for name, kind in self._features.items():
            counts: Mapping[Value, int]
            if kind == NUMBER:
                half = 1 << (64 - _COARSE - 1)
                counted = self._numbers.get(name, np.zeros(2 * half, np.int64))
                places = np.flatnonzero(counted)
                counts = {
                    float(value): int(users)
                    for value, users in zip(
                        _value(places - half, _COARSE), counted[places], strict=True
                    )
                }
            else:
                counts = _named(
                    self._texts.get(name, Counter()),
                    at_most=_NAMED_VALUES,
                    fewest=NAMED_USERS,
                )
            sketches[name] = Sketch(
                kind=kind,
                users=self._users,
                missing=self._missing[name],
                counts=counts,
            )
        return sketches

    def scores(self) -> Scores:
        """Return the probabilities by fine bucket."""
        users, mass = self._scores
        there = users > 0
        return Scores(mean=mass[there] / users[there], users=users[there])


def of_scores(scores: Scores) -> Sketch:
    """Return probabilities as the sketch of a number."""
    place, group = np.unique(_bucket(scores.mean, _COARSE), return_inverse=True)
    users = np.bincount(group, weights=scores.users, minlength=len(place))
    return Sketch(
        kind=NUMBER,
        users=round(float(scores.users.sum())),
        missing=0,
        counts={
            float(value): round(float(count))
            for value, count in zip(_value(place, _COARSE), users, strict=True)
        },
    )


def _bucket(values: Floats, bits: int) -> Counts:
    """Return the first bits of doubles as integers, (rows,); 0.0 also for -0.0."""
    return (values + 0.0).view(np.int64) >> bits


def _value(bucket: Counts, bits: int) -> Floats:
    """Return the end of each bucket that is nearer to 0."""
    return (bucket.astype(np.int64) << bits).view(np.float64)


def _named(
    counter: Counter[Value], *, at_most: int, fewest: int = 1
) -> dict[Value, int]:
    """Return the most frequent values, and None for all others; no count of 0."""
    known = Counter({v: n for v, n in counter.items() if v is not None and n >= fewest})
    named: dict[Value, int] = dict(known.most_common(at_most))
    rest = sum(counter.values()) - sum(named.values())
    return {**named, **({None: rest} if rest else {})}
