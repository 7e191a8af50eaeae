"""
When a run is late: one table, for the alerts, the doctor and the dashboard.

A function's runs are known by the kind of their leases. The compaction logs daily how
many days ago the newest of each kind was done.
"""

from __future__ import annotations

from datetime import date

from propensity.timeframe import SCHEDULED, weekdays_of

# The kind of each scheduled function's leases.
KINDS = {
    "model_training": "train",
    "predictions": "predict",
    "model_evaluation": "evaluate",
    "audiences": "audiences",
    "compact_features": "compact",
}

# The field of the compaction's line with the age of the newest run of a kind.
AGES = {
    "train": "training_age_days",
    "predict": "publication_age_days",
    "evaluate": "evaluation_age_days",
    "audiences": "audience_age_days",
}

# An export whose last whole day is more days ago than this has stopped. Google
# Analytics writes the table of a day within three days.
EXPORT_STOPPED_DAYS = 2

_DAYS = {"train": 31, "evaluate": 7, "audiences": 1, "compact": 1}


def days_until_late(kind: str, prediction_days: str) -> int:
    """
    Return how many days old the newest run of a kind may be.

    The next one is due when so many have passed, later on that day than anybody looks.

    Args:
        prediction_days: Of the use case: ``daily``, or weekdays.
    """
    if kind != "predict":
        return _DAYS[kind]
    days = sorted(SCHEDULED.index(day) for day in weekdays_of(prediction_days))
    following = days[1:] + [days[0] + len(SCHEDULED)]
    return max(later - day for day, later in zip(days, following, strict=True))


def is_late(kind: str, newest: date, today: date, prediction_days: str) -> bool:
    """Tell whether the newest run of a kind is older than it may be."""
    return (today - newest).days > days_until_late(kind, prediction_days)
