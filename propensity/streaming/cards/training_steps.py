"""The steps of a training on events, from what was scored and became known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from propensity import suppression
from propensity.runs.training_steps import TrainingSteps
from propensity.streaming.cards.card import event_card
from propensity.streaming.cards.dataset import dataset
from propensity.streaming.cards.evaluate_days import event_window
from propensity.streaming.cards.split import split_events
from propensity.streaming.cards.training import EventTraining
from propensity.usecases.use_case import limits_of

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.runs.run import Run


def _rows(run: Run) -> pa.Table:
    joined = run.warehouse.table(
        run.use_case.statement("event_training_rows"),
        {**event_window(run), "maximum_rows": run.settings.maximum_training_rows},
    )
    suppressed = suppression.read_suppressed(run.warehouse)
    return dataset(suppressed.without(joined, run.use_case.name), run.use_case)


def _training(run: Run, rows: pa.Table, preprocessor: Any | None) -> EventTraining:
    limits = limits_of(run.settings)
    return EventTraining(
        parts=split_events(rows, limits=limits),
        task=run.use_case.task(run.settings),
        limits=limits,
        preprocessor=preprocessor,
    )


EVENTS = TrainingSteps(rows=_rows, training=_training, card=event_card)
