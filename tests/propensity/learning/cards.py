"""The card of a small training."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cache

from propensity.learning.card import Origin, UserCard, user_card
from propensity.learning.gate import Verdict
from propensity.learning.trained import Trained
from tests.propensity.learning.shops import (
    FOREST,
    LINEAR,
    SETTINGS,
    SHOP,
    snapshots,
    train,
)

AT = datetime(2026, 3, 1, 4, 5, 6, tzinfo=UTC)
ROWS = snapshots(4, 150)


@cache
def trained() -> Trained:
    return train(ROWS, candidates=(LINEAR, FOREST))


def card(model: Trained | None = None) -> UserCard:
    origin = Origin(
        rows=ROWS,
        version=3,
        as_of=date(2026, 2, 28),
        trained_at=AT,
        data_until=date(2026, 2, 27),
        settle_days=3,
        statement_parameters={
            "user_column": "user_pseudo_id",
            "label_event": "purchase",
        },
        bytes_billed=10_485_760,
    )
    verdict = Verdict(promoted=False, reason="worse: ROC AUC", compared_version=2)
    return user_card(SHOP.task(SETTINGS), model or trained(), verdict, origin)
