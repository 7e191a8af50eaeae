"""What the fraud part prints: tables by version and by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from local.demos.calls import aligned
from local.demos.cards_online import Online, Say
from local.demos.cards_plan import Plan, is_truth, moment_of
from local.generators.cards.transactions import USE_CASE, Transactions
from local.generators.delivery import Delivery
from propensity.edges.warehouse import Warehouse
from propensity.learning import metrics
from propensity.statements import statement

# Of the transactions that somebody may look at.
ALERTS = (0.01, 0.05)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Of messages that were sent: transactions and truths accepted, and broken ones."""

    transactions: int = 0
    distinct: int = 0
    truths: int = 0
    broken: int = 0

    @classmethod
    def of(cls, deliveries: Sequence[Delivery]) -> Counts:
        """Count messages."""
        events = [one for one in deliveries if one.event is not None]
        truths = sum(map(is_truth, events))
        ids = {
            one.event["transaction_id"]
            for one in events
            if one.event is not None and not is_truth(one)
        }
        return cls(
            transactions=len(events) - truths,
            distinct=len(ids),
            truths=truths,
            broken=len(deliveries) - len(events),
        )


@dataclass(frozen=True)
class Window:
    """When a training began, even traffic beside it ended, and all was scored."""

    began: datetime
    paced_until: datetime
    ended: datetime


@dataclass
class Played:
    """
    What came of it.

    By training: ``trainings`` has the answers, ``windows`` when it began, when the
    even traffic beside it ended, and when all after it had been scored, ``online`` who
    asked meanwhile.
    """

    plan: Plan
    since: datetime
    trainings: list[dict[str, Any]] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    online: list[Online] = field(default_factory=list)


def window_of(played: Played) -> dict[str, Any]:
    """Return the parameters of statements about what was sent."""
    prefix, _, _ = played.plan.transactions.ids[0].rpartition("-")
    return {
        "use_case": USE_CASE,
        "since": played.since,
        "since_day": played.since.date(),
        "prefix": f"{prefix}-",
    }


def show(
    warehouse: Warehouse,
    played: Played,
    evaluated: Mapping[str, Any],
    *,
    seconds: float,
    say: Say,
) -> None:
    """Print what was sent, what each version is worth, and how versions changed."""
    window = window_of(played)
    [counts] = warehouse.rows(statement("card_counts"), window)
    scores = warehouse.table(
        statement("first_scores"),
        {
            **{name: window[name] for name in ("use_case", "since_day", "prefix")},
            "as_of": datetime.now(UTC).date(),
            "since": moment_of(played.plan.transactions, 0).date(),
        },
    ).to_pylist()
    reasons = warehouse.rows(
        statement("dead_letter_reasons"),
        {name: window[name] for name in ("since", "since_day")},
    )
    why = ", ".join(f"{row['messages']} {row['reason']}" for row in reasons)
    say("\n" + told_messages(played.plan, dict(counts.items()), scores, why, seconds))
    figures = by_version(
        scores,
        played.plan.transactions,
        review_cost=warehouse.settings.alert_review_cost,
    )
    say("\n" + version_table(figures, played.trainings))
    say(told_optimum(played.plan.transactions))
    first, last = (moment_of(played.plan.transactions, row).date() for row in (0, -1))
    days = [row for row in evaluated["weeks"] if str(first) <= row["week"] <= str(last)]
    say("\n" + day_table(days))
    for number, trained in enumerate(played.trainings):
        say("\n" + told_switch(trained, scores, played.windows[number]))
        if played.online:
            say(f"  {played.online[number].told}")


def told_messages(
    plan: Plan,
    counts: Mapping[str, int],
    scores: Sequence[Mapping[str, Any]],
    reasons: str,
    seconds: float,
) -> str:
    """Return lines on what was sent and what came of it."""
    sent = Counts.of([*plan.deliveries])
    known = sum(row["label"] is not None for row in scores)
    conflicting = sum(row["is_conflicting"] for row in scores)
    return (
        f"{sent.transactions:>9,} transactions sent, {counts['stored_rows']:,} stored, "
        f"{counts['stored_rows'] - counts['events']:,} of them duplicates\n"
        f"{counts['events']:>9,} distinct ones, {len(scores):,} through the scorer\n"
        f"{counts['dead_letters']:>9,} dead letters: {reasons}\n"
        f"{sent.truths:>9,} truths sent, {counts['truths']:,} stored: of {known:,} "
        f"transactions the truth is known, of {conflicting:,} it was told both ways,\n"
        f"          of {len(scores) - known:,} nobody has told\n"
        f"{seconds:>9,.0f} s for all of it, trainings included"
    )


