"""What a row of a use case is, a user at a date or a single event, and what follows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from propensity.learning.task import ALGORITHMS, FOREST


@dataclass(frozen=True, kw_only=True)
class Kind:
    """
    A kind of rows.

    Attributes:
        noun, pronoun: A row in words, as in *users who buy*.
        statements: Which ones each use case has of its own.
        algorithms: Those without a module that its candidates may have.
        evaluated_days: Days of outcomes that are evaluated at once; None for the
            horizon.
        is_published: Whether predictions are published for a date: these can drift, and
            audiences are chosen by them.
    """

    noun: str
    pronoun: str
    statements: Sequence[str]
    algorithms: Collection[str]
    evaluated_days: int | None
    is_published: bool


USERS = Kind(
    noun="user",
    pronoun="who",
    statements=("features", "labels", "days"),
    # Trees without labels score single events.
    algorithms={*ALGORITHMS} - {FOREST},
    evaluated_days=None,
    is_published=True,
)
EVENTS = Kind(
    noun="event",
    pronoun="that",
    statements=(),
    algorithms=ALGORITHMS,
    evaluated_days=1,
    is_published=False,
)
