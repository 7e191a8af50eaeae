"""The card of a version that scores events."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec import structs

from propensity.learning.card import Card, Origin, PartSizes, common
from propensity.learning.gate import Verdict
from propensity.learning.task import Task
from propensity.learning.value import Valued
from propensity.streaming.cards.trained import EventTrained
from propensity.tables.models import Savings, TrainedVersion


class CardSavings(Savings):
    """What alerts on the holdout save, and what the baseline's do."""

    baseline_saved: Decimal | None


class EventCard(Card, frozen=True, kw_only=True, tag="events"):
    """The card of a version that scores events; ``savings`` is None without amounts."""

    is_anomaly: bool
    is_warm: bool
    outcomes: Mapping[str, int]
    savings: CardSavings | None

    def row(
        self,
        objects: Mapping[str, str],
        checksums: Mapping[str, str],
        *,
        run_id: str,
        seconds: float,
    ) -> TrainedVersion:
        """Return the row of a version, with what its alerts save."""
        row = super().row(objects, checksums, run_id=run_id, seconds=seconds)
        row = structs.replace(row, is_warm=self.is_warm)
        if self.savings is None:
            return row
        threshold = self.savings.alert_threshold
        return structs.replace(row, alert_threshold=threshold, saved=self.savings.saved)

    def answer(self, objects: Mapping[str, str]) -> dict[str, Any]:
        """Return the answer of 00-ModelTraining, with what is known of the events."""
        answer = super().answer(objects)
        answer["is_warm"] = self.is_warm
        answer["cost"] = {} if self.savings is None else self.plain()["savings"]
        answer["outcomes"] = dict(self.outcomes)
        return answer


def event_card(
    task: Task,
    trained: EventTrained,
    verdict: Verdict,
    origin: Origin,
    *,
    valued: Valued | None = None,
) -> EventCard:
    """Return the card of a version that scores events; nobody learns their amounts."""
    parts = trained.parts
    holdout = trained.holdout
    n_train = len(parts.before)
    if trained.alerts.only_rank:
        n_train = len(parts.unlabelled[0])
    elif parts.blocks:
        n_train = parts.blocks[0].first
    savings = None
    if holdout.savings is not None:
        saved = structs.asdict(holdout.savings)
        savings = CardSavings(**saved, baseline_saved=holdout.baseline_saved)
    before_holdout = list(parts.split.train) + list(parts.split.calibrate)
    return EventCard(
        **common(task, trained, verdict, origin, learned=parts.before),
        trained_until=max(before_holdout, default=None),
        rows=PartSizes(
            train=n_train,
            calibrate=len(parts.choosing),
            holdout=len(parts.holdout),
        ),
        is_anomaly=trained.alerts.only_rank,
        is_warm=trained.alerts.is_warm,
        outcomes=parts.outcomes,
        savings=savings,
    )
