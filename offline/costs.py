"""
What a month of a use case on the GA4 export costs at BigQuery.

There is a training a month, and every week a prediction and an evaluation of two weeks:
the one that has just ended, and the one whose outcomes have become final. Audiences are
measured with it, by a statement of their own for both weeks. All of them read the
digest of the export; each of its days is read once, and again where Google Analytics
has changed it since. A training also reads the members of each audience that asks for
an order by effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from propensity.runs.digest import TIB, State, price_of, price_of_days
from propensity.settings import Settings
from propensity.usecases import UseCase

WEEKS_A_MONTH = 52 / 12
DAYS_A_MONTH = 365 / 12
# TiB of a month that are free.
FREE_TIB = 1.0
# Google Analytics changes the table of a day for so many days, perhaps between the
# evaluation and the prediction of a day as well.
DAYS_CHANGED = 3
REREAD_A_WEEK = 2 * DAYS_CHANGED
# Reads days of the export into the digest.
DIGEST = "user_days_of_export"
NO_DAY = "the export has no day yet"
# What each run asks of the digest; the query of its days is not among them.
STATEMENTS = {
    "training": "training_rows",
    "prediction": "features",
    "evaluation": "evaluation_rows",
    "audiences": "audience_outcomes",
    "effect": "effect_rows",
}


@dataclass(frozen=True, kw_only=True)
class Month:
    """
    TiB that one run bills: ``evaluation`` and ``audiences`` of two weeks.
    Each audience that asks for an order by effect adds ``effect`` to a training.

    Attributes:
        days: Of the export, as many as a month has, each read once. The digest is one
            for all use cases.
        first: Of the export, all days that the first training needs.
    """

    days: float
    first: float
    training: float
    prediction: float
    evaluation: float
    audiences: float
    effect: float

    @property
    def for_days(self) -> float:
        """TiB of new days of the export, once for all use cases that read it."""
        return (1 + REREAD_A_WEEK / 7) * self.days

    @property
    def for_runs(self) -> float:
        """TiB of a training, and of a prediction and an evaluation a week."""
        return self.training + WEEKS_A_MONTH * (self.prediction + self.evaluation)

    @property
    def total(self) -> float:
        """TiB of a month with a prediction a week and without audiences."""
        return self.for_days + self.for_runs

    @property
    def for_audiences(self) -> float:
        """TiB that audiences add to a month, however many there are."""
        return WEEKS_A_MONTH * self.audiences

    @property
    def for_daily(self) -> float:
        """TiB that a prediction each day adds to a month."""
        changed = DAYS_CHANGED - REREAD_A_WEEK / 7
        return changed * self.days + (DAYS_A_MONTH - WEEKS_A_MONTH) * self.prediction

    def usd(self, location: str) -> float:
        """Return the price of a month; the highest known one of another place."""
        return usd(self.total, location)


def usd(tib: float, location: str) -> float:
    """Return the price of what a month bills beyond the TiB that are free."""
    return price_of(location) * max(0.0, tib - FREE_TIB)


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
        "audience": "",
        "prediction_as_of": week,
        "maximum_rows": settings.maximum_training_rows,
        "event_names": ["purchase", "refund"],
    }

    def size(run: str, as_ofs: Sequence[date]) -> float:
        """Return the TiB of a run's statement."""
        window = use_case.window(settings, as_ofs, today=as_of)
        return billed(STATEMENTS[run], {**window, **further}) / TIB

    def digested(first: date, last: date) -> float:
        """Return the TiB of days of the export."""
        span = {"first_suffix": f"{first:%Y%m%d}", "last_suffix": f"{last:%Y%m%d}"}
        return billed(DIGEST, {**further, **span}) / TIB

    four_weeks = digested(as_of - timedelta(days=28), as_of)
    first_day = use_case.first_day(min(snapshots))
    last_day = max(snapshots) + timeframe.horizon
    return Month(
        days=four_weeks * DAYS_A_MONTH / 28,
        first=digested(first_day, last_day),
        training=size("training", snapshots),
        prediction=size("prediction", [as_of]),
        evaluation=2 * size("evaluation", [week]),
        audiences=size("audiences", [week, week - timeframe.stride]),
        effect=size("effect", snapshots),
    )


def first_reading(state: State, settings: Settings) -> str:
    """
    Return what runs read of the export before all else, as now or after a changed
    setting: the days that the digest lacks, by the sizes of their tables.
    """
    if not state.tables:
        return NO_DAY
    return price_of_days(state.within_reach(settings), settings)
