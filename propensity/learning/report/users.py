"""
The page of a model that gives every user a probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from propensity.learning.decile import strongest
from propensity.learning.report.content import (
    MEASURES,
    Card,
    Curve,
    Page,
    Row,
    tile,
)
from propensity.learning.report.dataset import of_users
from propensity.learning.report.selection import is_out_of_reach
from propensity.learning.report.worth import worth
from propensity.pages.charts import Bar, Line, bars_svg, line_svg
from propensity.pages.words import (
    DASH,
    compact,
    count,
    decimals,
    ordered,
    percent,
    plural,
    present,
    ratio,
    round_up,
    shared,
    shown_of,
)

# Of what the top tenth has in common; the card has all.
_SHOWN_FEATURES = 12


class UsersPage(Page):
    """The page of a model that gives every user a probability."""

    template = "users.html"

    def content(self) -> dict[str, Any]:
        """Return what the template reads."""
        best = self._best_decile()
        return {
            **self.common(),
            "headline": self._headline(best),
            "question": self._question(),
            "ranking": self._ranking(),
            "promise": self._promise(),
            "tiles": self._tiles(best),
            "holdout": plural(self.quality.get("users"), "user"),
            "metrics": self.metrics(MEASURES),
            "threshold": compact(self.quality.get("threshold")),
            "says_little": is_out_of_reach(self.quality),
            "confusion": self._confusion(),
            "lift": self._lift(),
            "in_common": self._in_common(),
            "curves": self._curves(),
            "worth": worth(self.card),
            "dataset": of_users(self.card, outcome=self.outcome),
        }

    def why_not(self, key: str) -> str:
        quality = self.quality
        users, conversions = quality.get("users"), quality.get("conversions")
        if not users:
            return "the holdout has no users"
        called = ("true_positives", "false_positives")
        if key == "precision" and not sum(quality.get(name) or 0 for name in called):
            return "no user is above the threshold"
        if conversions == 0:
            return "nobody in the holdout is of label 1"
        if conversions == users:
            return "everybody in the holdout is of label 1"
        return "not measured"

    def windows(self) -> str:
        card = self.card
        return (
            f"features of {plural(card.get('lookback_days'), 'day')}, labels of "
            f"{plural(card.get('horizon_days'), 'day')}, complete after "
            f"{plural(card.get('settle_days'), 'more day')}"
        )

    def whose(self) -> str:
        return "rows of users who"

    def _best_decile(self) -> Card:
        """Find the group with the highest probabilities, however it is numbered."""
        deciles = [d for d in self.quality.get("lift") or () if d.get("users")]
        return max(
            deciles,
            key=lambda d: (
                ordered(d.get("mean_probability")),
                -ordered(d.get("decile")),
            ),
            default={},
        )

    def _question(self) -> str:
        """Say what the probability is of, as a sentence after *to*."""
        horizon = plural(self.card.get("horizon_days"), "day")
        lookback = plural(self.card.get("lookback_days"), "day")
        usual = f"in the next {horizon}, from what they did in the {lookback} before"
        return f"{self.outcome} {self.card.get('span') or usual}."

    def _headline(self, best: Card) -> str:
        rate = ratio(best.get("conversions"), best.get("users"))
        share = ratio(best.get("users"), self.quality.get("users"))
        if rate is None or share is None or not self.quality.get("conversions"):
            return (
                "How well this model ranks users could not be measured: "
                f"{self.why_not('lift')}."
            )
        lift = best.get("lift")
        times = f", {decimals(1)(lift)} times the average" if present(lift) else ""
        within = f"within {plural(self.card.get('horizon_days'), 'day')}"
        return (
            f"Of the {100 * share:.0f}% of users ranked highest, {percent(rate)} went "
            f"on to {self.outcome} {within}{times}."
        )

    def _ranking(self) -> str:
        auc = self.quality.get("roc_auc")
        if not present(auc):
            return ""
        return (
            f"Of one of those who {self.outcome} and one of the others, it ranks "
            f"the right one higher {100 * auc:.0f} times in 100."
        )

    def _promise(self) -> str:
        promised = self.quality.get("mean_probability")
        base_rate = self.quality.get("base_rate")
        if not (present(promised) and present(base_rate)):
            return ""
        return (
            f"On average it promised that {percent(promised)} {self.outcome}; it "
            f"was {percent(base_rate)}."
        )

    def _tiles(self, best: Card) -> list[Row]:
        quality = self.quality
        lift = best.get("lift")
        times = f"{decimals(1)(lift)}×" if present(lift) else DASH
        users = plural(quality.get("users"), "user")
        why = self.why_not("roc_auc")
        return [
            tile("ROC AUC", quality, "roc_auc", why=why),
            (
                "Lift of the top group",
                times,
                f"of {plural(best.get('users'), 'user')}" if best else why,
            ),
            tile("Calibration error", quality, "calibration_error", 4, why=why),
            (
                "Base rate",
                percent(quality.get("base_rate")),
                f"{count(quality.get('conversions'))} of {users}",
            ),
        ]

    def _confusion(self) -> list[Row]:
        quality = self.quality
        yes = quality.get("true_positives"), quality.get("false_negatives")
        no = quality.get("false_positives"), quality.get("true_negatives")
        return [
            (f"Those who {self.outcome}", count(yes[0]), count(yes[1])),
            ("The others", count(no[0]), count(no[1])),
        ]

    def _lift(self) -> dict[str, Any]:
        deciles = sorted(
            self.quality.get("lift") or (),
            key=lambda d: -ordered(d.get("mean_probability")),
        )
        if not deciles:
            return {"svg": None, "rows": [], "reason": self.why_not("lift")}
        bars = [
            Bar(
                name=f"Group {d.get('decile')}",
                value=d.get("lift"),
                shown=f"{decimals(2)(d.get('lift'))}×"
                if d.get("lift") is not None
                else DASH,
            )
            for d in deciles
        ]
        described = ", ".join(f"{bar.name}: {bar.shown}" for bar in bars)
        return {
            "svg": bars_svg(
                bars,
                title="Lift by group of users",
                description=f"The highest probabilities first. {described}.",
                reference=1.0,
                reference_name="average",
            ),
            "rows": [
                (
                    d.get("decile"),
                    shared(d.get("users")),
                    percent(d.get("mean_probability")),
                    shared(d.get("conversions")),
                    percent(ratio(d.get("conversions"), d.get("users"))),
                    decimals(2)(d.get("lift")),
                )
                for d in deciles
            ],
        }

    def _in_common(self) -> dict[str, Any] | None:
        """Return what the top tenth has in common, as a table; None without rows."""
        write = decimals(2)
        bands = strongest(list(self.card.get("top_decile") or ()))
        if not bands:
            return None
        rows = [
            (
                str(entry.get("feature")),
                str(entry.get("band")),
                count(entry.get("rows")),
                percent(entry.get("share_top")),
                percent(entry.get("share_all")),
                f"{write(entry.get('lift'))}×",
                f"{write(entry.get('low'))} to {write(entry.get('high'))}",
            )
            for entry in bands[:_SHOWN_FEATURES]
        ]
        return {"rows": rows, "shown": shown_of(len(rows), len(bands))}

    def _curves(self) -> list[Curve]:
        who = f"who {self.outcome}"
        groups = (self.card.get("curves") or {}).get("calibration") or ()
        pairs = ((c.get("mean_probability"), c.get("rate")) for c in groups)
        promised = [(float(x), float(y)) for x, y in pairs if present(x) and present(y)]
        reach = round_up(max((v for point in promised for v in point), default=1.0))
        listed = (f"{percent(x)} promised, {percent(y)} came" for x, y in promised)
        return [
            *self.ranking_curves(
                {
                    "title": "ROC curve",
                    "description": f"Those {who} against the others, over all "
                    f"thresholds; area {self.area('roc')}.",
                    "x_label": "Share above, of the others",
                    "y_label": f"Share above, of those {who}",
                },
                {
                    "title": "Precision against recall",
                    "description": f"Share of those above {who} against share of those "
                    f"{who} who are above; area {self.area('pr')}.",
                    "x_label": f"Share of those {who} (recall)",
                    "y_label": f"Share {who} (precision)",
                },
            ),
            self.curve(
                "Calibration",
                "On the dashed line, what is promised is what comes. "
                f"Dots are groups of {_sizes(groups)}. All of the model alone: what "
                "is published may also follow the season.",
                line_svg(
                    [
                        Line([(0, 0), (reach, reach)], "guide"),
                        Line(promised, has_dots=True),
                    ],
                    title="Calibration curve",
                    description="What was promised and what came: "
                    f"{', '.join(listed)}.",
                    x_label="Promised (mean probability)",
                    y_label=f"Came (share {who})",
                    x_range=(0.0, reach),
                    y_range=(0.0, reach),
                )
                if promised
                else None,
            ),
        ]


def _sizes(groups: Sequence[Card]) -> str:
    users = [g["users"] for g in groups if present(g.get("users"))]
    if not users:
        return "users"
    low, high = min(users), max(users)
    return f"{count(low)} to {count(high)} users" if high > low else plural(low, "user")
