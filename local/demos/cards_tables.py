"""What the fraud part prints: tables by version and by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from local.demos.calls import aligned
from local.demos.cards_online import Online
from local.demos.cards_plan import Plan, is_truth, moment_of
from local.generators.cards.cards import Cards
from local.generators.cards.transactions import USE_CASE, Transactions
from local.generators.delivery import Delivery
from local.progress import say
from propensity.edges.warehouse import Warehouse
from propensity.learning import cost, metrics, of_events
from propensity.statements import statement

SQL = resources.files(__package__)

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
        events = [delivery for delivery in deliveries if delivery.event is not None]
        truths = sum(map(is_truth, events))
        ids = {
            delivery.event["transaction_id"]
            for delivery in events
            if delivery.event is not None and not is_truth(delivery)
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
) -> None:
    """Print what was sent, what each version is worth, and how versions changed."""
    window = window_of(played)
    [counts] = warehouse.rows(statement("card_counts", own=SQL), window)
    scores = warehouse.table(
        statement("first_scores", own=SQL),
        {
            **{name: window[name] for name in ("use_case", "since_day", "prefix")},
            "as_of": datetime.now(UTC).date(),
            "since": moment_of(played.plan.transactions, 0).date(),
        },
    ).to_pylist()
    reasons = warehouse.rows(
        statement("dead_letter_reasons", own=SQL),
        {name: window[name] for name in ("since", "since_day")},
    )
    why = ", ".join(f"{row['messages']} {row['reason']}" for row in reasons)
    say("\n" + messages_text(played.plan, dict(counts.items()), scores, why, seconds))
    figures = by_version(
        scores,
        played.plan.transactions,
        review_cost=warehouse.settings.alert_review_cost,
        thresholds={
            training["model_version"]: training.get("cost", {}).get("alert_threshold")
            for training in played.trainings
        },
    )
    say("\n" + version_table(figures, played.trainings))
    say(savings_text(figures))
    say(optimum_text(played.plan.transactions))
    first, last = (moment_of(played.plan.transactions, row).date() for row in (0, -1))
    days = [row for row in evaluated["weeks"] if str(first) <= row["week"] <= str(last)]
    say("\n" + day_table(days))
    for number, trained in enumerate(played.trainings):
        say("\n" + switch_text(trained, scores, played.windows[number]))
        if played.online:
            say(f"  {played.online[number].summary}")


def messages_text(
    plan: Plan,
    counts: Mapping[str, int],
    scores: Sequence[Mapping[str, Any]],
    reasons: str,
    seconds: float,
) -> str:
    """Return lines on the messages, sent and stored."""
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
    thresholds: Mapping[int, float | None],
) -> list[dict[str, Any]]:
    """
    Return figures of every version that scored first, on transactions of known truth.

    Args:
        scores: Rows of ``first_scores.sql``.
        transactions: All of them, by which the optimum of the same rows is known.
        review_cost: Of one alert.
        thresholds: By version, the score from which training found alerts cheapest.

    Returns:
        By version, -1 for none: ``scored``, ``known``, ``frauds``, ``roc_auc``,
        ``pr_auc``, ``optimum``, ``alerts``, ``policy``. Areas are None where all known
        rows are of one class, or where nothing gave scores; the policy, of the alerts
        at the threshold, also where there is none.
    """
    place = {transaction: row for row, transaction in enumerate(transactions.ids)}
    rows = []
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
            "policy": None,
        }
        if known and all(row["score"] is not None for row in known):
            score = np.array([row["score"] for row in known], dtype=float)
            label = np.array([row["label"] for row in known])
            observed = metrics.outcomes(score, label)
            entry["roc_auc"] = metrics.roc_auc(observed)
            entry["pr_auc"] = metrics.pr_auc(observed)
            amount = transactions.amounts[chosen_rows]
            entry["alerts"] = metrics.alerts(
                score, label, amount, review_cost=review_cost, rates=ALERTS
            )
            threshold = thresholds.get(version)
            if threshold is not None:
                at = cost.Stakes(
                    is_fraud=label == 1,
                    amount=cost.amounts(amount),
                    weight=np.ones(len(label)),
                    review_cost=review_cost,
                )
                entry["policy"] = cost.policy(score >= threshold, at)
        rows.append(entry)
    return rows


def version_table(
    figures: Sequence[Mapping[str, Any]], trainings: Sequence[Mapping[str, Any]]
) -> str:
    """Return figures by version as a table; one that there is none of is a dash."""
    algorithm = {
        training["model_version"]: training["algorithm"] for training in trainings
    }
    rates = [f"caught by {rate:.0%}" for rate in ALERTS]
    cells = [
        [
            *("version", "algorithm", "scored", "truth known", "frauds"),
            *("ROC AUC", "optimum", "PR AUC", *rates),
            *(f"saved by {ALERTS[-1]:.0%}", "alerts", "saved"),
        ]
    ]
    for row in figures:
        alerts = row["alerts"] or [{}] * len(ALERTS)
        most, policy = alerts[-1], row["policy"]
        cells.append(
            [
                str(row["version"]),
                algorithm.get(row["version"], "-" if row["version"] < 0 else "earlier"),
                *(f"{row[name]:,}" for name in ("scored", "known", "frauds")),
                *(shown(row[name]) for name in ("roc_auc", "optimum", "pr_auc")),
                *(shown(alert.get("recall"), "{:.0%}") for alert in alerts),
                saved_cell(most.get("cost_without"), most.get("cost")),
                *(
                    ("-", "-")
                    if policy is None
                    else (
                        f"{policy.alerts:,.0f}",
                        saved_cell(float(policy.cost_without), float(policy.cost)),
                    )
                ),
            ]
        )
    return aligned(cells)


def saved_cell(without: float | None, cost: float | None) -> str:
    """Return what alerts save, and its share of all losses where there are any."""
    if without is None or cost is None:
        return "-"
    saved = without - cost
    return f"{saved:,.0f}" + (f" ({saved / without:,.0%})" if without else "")


def savings_text(figures: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each version: what its alerts save, and how sure that is."""
    lines = []
    for row in figures:
        policy: cost.Policy | None = row["policy"]
        if policy is not None:
            low, high = policy.interval(seed=Cards.seed) or (None, None)
            words = of_events.savings(policy, low, high)
            lines.append(f"version {row['version']}: {words}")
    return "\n".join(
        ["At the thresholds that training chose:", *(lines or ["no version has one"])]
    )


def shown(figure: float | None, form: str = "{:.3f}") -> str:
    """Return a figure, or a dash where there is none."""
    return "-" if figure is None else form.format(figure)


def optimum_text(transactions: Transactions) -> str:
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


def training_text(
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
        values = (row.get(name) for name in names.values())
        cells.append([_cell(value) for value in values])
    return "As 03-ModelEvaluation has it, each score as it was given:\n" + aligned(
        cells
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "-" if value is None else str(value)


def switch_text(
    trained: Mapping[str, Any], scores: Sequence[Mapping[str, Any]], window: Window
) -> str:
    """Return lines on which versions scored while a new one was trained, and after."""
    rows = sorted(
        (row for row in scores if window.began <= row["scored_at"] <= window.ended),
        key=lambda row: row["scored_at"],
    )
    counts = Counter(row["model_version"] for row in rows)
    versions = ", then ".join(
        f"{count:,} by {version}" for version, count in counts.items()
    )
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
