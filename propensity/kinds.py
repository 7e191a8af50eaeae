"""The register of kinds of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propensity.runs.kinds import USERS, Kind

if TYPE_CHECKING:
    from propensity.usecases import UseCase


def kind_of(use_case: UseCase) -> Kind:
    """Return the kind of a use case's rows."""
    if use_case.scores_events:
        # Only runs on events need these.
        from propensity.streaming.cards.kind import EVENTS

        return EVENTS
    return USERS
