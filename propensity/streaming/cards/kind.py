"""Events as a kind of rows that a use case is trained on and evaluated by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from propensity import suppression
from propensity.runs.kinds import Kind
from propensity.streaming.cards.evaluate_days import days, event_window
from propensity.usecases.use_case import limits_of

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.learning.card import Card
    from propensity.runs.run import Run
    from propensity.streaming.cards.training import EventTraining

# 03-ModelEvaluation starts without the libraries that train.


def _rows(run: Run) -> pa.Table:
    from propensity.streaming.cards.dataset import dataset

    joined = run.warehouse.table(
        run.use_case.statement("event_training_rows"),
        {**event_window(run), "maximum_rows": run.settings.maximum_training_rows},
    )
    suppressed = suppression.read_suppressed(run.warehouse)
    return dataset(suppressed.without(joined, run.use_case.name), run.use_case)


def _training(run: Run, rows: pa.Table, preprocessor: Any | None) -> EventTraining:
    from propensity.streaming.cards.split import split_events
    from propensity.streaming.cards.training import EventTraining

    limits = limits_of(run.settings)
    return EventTraining(
        parts=split_events(rows, limits=limits),
        task=run.use_case.task(run.settings),
        limits=limits,
        preprocessor=preprocessor,
    )


def _card(*trained: Any, **more: Any) -> Card:
    from propensity.streaming.cards.card import event_card

    return event_card(*trained, **more)


EVENTS = Kind(
    rows=_rows,
    training=_training,
    card=_card,
    evaluate=days,
    days=1,
    is_published=False,
)
