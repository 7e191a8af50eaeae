"""Whether the rows of a training are enough to learn from, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from propensity.errors import NotEnoughData

if TYPE_CHECKING:
    from propensity.learning.rows import Slice
    from propensity.settings import Settings
    from propensity.timeframe import Timeframe
    from propensity.usecases import UseCase


def check_enough(
    parts: Mapping[str, Slice], use_case: UseCase, settings: Settings
) -> None:
    """Raise NotEnoughData; a missing class comes first, as the worse problem."""
    has_event = "label_event" in use_case.parameters
    for name, part in parts.items():
        if not part.has_both_classes:
            is_everybody = all(p.conversions == len(p) for p in parts.values())
            raise NotEnoughData(_one_class(name, part, use_case, is_everybody))
    least = settings.minimum_training_rows
    if (count := len(parts["train on"])) < least:
        raise NotEnoughData(
            f"{count} rows to train on are too few: at least {least} are needed. "
            "Wait for more weeks of events"
        )
    least = settings.minimum_conversions
    more = ", choose a more frequent PROPENSITY_LABEL_EVENT" if has_event else ""
    for name, part in parts.items():
        if part.conversions < least:
            raise NotEnoughData(
                f"{part.conversions} of the {len(part)} rows to {name} are of users "
                f"who {use_case.outcome} (label 1), which is too few: at least "
                f"{least} are needed. Wait for more weeks of events{more}"
            )


def _one_class(name: str, part: Slice, use_case: UseCase, is_everybody: bool) -> str:
    """Name the class that a slice lacks, its counts, and the likely reason."""
    if not len(part):
        return f"there are no rows to {name}"
    dates = sorted({str(day) for day in pc.unique(part.rows["as_of"]).to_pylist()})
    days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    advice = "Wait for more weeks of events"
    if part.weight.max() > 1:
        advice = (
            "They are a sample of more rows: raise PROPENSITY_MAXIMUM_TRAINING_ROWS"
        )
    elif not part.conversions and "label_event" in use_case.parameters:
        advice = "Is PROPENSITY_LABEL_EVENT the event that the source has?"
    elif is_everybody:
        # Of more weeks all users would have label 1 as well.
        advice = (
            "Choose an outcome that some users do not have: a probability of it tells "
            "nobody apart"
        )
    lacks = "label 0, all are" if part.conversions else "label 1, none is"
    return (
        f"the rows to {name} ({days}) lack one class, {lacks} of users who "
        f"{use_case.outcome}: {part.conversions} of label 1, "
        f"{len(part) - part.conversions} of label 0, of {len(part)}. {advice}"
    )


def no_users(use_case: UseCase, timeframe: Timeframe) -> str:
    """Say that no snapshot has a user, and the likely reason."""
    advice = (
        ", and is PROPENSITY_USER_COLUMN the column in which the source has users"
        if "user_column" in use_case.parameters
        else ""
    )
    return (
        "no snapshot has a user: within the "
        f"{timeframe.lookback_days} days before each no event is anybody's. Do events "
        f"still come{advice}?"
    )
