"""
What the pages of users and of events have in common.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from propensity.learning.report import choice
from propensity.learning.report.selection import selection
from propensity.pages.charts import Bar, Line, bars_svg, line_svg
from propensity.pages.words import (
    DASH,
    Number,
    count,
    decimals,
    interval_of,
    listed_dates,
    moment,
    money,
    ordered,
    percent,
    plural,
    present,
    sentence,
)

Card = Mapping[str, Any]
Row = Sequence[Any]
Curve = Mapping[str, Any]
Texts = Mapping[str, Any]

UNIT = (0.0, 1.0)


@dataclass(frozen=True)
class Measure:
    """A metric as the page shows it; ``{outcome}`` stands for the use case's own."""

    key: str
    name: str
    meaning: str
    places: int = 3


MEASURES = (
    Measure(
        "roc_auc",
        "ROC AUC",
        "Chance that one of those who {outcome} is ranked above one of the others. "
        "0.5 is a coin, 1 is perfect.",
    ),
    Measure(
        "pr_auc",
        "PR AUC",
        "Precision, averaged over all recalls. A coin has the base rate.",
    ),
    Measure(
        "calibration_error",
        "Calibration error",
        "Distance between what is promised and what happens. 0 is perfect.",
        places=4,
    ),
    Measure(
        "brier",
        "Brier score",
        "Mean squared error of the probabilities. Lower is better.",
        places=4,
    ),
    Measure(
        "log_loss",
        "Log loss",
        "Like Brier, but hard on confident mistakes. Lower is better.",
        places=4,
    ),
    Measure(
        "precision",
        "Precision",
        "Share of the users above the threshold who {outcome}.",
    ),
    Measure(
        "recall",
        "Recall",
        "Share of those who {outcome} who are above the threshold.",
    ),
    Measure("f1", "F1", "Harmonic mean of precision and recall."),
)

# Those that need no threshold.
OF_SCORES = MEASURES[:5]


