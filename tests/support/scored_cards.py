"""
Card transactions as they stand in ``inference_log``, and truths about them.

Small and drawn here: 28 components of which a fraud is far off in four, and an amount.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from propensity import usecases
from propensity.gcp.warehouse import Warehouse
from propensity.tables.stream import INFERENCE_LOG, TRUTH_EVENTS
from tests.support.rows import append_rows

USE_CASE = usecases.load("card_fraud")
START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)

Row = dict[str, Any]


@dataclass(frozen=True)
class Cards:
    """Transactions in time order: ids, moments, features (n, 29) and labels."""

    ids: list[str]
    at: list[datetime]
    features: np.ndarray
    is_fraud: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def given(self, index: int) -> dict[str, float]:
        return dict(zip(USE_CASE.features, self.features[index].tolist(), strict=True))


def drawn(
    n: int,
    *,
    seed: int = 1,
    share: float = 0.05,
    start: datetime = START,
    days: float = 10,
    prefix: str = "t",
) -> Cards:
    """Draw transactions, evenly over some days."""
    generator = np.random.default_rng(seed)
    is_fraud = generator.random(n) < share
    features = generator.normal(size=(n, len(USE_CASE.features)))
    features[:, :4] += 4 * is_fraud[:, np.newaxis]
    features[:, -1] = np.round(np.exp(features[:, -1] + 3), 2)
    at = [start + days * DAY * (index + 0.5) / n for index in range(n)]
    return Cards([f"{prefix}{index:05}" for index in range(n)], at, features, is_fraud)


def inference(
    event_id: str,
    at: datetime,
    features: Mapping[str, Any] | None = None,
    **changed: Any,
) -> Row:
    """Return a row of ``inference_log``, by default of its own moment, by nothing."""
    version = changed.get("model_version", -1)
    identity = f"{event_id}/{at}/{version}"
    scored_at = changed.pop("scored_at", at)
    given = dict.fromkeys(USE_CASE.features, 0.0) if features is None else features
    return {
        "use_case": "card_fraud",
        "inference_id": hashlib.sha256(identity.encode()).hexdigest(),
        "event_id": event_id,
        "user_id": event_id,
        "event_time": at,
        "event_date": at.date(),
        "model_version": version,
        "is_warm": version >= 0,
        "epoch": 0,
        "source": "stream",
        "features": json.dumps(given),
        "scored_at": scored_at,
        "scored_on": scored_at.date(),
        **changed,
    }


def truth(event_id: str, at: datetime, label: int, **changed: Any) -> Row:
    """Return a row of ``truth_events``, received as it was found."""
    return {
        "use_case": "card_fraud",
        "event_id": event_id,
        "label": label,
        "truth_time": at,
        "message_id": uuid.uuid4().hex,
        "published_at": at,
        "received_at": at,
        "received_on": at.date(),
        **changed,
    }


def store(
    warehouse: Warehouse, inferences: Iterable[Row] = (), truths: Iterable[Row] = ()
) -> None:
    """Append rows to the log and to the truths."""
    append_rows(warehouse, INFERENCE_LOG, inferences)
    append_rows(warehouse, TRUTH_EVENTS, truths)


def stored(
    warehouse: Warehouse,
    cards: Cards,
    *,
    known: Iterable[int] | None = None,
    **changed: Any,
) -> None:
    """Append transactions, and after a day the truth of all or of some of them."""
    every = range(len(cards))
    log = [
        inference(cards.ids[n], cards.at[n], cards.given(n), **changed) for n in every
    ]
    truths = [
        truth(cards.ids[n], cards.at[n] + DAY, int(cards.is_fraud[n]))
        for n in (every if known is None else known)
    ]
    store(warehouse, log, truths)
