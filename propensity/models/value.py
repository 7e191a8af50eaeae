"""
What a user is worth: the probability times the amount that a buyer like them pays.

Trained models are unpickled through this module, under its names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    from propensity.models.encoder import Encoder
    from propensity.models.encoding import Kind

Floats = NDArray[np.float64]

# Half of a 95% interval, in standard errors.
Z = 1.959963984540054

# Beyond these a buyer has as many purchases as at them: 1, and no more than 4.7.
_LEAST_PROBABILITY, _MOST_PROBABILITY = 1e-9, 0.99

# Logarithm of the widest interval's factor: beyond, nothing is known, and a value of 0
# times infinity would be no number.
_WIDEST = 50.0

# Rows that are encoded at once, which bounds the memory.
_ROWS = 65_536


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """
    How far amounts and sums are from what is expected of them, as seen forward in time.

    Attributes:
        spread: Variance of a buyer's amount over the square of what was expected.
        error: Standard deviation of the error of the expected value, as a share of it,
            of a twentieth of a week's users with like values; without chance.
        week_error: The same of a whole week.
    """

    spread: float
    error: float
    week_error: float


@dataclass(frozen=True, kw_only=True)
class Total:
    """
    The expected value of many users, with what it takes to say how far chance goes.

    Attributes:
        value: The sum of their expected values.
        variance: Of the sum of what they will pay, if all are as expected.
        slope: How much more the value is for more log-odds of all of them.
    """

    value: float = 0.0
    variance: float = 0.0
    slope: float = 0.0

    def __add__(self, other: Total) -> Total:
        return Total(
            value=self.value + other.value,
            variance=self.variance + other.variance,
            slope=self.slope + other.slope,
        )


class ValueModel:
    """
    The amount that a user pays who buys, and the value that follows from it.

    Args:
        preprocessor: Fitted on frames of these; None with ``regressor``.
        regressor: Gives the amount over ``mean``; None where all have the mean.
        mean: Amount of a buyer, on average.
        level: Factor of all amounts.
    """

    def __init__(
        self,
        features: Mapping[str, Kind],
        *,
        preprocessor: Any | None,
        regressor: Any | None,
        mean: float,
        level: float,
        uncertainty: Uncertainty,
    ) -> None:
        self.features = dict(features)
        self.preprocessor = preprocessor
        self.regressor = regressor
        self.mean = mean
        self.level = level
        self.uncertainty = uncertainty
        self._encoder: Encoder | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_encoder": None}

    def amounts(self, batch: pa.RecordBatch) -> Floats:
        """
        Return what each row's user pays, if they buy, (rows,).

        Raises:
            SchemaError: The batch lacks a feature or holds it in another type.
        """
        scale = self.mean * self.level
        if self.regressor is None or not batch.num_rows:
            return np.full(batch.num_rows, scale)
        from threadpoolctl import threadpool_limits  # 03 has no scikit-learn

        from propensity.models.encoder import Encoder
        from propensity.models.encoding import check

        check(batch.schema, self.features)
        if self._encoder is None:
            self._encoder = Encoder.compile(self.preprocessor, self.features)
        with threadpool_limits(1, user_api="openmp"):
            parts = [
                np.asarray(self.regressor.predict(self._encoder.encode(part)))
                for part in _parts(batch)
            ]
        return np.asarray(scale * np.concatenate(parts), dtype=np.float64)

    def shifted(
        self, amount: Floats, probability: Floats, *, unshifted: Floats
    ) -> Floats:
        """
        Return amounts of users whose probabilities follow the season.

        In a season more buy, and who buys does so more often: by how much follows from
        the probability, if purchases are as independent as a Poisson process has them.
        Amounts stay as they are without a shift.
        """
        return np.asarray(amount * (purchases(probability) / purchases(unshifted)))

    def amounts_of(self, rows: pa.Table) -> Floats:
        """Return the amounts of the rows of a table, in order."""
        parts = [self.amounts(batch) for batch in rows.to_batches()]
        return np.concatenate(parts) if parts else np.empty(0)

    def interval(self, value: Floats) -> tuple[Floats, Floats]:
        """
        Return the 95% interval of expected values.

        It is of the mean of users like this one, and not of what one of them will pay:
        that is nothing, or much more.
        """
        factor = float(np.exp(min(Z * self.uncertainty.error, _WIDEST)))
        return value / factor, value * factor

    def total(self, probability: Floats, amount: Floats) -> Total:
        """Return the expected value of many users, by their amounts if they buy."""
        value = probability * amount
        return Total(
            value=float(value.sum()),
            variance=float(chance(probability, amount, self.uncertainty.spread).sum()),
            slope=float((value * (1.0 - probability)).sum()),
        )

    def sum_interval(
        self, total: Total, *, shift_error: float = 0.0
    ) -> tuple[float, float]:
        """
        Return the 95% interval of what will be paid in all in the horizon.

        Chance, the error of a week, and that of the season's shift are in it. It is of
        a lognormal: a sum of amounts is never negative.

        Args:
            shift_error: Standard deviation of the shift of log-odds.
        """
        if not total.value > 0:
            return 0.0, 0.0
        by_chance = total.variance / total.value**2
        by_season = (shift_error * total.slope / total.value) ** 2
        relative = by_chance + by_season + self.uncertainty.week_error**2
        factor = float(np.exp(Z * np.sqrt(np.log1p(relative))))
        return total.value / factor, total.value * factor


def purchases(probability: Floats) -> Floats:
    """Return a buyer's purchases of a Poisson process with this chance of any."""
    p = np.clip(probability, _LEAST_PROBABILITY, _MOST_PROBABILITY)
    return np.asarray(-np.log1p(-p) / p)


def chance(probability: Floats, amount: Floats, spread: float) -> Floats:
    """
    Return the variance of what each user pays, (rows,).

    A user pays nothing, or with the probability an amount of this mean and spread.
    """
    value = probability * amount
    return np.asarray(value * amount * (1.0 + spread) - value**2)


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, _ROWS):
        yield batch.slice(start, _ROWS)