class Page(ABC):
    """What pages of users and of events have in common."""

    template: str

    def __init__(self, card: Card) -> None:
        self.card = card
        self.quality: Card = card.get("quality") or {}
        self.verdict: Card = card.get("verdict") or {}
        self.split: Card = card.get("split") or {}
        self.outcome = str(card.get("outcome") or "have label 1")
        self.entity = str(card.get("entity") or "event").removesuffix("_id")
        self.noun, self.went_on = "user", f"went on to {self.outcome}"

    @abstractmethod
    def content(self) -> dict[str, Any]:
        """Return what the template reads."""

    @abstractmethod
    def why_not(self, key: str) -> str:
        """Say why a figure of the holdout does not exist."""

    def common(self) -> dict[str, Any]:
        """Return what stands on every page."""
        card = self.card
        return {
            "use_case": card.get("use_case", ""),
            "title": card.get("title"),
            "version": card.get("model_version", DASH),
            "trained_at": moment(card.get("trained_at")),
            "outcome": self.outcome,
            "promoted": bool(self.verdict.get("promoted")),
            "verdict_reason": sentence(self.verdict.get("reason")),
            "holdout_dates": listed_dates(self.split.get("holdout")),
            "selection": selection(self.quality, noun=self.noun, outcome=self.went_on),
            "comparison": self.comparison(),
            "candidates": self.candidates(),
            "calibrations": self.calibrations(),
            "calibration": card.get("calibration", DASH),
            "baselines": self.baselines(),
            "importance": self.importance(),
            "facts": self.facts(),
            "artifacts": card.get("artifacts") or (),
        }

    def metrics(self, measures: Sequence[Measure]) -> list[dict[str, str]]:
        """Return the figures of the holdout, each with its interval or a reason."""
        rows = []
        for measure in measures:
            value = self.quality.get(measure.key)
            interval = written_interval(self.quality, measure.key, measure.places)
            rows.append(
                {
                    "name": measure.name,
                    "meaning": measure.meaning.replace("{outcome}", self.outcome),
                    "value": decimals(measure.places)(value),
                    "reason": "" if present(value) else self.why_not(measure.key),
                    "interval": interval or DASH,
                }
            )
        return rows

    def comparison(self) -> str:
        """Say how it compares with the champion."""
        version = self.verdict.get("compared_version")
        if version is None:
            return "There was no champion to compare it with."
        difference = self.verdict.get("roc_auc_difference")
        if not present(difference):
            return (
                f"It was compared with the champion, version {version}, but {DASH}: a "
                "difference could not be measured."
            )
        sign = "+" if difference > 0 else ""
        interval = written_interval(self.verdict, "roc_auc_difference", 4)
        return (
            f"Against the champion, version {version}, on the same {self.noun}s: "
            f"ROC AUC {sign}{decimals(4)(difference)}"
            f"{f' (interval {interval})' if interval else ''}."
        )

    def curve(self, heading: str, caption: str, svg: Markup | None) -> Curve:
        """Return a curve, or the reason why there is none."""
        reason = "" if svg else self.why_not("roc_auc")
        return {"heading": heading, "caption": caption, "svg": svg, "reason": reason}

    def ranking_curves(self, roc: Texts, pr: Texts) -> list[Curve]:
        """Draw ROC and precision-recall, each by its title, description and labels."""

        def drawn(
            heading: str, key: str, guides: Sequence[Line], caption: str, texts: Texts
        ) -> Curve:
            points, svg = self.points(key), None
            if points:
                lines = [*guides, Line(points)]
                svg = line_svg(lines, x_range=UNIT, y_range=UNIT, **texts)
            return self.curve(heading, f"{caption} Area {self.area(key)}.", svg)

        rate = self.quality.get("base_rate")
        coin = [Line([(0, 0), (1, 1)], "guide")]
        level = [Line([(0, rate), (1, rate)], "guide")] if present(rate) else []
        better = "The further above the dashed line, a coin, the better."
        is_level = f"The dashed line is the base rate, {percent(rate)}."
        return [
            drawn("ROC", "roc", coin, better, roc),
            drawn("Precision and recall", "pr", level, is_level, pr),
        ]

    def area(self, key: str) -> str:
        """Write the area under a curve, ``roc`` or ``pr``."""
        return decimals(3)(self.quality.get(f"{key}_auc"))

    def points(self, name: str) -> list[tuple[float, float]]:
        """Return the points of a curve of the card."""
        points = (self.card.get("curves") or {}).get(name) or ()
        return [(float(x), float(y)) for x, y in points if present(x) and present(y)]

    def candidates(self) -> dict[str, Any] | None:
        """Return the candidates as rows of a table."""
        candidates = self.card.get("candidates") or ()
        if not candidates:
            return None
        places = {"roc_auc": 3, "pr_auc": 3, "log_loss": 4, "brier": 4}
        chosen = (i for i, entry in enumerate(candidates) if entry.get("chosen"))
        return {
            "rows": [
                {
                    "name": entry.get("name"),
                    "chosen": entry.get("chosen"),
                    "algorithm": entry.get("algorithm", ""),
                    "parameters": entry.get("parameters") or {},
                    "figures": [
                        *(decimals(n)(entry.get(key)) for key, n in places.items()),
                        f"{decimals(1)(entry.get('fit_seconds'))} s"
                        if present(entry.get("fit_seconds"))
                        else DASH,
                    ],
                }
                for entry in candidates
            ],
            "chosen": next(chosen, None),
            "is_lacking": any(
                not present(entry.get(key)) for entry in candidates for key in places
            ),
        }

    def calibrations(self) -> dict[str, Any] | None:
        """Return the calibrations as rows of a table."""
        entries = self.card.get("calibrations") or ()
        name = self.card.get("calibration")
        if not entries:
            return None
        chosen = next((i for i, c in enumerate(entries) if c.get("name") == name), None)
        return {
            "rows": [
                (
                    f"{c.get('name')}{' (chosen)' if i == chosen else ''}",
                    decimals(4)(c.get("log_loss")),
                )
                for i, c in enumerate(entries)
            ],
            "chosen": chosen,
        }

    def baselines(self) -> list[Row]:
        """Return the figures of simpler rankings, then the model's own."""
        baselines = self.card.get("baselines") or ()
        rows = [(str(b.get("name")), decimals(3)(b.get("roc_auc"))) for b in baselines]
        own = ("This model", decimals(3)(self.quality.get("roc_auc")))
        return [*rows, own] if rows else []

    def importance(self) -> list[Markup]:
        """Draw the importance of the features, in one chart or two."""
        features = sorted(
            self.card.get("importance") or (), key=lambda f: -ordered(f.get("mean"))
        )
        write = decimals(4)
        bars = []
        for feature in features:
            mean, std = feature.get("mean"), feature.get("std")
            spans = present(mean) and present(std)
            bars.append(
                Bar(
                    name=str(feature.get("feature")),
                    value=mean,
                    shown=f"{write(mean)} ± {write(std)}",
                    low=mean - std if spans else None,
                    high=mean + std if spans else None,
                )
            )
        half = len(bars) if len(bars) <= 12 else (len(bars) + 1) // 2
        reach = max((ordered(bar.high) for bar in bars), default=0)
        return [
            bars_svg(
                some,
                title=f"Importance of features, {which} important",
                description="Loss of ROC AUC by feature: "
                + ", ".join(f"{bar.name} {bar.shown}" for bar in some)
                + ".",
                longest=reach,
            )
            for which, some in (("most", bars[:half]), ("least", bars[half:]))
            if some
        ]

    def facts(self) -> list[dict[str, Any]]:
        """Return where a version comes from, name by name."""
        card, split = self.card, self.split
        sampled = self.sampling()
        libraries = (card.get("libraries") or {}).items()
        algorithm = {
            "name": "Algorithm",
            "value": card.get("algorithm", DASH),
            "parameters": card.get("parameters") or {},
        }
        facts: list[dict[str, Any] | tuple[str, str]] = [
            ("Trained", moment(card.get("trained_at"))),
            ("As of", str(card.get("as_of", DASH))),
            ("Windows", self.windows()),
            ("Fitted on", listed_dates(split.get("train"))),
            ("Chosen on", listed_dates(split.get("calibrate"))),
            ("Held out", listed_dates(split.get("holdout"))),
            algorithm,
            *choice.facts(card),
            ("Calibration", str(card.get("calibration") or "none")),
            *([("Sampling", sampled)] if sampled else []),
            ("Cost", self.cost()),
            ("Libraries", ", ".join(f"{n} {v}" for n, v in libraries) or DASH),
        ]
        return [
            fact if isinstance(fact, dict) else {"name": fact[0], "value": fact[1]}
            for fact in facts
        ]

    @abstractmethod
    def windows(self) -> str:
        """Say which spans features and labels are of."""

    @abstractmethod
    def whose(self) -> str:
        """Say whose rows are of label 1, before the outcome."""

    def sampling(self) -> str:
        """Say which share of the rows of either class was read, if it was not all."""
        positive = self.card.get("positive_sampling_rate", 1.0)
        negative = self.card.get("negative_sampling_rate")
        if not (present(positive) and present(negative)):
            return ""
        if min(positive, negative) >= 1:
            return ""
        return (
            f"{percent(positive)} of the {self.whose()} {self.outcome}, "
            f"{percent(negative)} of the others"
        )

    def cost(self) -> str:
        """Say what the training has cost."""
        spent = [
            f"{write(self.card.get(key))} {unit}"
            for key, write, unit in (
                ("seconds", decimals(1), "seconds"),
                ("bytes_billed", count, "bytes billed by BigQuery"),
            )
            if present(self.card.get(key))
        ]
        return ", ".join(spent) or DASH


