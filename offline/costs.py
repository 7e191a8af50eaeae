"""
What a month of a use case on the GA4 export costs at BigQuery.

There is a training a month, and every week a prediction and an evaluation of two weeks:
the one that has just ended, and the one whose outcomes have become final.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from propensity.settings import Settings
from propensity.usecases import UseCase

TIB = 1024**4
WEEKS_A_MONTH = 52 / 12
# USD per TiB on demand, and the TiB of a month that are free.
PRICES = {"US": 6.25, "EU": 6.25, "europe-west1": 7.50}
FREE_TIB = 1.0


@dataclass(frozen=True, kw_only=True)
class Month:
    """TiB that a training, a prediction and an evaluation of two weeks bill."""

    training: float
    prediction: float
    evaluation: float

    @property
    def total(self) -> float:
        """TiB of a month."""
        return self.training + WEEKS_A_MONTH * (self.prediction + self.evaluation)

    def usd(self, location: str) -> float:
        """Return the price of a month; the highest known one of another place."""
        price = PRICES.get(location, max(PRICES.values()))
        return price * max(0.0, self.total - FREE_TIB)


def month(
    use_case: UseCase,
    settings: Settings,
    *,
    as_of: date,
    billed: Callable[[str, Mapping[str, Any]], float],
) -> Month:
    """
    Return what the runs of a use case bill.

    Args:
        billed: Returns the bytes of a statement, by its name, with parameters.
    """
    timeframe = use_case.timeframe(settings)
    newest = timeframe.newest_matured(today=as_of)
    weeks = range(settings.training_snapshots)
    snapshots = [newest - n * timeframe.stride for n in weeks]
    week = as_of - timeframe.horizon
    further = {
        "use_case": use_case.name,
        "prediction_as_of": week,
        "maximum_rows": settings.maximum_training_rows,
    }
    windows = {
        "training_rows": use_case.window(settings, snapshots, today=as_of),
        "features": use_case.window(settings, [as_of]),
        "evaluation_rows": use_case.window(settings, [week], today=as_of),
    }
    training, prediction, evaluation = (
        billed(name, {**window, **further}) / TIB for name, window in windows.items()
    )
    return Month(training=training, prediction=prediction, evaluation=2 * evaluation)
