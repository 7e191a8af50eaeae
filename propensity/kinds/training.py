"""The steps of a training by the kind of a use case's rows."""

from __future__ import annotations

from propensity.runs.training_steps import USERS, TrainingSteps
from propensity.usecases import UseCase


def training_steps(use_case: UseCase) -> TrainingSteps:
    """Return the steps of a training of a use case."""
    if use_case.scores_events:
        # Only trainings on events need these.
        from propensity.streaming.cards.training_steps import EVENTS

        return EVENTS
    return USERS