def alert_costs(
    figures: Card,
    where: str,
    *,
    conversions: Number,
    noun: str,
    whose: str,
    beside: Sequence[tuple[str, ...]] = (),
) -> dict[str, Any]:
    """
    Return what alerts cost beside none, as a sentence and the rows of a table.

    Args:
        figures: Costs of the alerts; money that they saved among them.
        where: From which score on there are alerts, and what came of it.
        conversions: Rows of label 1 that it rests on.
        noun: What a row is, in the singular.
        whose: Names the alerts' row.
        beside: Rows in between.
    """
    low, high = figures.get("saved_low"), figures.get("saved_high")
    spans = present(low) and present(high)
    return {
        "summary": f"{where}. That rests on {plural(conversions, noun)} of label 1.",
        "caption": f"Each review costs {money(figures.get('review_cost'))}, each "
        f"{noun} of label 1 that is no alert its amount.",
        "rows": [
            ("No alerts", "0", "0", money(figures.get("cost_without")), "0", DASH),
            *beside,
            (
                whose,
                count(figures.get("alerted")),
                count(figures.get("alerted_conversions")),
                money(figures.get("cost")),
                money(figures.get("saved")),
                f"{money(low)} to {money(high)}" if spans else DASH,
            ),
        ],
    }


def tile(
    name: str, figures: Card, key: str, places: int = 3, *, why: str
) -> tuple[str, str, str]:
    """Return a tile of a figure and its interval, or why there is none."""
    shown = decimals(places)(figures.get(key))
    return name, shown, written_interval(figures, key, places) or why


def written_interval(figures: Card, key: str, places: int = 3) -> str:
    """Write the interval of a figure; nothing where there is none."""
    return interval_of(figures, key, decimals(places))