def by_version(
    scores: Sequence[Mapping[str, Any]],
    transactions: Transactions,
    *,
    review_cost: float,
) -> list[dict[str, Any]]:
    """
    Return figures of every version that scored first, on transactions of known truth.

    Args:
        scores: Rows of ``first_scores.sql``.
        transactions: All of them, by which the optimum of the same rows is known.
        review_cost: Of one alert.

    Returns:
        By version, -1 for none: ``scored``, ``known``, ``frauds``, ``roc_auc``,
        ``pr_auc``, ``optimum``, ``alerts``. Areas are None where all known rows are of
        one class, or where nothing gave scores.
    """
    place = {transaction: row for row, transaction in enumerate(transactions.ids)}
    found = []
    for version in sorted({row["model_version"] for row in scores}):
        mine = [row for row in scores if row["model_version"] == version]
        known = [row for row in mine if row["label"] is not None]
        chosen_rows = np.array([place[row["event_id"]] for row in known], dtype=int)
        is_mine = np.zeros(len(transactions), bool)
        is_mine[chosen_rows] = True
        entry: dict[str, Any] = {
            "version": version,
            "scored": len(mine),
            "known": len(known),
            "frauds": sum(row["label"] == 1 for row in known),
            "roc_auc": None,
            "pr_auc": None,
            "optimum": transactions.optimum_roc_auc(is_mine),
            "alerts": [],
        }
        if known and all(row["score"] is not None for row in known):
            score = np.array([row["score"] for row in known], dtype=float)
            label = np.array([row["label"] for row in known])
            observed = metrics.outcomes(score, label)
            entry["roc_auc"] = metrics.roc_auc(observed)
            entry["pr_auc"] = metrics.pr_auc(observed)
            entry["alerts"] = metrics.alerts(
                score,
                label,
                transactions.amounts[chosen_rows],
                review_cost=review_cost,
                rates=ALERTS,
            )
        found.append(entry)
    return found


def version_table(
    figures: Sequence[Mapping[str, Any]], trainings: Sequence[Mapping[str, Any]]
) -> str:
    """Return figures by version as a table; one that there is none of is a dash."""
    algorithm = {one["model_version"]: one["algorithm"] for one in trainings}
    rates = [f"caught by {rate:.0%}" for rate in ALERTS]
    cells = [
        [
            *("version", "algorithm", "scored", "truth known", "frauds"),
            *("ROC AUC", "optimum", "PR AUC", *rates, "saved"),
        ]
    ]
    for row in figures:
        alerts = row["alerts"] or [{}] * len(ALERTS)
        best = alerts[-1]
        saved = (
            None
            if best.get("cost") is None
            else 1 - best["cost"] / max(best["cost_without"], 1e-9)
        )
        cells.append(
            [
                str(row["version"]),
                algorithm.get(row["version"], "-" if row["version"] < 0 else "earlier"),
                *(f"{row[name]:,}" for name in ("scored", "known", "frauds")),
                *(shown(row[name]) for name in ("roc_auc", "optimum", "pr_auc")),
                *(shown(one.get("recall"), "{:.0%}") for one in alerts),
                shown(saved, "{:.0%}"),
            ]
        )
    return aligned(cells)


def shown(figure: float | None, form: str = "{:.3f}") -> str:
    """Return a figure, or a dash where there is none."""
    return "-" if figure is None else form.format(figure)


def told_optimum(transactions: Transactions) -> str:
    """Return a line on how well anything can rank these transactions."""
    optimum = transactions.optimum_roc_auc()
    if optimum is None:
        return (
            "(of real transactions nobody knows the optimum; a slice of one class has "
            "no ROC AUC)"
        )
    return (
        "(the optimum is the ROC AUC of the true probabilities, which the generator "
        f"knows: {optimum:.3f} over all transactions)"
    )


def told_training(
    answer: Mapping[str, Any], *, stop: datetime, sent: int, truths: int
) -> str:
    """Return lines on a training."""
    area = answer["holdout"]["roc_auc"]
    measured = "no ROC AUC: one class" if area is None else f"ROC AUC {area:.3f}"
    fate = "champion" if answer["promoted"] else "kept aside"
    return (
        f"{stop:%Y-%m-%d %H:%M}  {sent:,} transactions and {truths:,} truths are in\n"
        f"                  train     version {answer['model_version']} "
        f"({answer['algorithm']}), {measured} on the holdout; {fate}: "
        f"{answer['verdict']}"
    )


def day_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what 03 says of every day and version, as a table."""
    names = {
        "day": "week",
        "version": "model_version",
        "truth known": "users",
        "frauds": "conversions",
        "ROC AUC": "roc_auc",
        "PR AUC": "pr_auc",
        "unknown": "unknown_outcomes",
        "told both ways": "conflicting_outcomes",
        "outcome": "outcome",
        "status": "status",
    }
    cells = [list(names)]
    for row in rows:
        if not row.get("is_shadow"):
            values = (row.get(name) for name in names.values())
            cells.append([_cell(value) for value in values])
    return "As 03-ModelEvaluation has it, each score as it was given:\n" + aligned(
        cells
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "-" if value is None else str(value)


def told_switch(
    trained: Mapping[str, Any], scores: Sequence[Mapping[str, Any]], window: Window
) -> str:
    """Return lines on which versions scored while a new one was trained, and after."""
    rows = sorted(
        (row for row in scores if window.began <= row["scored_at"] <= window.ended),
        key=lambda row: row["scored_at"],
    )
    counts = Counter(row["model_version"] for row in rows)
    versions = ", then ".join(f"{count:,} by {one}" for one, count in counts.items())
    waits = [
        row["latency_ms"]
        for row in rows
        if row["scored_at"] <= window.paced_until and row["latency_ms"] is not None
    ]
    median = f"{np.median(waits):.0f} ms" if waits else "-"
    return (
        f"Version {trained['model_version']} was trained under traffic. Transactions "
        f"scored by version: {versions or 'none'}\n"
        f"  from ingestion to score {median} at the median while they came evenly"
    )
