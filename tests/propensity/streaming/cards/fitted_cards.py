"""Transactions of which some are fraud, and trainings on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from propensity.settings import Settings
from propensity.streaming.cards.dataset import dataset
from propensity.streaming.cards.split import split_events
from propensity.streaming.cards.trained import EventTrained
from propensity.streaming.cards.training import EventTraining
from propensity.usecases import Candidate, UseCase
from propensity.usecases.use_case import limits_of
from tests.support.constants import altered
from tests.support.scored_cards import USE_CASE, Cards, drawn

SETTINGS = altered(
    Settings(project="p"), minimum_training_rows=100, minimum_conversions=5
)
FOREST = USE_CASE.candidates[0]
LINEAR = Candidate("linear", "LogisticRegression", {"C": 1.0, "max_iter": 500})
SMALL = replace(USE_CASE, candidates=(FOREST, LINEAR))
ALONE = replace(USE_CASE, candidates=(FOREST,))


def joined(
    cards: Cards, label: Sequence[int | None] | None = None, **columns: Any
) -> pa.Table:
    """Return what the statement gives of transactions, or other values of a column;
    all are known by default."""
    labels = cards.is_fraud.astype(int).tolist() if label is None else list(label)
    return pa.table(
        {
            "event_id": cards.ids,
            "user_id": cards.ids,
            "event_time": pa.array(cards.at, pa.timestamp("us", tz="UTC")),
            "as_of": pa.array([at.date() for at in cards.at], pa.date32()),
            "features": [json.dumps(cards.given(n)) for n in range(len(cards))],
            "label": pa.array(labels, pa.int64()),
            "truth_time": pa.array(cards.at, pa.timestamp("us", tz="UTC")),
            "is_conflicting": [False] * len(cards),
            "state": ["pending" if value is None else "known" for value in labels],
            "weight": np.ones(len(cards)),
            **columns,
        }
    )


def train(
    rows: pa.Table, use_case: UseCase = SMALL, preprocessor: Any = None, **changed: Any
) -> EventTrained:
    """Make a data set of joined rows and train on it."""
    settings = altered(SETTINGS, **changed)
    limits = limits_of(settings)
    training = EventTraining(
        parts=split_events(dataset(rows, use_case), limits=limits),
        task=use_case.task(settings),
        limits=limits,
        preprocessor=preprocessor,
    )
    trained = training.run()
    assert isinstance(trained, EventTrained)
    return trained


@cache
def trained(count: int = 1_000, share: float = 0.05) -> EventTrained:
    """The model of so many known transactions; no test changes it."""
    return train(joined(drawn(count, share=share)))
