"""
Changes that a model has learned: they are what is expected of its publications.

A feature that has changed for good is an alarm until a training knows it. From then on
the publications of the change are compared with, and those before it are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

# Publications in a row after which a change is there to stay.
LASTING = 3


@dataclass(frozen=True, kw_only=True)
class Trained:
    """
    When the version was trained that scores.

    Attributes:
        snapshot: The newest as-of date whose rows it has learned from.
    """

    as_of: date
    snapshot: date


class Known(NamedTuple):
    """A feature in an earlier publication; ``weeks`` in a row have its alarm."""

    as_of: date
    model_version: int
    is_alarm: bool
    weeks: int


def expected(earlier: Sequence[Known], trained: Trained | None) -> list[int] | None:
    """
    Return the publications that show a feature as the model has learned it.

    A change counts as learned where the version was trained once it had lasted, on rows
    that have it: not one that a scheduled training has met while it is still to be
    repaired. If its alarm is over, that is because the version changed, and not because
    somebody repaired it.

    Args:
        earlier: A feature in the publications before this one, newest first.

    Returns:
        Places in ``earlier``, newest first; None where nothing was learned.
    """
    if trained is None:
        return None
    for at, week in enumerate(earlier):
        if not week.is_alarm or week.weeks < LASTING:
            continue
        if at and earlier[at - 1].model_version == week.model_version:
            continue
        first = at + week.weeks - 1
        # Where the first ones are too old to be looked at, the oldest that is known.
        began = earlier[min(first, len(earlier) - 1)].as_of
        lasted = earlier[min(first - LASTING + 1, len(earlier) - 1)].as_of
        if began <= trained.snapshot and lasted <= trained.as_of:
            known = range(min(first + 1, len(earlier)))
            return [n for n in known if n >= at or not earlier[n].is_alarm]
    return None
