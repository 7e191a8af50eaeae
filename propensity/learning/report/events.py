"""
The page of a model whose rows are events, each scored as it happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from propensity.learning.report.content import (
    MEASURES,
    Card,
    Curve,
    Measure,
    Page,
    Row,
    Texts,
    alert_costs,
    tile,
)
from propensity.learning.report.dataset import of_events
from propensity.pages.words import (
    DASH,
    compact,
    count,
    decimals,
    money,
    percent,
    plural,
    present,
)

_RANKING = (
    Measure(
        "roc_auc",
        "ROC AUC",
        "Chance that one of label 1 is ranked above one of label 0. "
        "0.5 is a coin, 1 is perfect.",
    ),
    MEASURES[1],
)
_EVENTS = (*_RANKING, *MEASURES[2:5])


class EventsPage(Page):
    """The page of a model whose rows are events, each scored as it happens."""

    template = "events.html"

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.noun, self.went_on = self.entity, self.outcome

    def content(self) -> dict[str, Any]:
        """Return what the template reads."""
        card, auc = self.card, self.quality.get("roc_auc")
        is_anomaly = bool(card.get("is_anomaly"))
        alerts = card.get("alerts") or ()
        last: Card = alerts[-1] if alerts else {}
        return {
            **self.common(),
            "noun": self.entity,
            "is_anomaly": is_anomaly,
            "is_warm": card.get("is_warm", True),
            "headline": self._headline(last),
            "ranking": (
                f"Of one {self.entity} of label 1 and one of label 0, it ranks the "
                f"right one higher {100 * auc:.0f} times in 100."
                if present(auc)
                else ""
            ),
            "tiles": self._tiles(last),
            "holdout": plural(self.quality.get("users"), self.entity),
            "metrics": self.metrics(_RANKING if is_anomaly else _EVENTS),
            "alerts": self._alerts(alerts),
            "reason": self.why_not("alerts"),
            "cost": self._cost(),
            "curves": self._curves(),
            "dataset": of_events(card, noun=self.entity, outcome=self.outcome),
        }

    def why_not(self, key: str) -> str:
        quality = self.quality
        if not self.card.get("is_warm", True):
            return "the model is not warm"
        if not quality.get("users"):
            return "no row held out has a known truth"
        if quality.get("conversions") in (0, quality.get("users")):
            return "the rows held out are of one class"
        return "not measured"

    def windows(self) -> str:
        card = self.card
        return (
            f"events of the {plural(card.get('lookback_days'), 'day')} before; one "
            f"without a truth is unknown after {plural(card.get('settle_days'), 'day')}"
        )

    def whose(self) -> str:
        return "rows that"

    def _headline(self, last: Card) -> str:
        if not present(last.get("recall")):
            return (
                f"How well this model ranks {self.entity}s could not be measured: "
                f"{self.why_not('alerts')}."
            )
        return (
            f"The {percent(last.get('rate'))} of {self.entity}s that score highest "
            f"hold {percent(last.get('recall'))} of those that {self.outcome}; "
            f"{percent(last.get('precision'))} of these alerts are right."
        )

    def _tiles(self, last: Card) -> list[Row]:
        quality, why = self.quality, self.why_not("alerts")
        right = f"precision {percent(last.get('precision'))}"
        whole = f"{count(quality.get('conversions'))} of {count(quality.get('users'))}"
        return [
            tile("ROC AUC", quality, "roc_auc", why=why),
            tile("PR AUC", quality, "pr_auc", why=why),
            (
                f"Recall at {percent(last.get('rate'))} alerts",
                percent(last.get("recall")),
                right if present(last.get("recall")) else why,
            ),
            (
                "Base rate",
                percent(quality.get("base_rate")),
                whole if quality.get("users") else why,
            ),
        ]

    def _alerts(self, alerts: Sequence[Card]) -> dict[str, Any] | None:
        if not alerts:
            return None
        return {
            "cost_without": compact(alerts[0].get("cost_without")),
            "rows": [
                (
                    percent(rate.get("rate")),
                    compact(rate.get("alerts")),
                    compact(rate.get("true_positives")),
                    percent(rate.get("recall")),
                    percent(rate.get("precision")),
                    compact(rate.get("cost")),
                )
                for rate in alerts
            ],
        }

    def candidates(self) -> dict[str, Any] | None:
        """Return the candidates as rows of a table, with the cost of each."""
        table = super().candidates()
        if table is None:
            return None
        costs = [
            compact(entry.get("cost")) for entry in self.card.get("candidates") or ()
        ]
        for row, written in zip(table["rows"], costs, strict=True):
            row["figures"] = [*row["figures"], written]
        return table

    def _cost(self) -> dict[str, Any] | None:
        """Return what alerts at the chosen threshold cost, where it is known."""
        cost: Card = self.card.get("cost") or {}
        saved, threshold = cost.get("saved"), cost.get("alert_threshold")
        if not present(saved) or not present(threshold):
            return None
        worth = (
            f"save {money(saved)} of {money(cost.get('cost_without'))}"
            if saved >= 0
            else f"cost {money(-saved)} more than they bring"
        )
        share = cost.get("saved_share")
        where = (
            "No alert paid its review on the rows chosen on, so there are no alerts"
            if threshold > 1
            else f"Alerts from score {decimals(4)(threshold)} on, the cheapest "
            f"threshold on the rows chosen on, {worth}"
            f"{f' ({percent(share)})' if present(share) else ''}"
        )
        baseline = money(cost.get("baseline_saved"))
        return alert_costs(
            cost,
            where,
            conversions=self.quality.get("conversions"),
            noun=self.entity,
            whose="Alerts of this model",
            beside=[("Alerts of the baseline", *(DASH,) * 3, baseline, DASH)],
        )

    def _curves(self) -> list[Curve]:
        def texts(title: str, key: str, *, x_label: str, y_label: str) -> Texts:
            described = f"{y_label} against {x_label}; area {self.area(key)}."
            labels = {"x_label": x_label, "y_label": y_label}
            return {"title": f"{title} curve", "description": described, **labels}

        return self.ranking_curves(
            texts(
                "ROC",
                "roc",
                x_label="Share of label 0 above",
                y_label="Share of label 1 above",
            ),
            texts("Precision and recall", "pr", x_label="Recall", y_label="Precision"),
        )
