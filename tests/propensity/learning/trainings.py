"""
One small training of each use case, on rows that are drawn here with a fixed seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from propensity import usecases
from propensity.learning import data, fit, gate, modelcard
from propensity.settings import Settings
from propensity.usecases import NUMBER, UseCase
from tests import scored_cards
from tests.constants import altered
from tests.propensity.learning.fitted_cards import joined

SETTINGS = altered(
    Settings(project="p"), minimum_training_rows=100, minimum_conversions=10
)
AS_OF = date(2026, 6, 1)
FIRST = date(2026, 1, 5)
USERS, WEEKS = 250, 8

# What differs between two equal trainings: how long they took, and on what.
VARYING = ("fit_seconds", "libraries")


@dataclass(frozen=True)
class Training:
    """The card of a training, its probabilities, and the verdict against a champion."""

    card: Mapping[str, Any]
    probability: np.ndarray
    champion: Mapping[str, Any]


def of_users(use_case: UseCase) -> pa.Table:
    """Draw labelled rows of users: a label depends on the first features of each."""
    random = np.random.default_rng(7)
    count = USERS * WEEKS
    columns: dict[str, Any] = {}
    score = np.full(count, -1.5)
    for place, (name, kind) in enumerate(use_case.features.items()):
        if kind == NUMBER:
            values = np.round(random.gamma(1 + place % 4, 3, count), 2)
            score += 0.25 * (values - values.mean()) * (place < 4) * (-1) ** place
            values[random.random(count) < 0.02 * (place % 5)] = np.nan
            columns[name] = pa.array(values, from_pandas=True)
        else:
            texts = random.choice(["a", "b", "c", "d", "<e>"], count)
            columns[name] = pa.array(texts)
    weeks = np.repeat(np.arange(WEEKS), USERS)
    label = (random.random(count) < 1 / (1 + np.exp(-score))).astype(np.int64)
    return pa.table(
        {
            "as_of": pa.array([FIRST + timedelta(weeks=int(w)) for w in weeks]),
            "user_id": [f"u{n % USERS}" for n in range(count)],
            **columns,
            "label": label,
            "weight": np.where(label == 1, 1.0, 1.5),
        }
    )


def of_events() -> pa.Table:
    """Draw card transactions, of which the newest have no truth yet."""
    cards = scored_cards.drawn(1_200, share=0.12)
    is_fraud = cards.is_fraud ^ (np.random.default_rng(7).random(len(cards)) < 0.06)
    labels = [*is_fraud[:1_000].astype(int).tolist(), *[None] * 200]
    conflicts = [n % 50 == 0 for n in range(len(cards))]
    return joined(cards, labels, is_conflicting=conflicts)


def train_use_case(name: str, **changed: Any) -> Training:
    """Train a use case as 00-ModelTraining does, and compare it with a champion."""
    use_case = usecases.load(name)
    settings = altered(SETTINGS, **changed)
    if use_case.scores_events:
        rows = data.dataset(of_events(), use_case)
        parts = data.of_events(rows, settings=settings)
    else:
        rows = of_users(use_case)
        spans = use_case.timeframe(settings)
        parts = data.of_users(rows, use_case, spans, settings=settings)
    trained = fit.train(parts, use_case, preprocessor=None, settings=settings)
    noise = np.random.default_rng(3).normal(0, 0.1, len(trained.probability))
    rival = np.clip(trained.probability * 0.9 + noise, 0, 1)
    cards = []
    for champion, version in ((None, None), (rival, 3)):
        verdict = gate.compare(trained, champion, version=version, seed=settings.seed)
        card = modelcard.card(
            use_case,
            trained,
            verdict,
            version=4,
            rows=rows,
            as_of=AS_OF,
            data_until=AS_OF,
            settle_days=3,
            chosen=use_case.chosen(settings),
            trained_at=datetime(2026, 6, 1, 4, tzinfo=UTC),
            bytes_billed=10_485_760,
        )
        cards.append(json.loads(json.dumps(card, default=str), object_hook=_lasting))
    return Training(cards[0], trained.probability, cards[1]["verdict"])


def _lasting(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if name not in VARYING}
