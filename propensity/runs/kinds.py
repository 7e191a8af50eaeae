"""
Kinds of rows that a use case is trained on and evaluated by, users at dates here.

An entry point asks ``propensity.kinds`` for the kind of its run, so that nobody who is
given rows asks what they are. ``streaming.cards.kind`` has events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from propensity import suppression
from propensity.runs.evaluate_weeks import weeks
from propensity.usecases.use_case import limits_of

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.learning.card import Card
    from propensity.learning.training import Training
    from propensity.runs.evaluation import Evaluated
    from propensity.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Kind:
    """
    A kind of rows.

    Attributes:
        rows: Reads the rows of a training, with features and labels.
        training: Makes a training of a run, of its rows and of an uploaded
            preprocessor, None for the task's own.
        card: Makes the card of a version.
        evaluate: Yields the evaluations of the weeks, or days, between two dates.
        days: Days of outcomes that are evaluated at once; None for the horizon.
        is_published: Whether predictions are published for a date: these can drift, and
            audiences are chosen by them.
    """

    rows: Callable[[Run], pa.Table]
    training: Callable[[Run, pa.Table, Any | None], Training]
    card: Callable[..., Card]
    evaluate: Callable[[Run, date, date], Iterator[Evaluated]]
    days: int | None
    is_published: bool


# 03-ModelEvaluation starts without the libraries that train.


def _rows(run: Run) -> pa.Table:
    from propensity.runs.snapshots import user_rows

    return user_rows(run, suppression.read_suppressed(run.warehouse))


def _training(run: Run, rows: pa.Table, preprocessor: Any | None) -> Training:
    from propensity.learning.split import split_users
    from propensity.learning.users import UserTraining

    task = run.use_case.task(run.settings)
    limits = limits_of(run.settings)
    return UserTraining(
        parts=split_users(rows, task, run.timeframe, limits=limits),
        task=task,
        limits=limits,
        preprocessor=preprocessor,
    )


def _card(*trained: Any, **more: Any) -> Card:
    from propensity.learning.card import user_card

    return user_card(*trained, **more)


USERS = Kind(
    rows=_rows,
    training=_training,
    card=_card,
    evaluate=weeks,
    days=None,
    is_published=True,
)
