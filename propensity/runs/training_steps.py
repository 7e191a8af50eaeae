"""
The steps of a training that differ by what its rows are, of users at dates here.

``streaming.cards.training_steps`` has those of events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from propensity import suppression
from propensity.learning.card import Card, user_card
from propensity.learning.split import split_users
from propensity.learning.training import Training
from propensity.learning.users import UserTraining
from propensity.runs.snapshots import user_rows
from propensity.usecases.use_case import limits_of

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class TrainingSteps:
    """
    From rows to a version.

    Attributes:
        rows: Reads the rows of a training, with features and labels.
        training: Makes a training of a run, of its rows and of an uploaded
            preprocessor, None for the task's own.
        card: Makes the card of a version.
    """

    rows: Callable[[Run], pa.Table]
    training: Callable[[Run, pa.Table, Any | None], Training]
    card: Callable[..., Card]


def _rows(run: Run) -> pa.Table:
    return user_rows(run, suppression.read_suppressed(run.warehouse))


def _training(run: Run, rows: pa.Table, preprocessor: Any | None) -> Training:
    task = run.use_case.task(run.settings)
    limits = limits_of(run.settings)
    return UserTraining(
        parts=split_users(rows, task, run.timeframe, limits=limits),
        task=task,
        limits=limits,
        preprocessor=preprocessor,
    )


USERS = TrainingSteps(rows=_rows, training=_training, card=user_card)
