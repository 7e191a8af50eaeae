"""Rows as the dashboard's statements give them; a test states what it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from offline.dashboard.cases import Case
from offline.dashboard.facts import Facts
from offline.dashboard.pages import cases, site
from offline.dashboard.reading import SQL, TITLES, Reading, Window
from propensity.statements import statement

USE_CASE = "ga4_purchase"
AS_OF = date(2026, 3, 3)
NOW = datetime(2026, 3, 3, 8, 30, tzinfo=UTC)
WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)
WINDOW = Window(as_of=AS_OF, weeks=26, until=AS_OF)
KNOWN = {
    USE_CASE: Facts(title="Purchase within the horizon", outcome="buy", champion=3),
    "card_fraud": Facts(
        title="Card fraud", outcome="are fraud", is_of_events=True, champion=3
    ),
}

Row = dict[str, Any]
# Of a use case with amounts: users paid 1,050 more than was expected.
VALUE = {"value_promised": 12000.5, "value_observed": 13050.5}


def evaluation(weeks_ago: int = 1, **changed: Any) -> Row:
    """A week of 2,000 users of whom 160 were expected to buy, and 170 did."""
    week = AS_OF - weeks_ago * WEEK
    lift = [
        {
            "decile": decile,
            "users": 200.0,
            "conversions": 90.0 / decile,
            "mean_probability": 0.4 / decile,
            "lift": 5.0 / decile,
        }
        for decile in range(1, 11)
    ]
    row: Row = {
        "use_case": USE_CASE,
        "week": week,
        "week_end": week + WEEK,
        "model_version": 3,
        "status": "final",
        "outcome": "evaluated",
        "users": 2_000,
        "conversions": 170,
        "base_rate": 0.085,
        "mean_probability": 0.08,
        "lift": lift,
        "budget": "10%",
        "recall_at_budget": 0.53,
        "lift_at_budget": 5.3,
        "log_loss": 0.22,
        "calibration_error": 0.02,
        "unscored_converters": 12,
    }
    for name, value in {"roc_auc": 0.8, "pr_auc": 0.3}.items():
        row |= {name: value, f"{name}_low": value - 0.02, f"{name}_high": value + 0.02}
    costs = ("alerted", "alerted_conversions", "cost", "cost_without", "saved")
    return row | dict.fromkeys((*costs, *VALUE)) | changed


def fraud_day(days_ago: int = 1, **changed: Any) -> Row:
    """A day of 900 events with 20 alerts, 15 of them right, that saved 800."""
    day = AS_OF - timedelta(days=days_ago)
    row = {
        "use_case": "card_fraud",
        "week": day,
        "week_end": day + timedelta(days=1),
        "users": 900,
        "conversions": 25,
        "alerted": 20,
        "alerted_conversions": 15,
        "cost": 200.0,
        "cost_without": 1000.0,
        "saved": 800.0,
    }
    return evaluation() | row | changed


def version(number: int = 3, **changed: Any) -> Row:
    """A version that was promoted a month ago."""
    return {
        "use_case": USE_CASE,
        "model_version": number,
        "as_of": AS_OF - 4 * WEEK,
        "algorithm": "LogisticRegression",
        "calibration": "sigmoid",
        "roc_auc": 0.79,
        "roc_auc_low": 0.77,
        "roc_auc_high": 0.81,
        "log_loss": 0.22,
        "promoted": True,
        "verdict": "not worse: ROC AUC +0.001",
    } | changed


def publication(weeks_ago: int = 0, **changed: Any) -> Row:
    """A publication for 2,000 users, of a use case without amounts."""
    return {
        "use_case": USE_CASE,
        "as_of": AS_OF - weeks_ago * WEEK,
        "model_version": 3,
        "users": 2_000,
        "value_promised": None,
    } | changed


def run(**changed: Any) -> Row:
    """A training that took a minute and billed 20 MiB."""
    return {
        "ended_at": NOW,
        "run": "training",
        "use_case": USE_CASE,
        "result": "version 3, promoted",
        "users": 4_000,
        "seconds": 61.0,
        "bytes_billed": 20 * 2**20,
    } | changed


def drift(name: str = "revenue", **changed: Any) -> Row:
    """A feature of the newest publication; far from an alarm."""
    return {
        "use_case": USE_CASE,
        "as_of": AS_OF,
        "kind": "feature",
        "name": name,
        "psi": 0.05,
        "bound": 0.2,
        "bins": None,
        "is_alarm": False,
        "cause": None,
        "message": None,
    } | changed


def alarm(**changed: Any) -> Row:
    """An alarm of a feature."""
    message = "revenue is 0 for 100% of users (71% before)"
    alarmed = {"psi": 0.6, "is_alarm": True, "cause": "feature", "message": message}
    return drift(**alarmed | changed)


def probabilities() -> Row:
    """The newest publication's probabilities."""
    bins = [
        {"value": f"{n}% to {n + 5}%", "observed": 0.1, "expected": 0.09}
        for n in range(0, 50, 5)
    ]
    return drift("probability", kind="score", bins=bins)


def hour_of(hours_ago: int = 1, **changed: Any) -> Row:
    """An hour in which 100 events came, ten of them again."""
    return {
        "use_case": "first_day_churn",
        "hour": NOW.replace(minute=0) - hours_ago * HOUR,
        "received": 100,
        "duplicates": 10,
        "late": 1,
        "wait_p50_ms": 40,
        "wait_p99_ms": 900,
    } | changed


def latency(hours_ago: int = 1, **changed: Any) -> Row:
    """An hour in which 80 events were scored."""
    return {
        "use_case": "first_day_churn",
        "hour": NOW.replace(minute=0) - hours_ago * HOUR,
        "scores": 80,
        "latency_p50_ms": 60.0,
        "latency_p99_ms": 700.0,
    } | changed


def letters(reason: str = "malformed_json", hours_ago: int = 1, **changed: Any) -> Row:
    """An hour in which five messages became dead letters for one reason."""
    hour = NOW.replace(minute=0) - hours_ago * HOUR
    return {"hour": hour, "reason": reason, "messages": 5} | changed


def lift(weeks_ago: int = 2, **changed: Any) -> Row:
    """An audience of which nobody can say yet whether it helped."""
    week = AS_OF - weeks_ago * WEEK
    return {
        "use_case": USE_CASE,
        "audience": "winback",
        "week": week,
        "week_end": week + WEEK,
        "status": "final",
        "treated_users": 900,
        "control_users": 100,
        "treated_conversions": 90,
        "control_conversions": 8,
        "conversion_difference": 0.02,
        "conversion_difference_low": -0.01,
        "conversion_difference_high": 0.05,
        "conversion_lift": 0.25,
        "revenue_difference": 3.0,
        "revenue_difference_low": -1.0,
        "revenue_difference_high": 7.0,
        "verdict": "open",
    } | changed


def members(**changed: Any) -> Row:
    """An audience of a thousand, a tenth of it held out."""
    return {
        "use_case": USE_CASE,
        "audience": "winback",
        "as_of": AS_OF - 2 * WEEK,
        "selection": "top 1000",
        "control_share": 0.1,
        "members": 1_000,
        "held_out": 100,
    } | changed


def delivered(**changed: Any) -> Row:
    """What became of them."""
    return {
        "use_case": USE_CASE,
        "audience": "winback",
        "destination": "crm",
        "as_of": AS_OF - 2 * WEEK,
        "action": "add",
        "accepted": 880,
        "rejected": 20,
        "pending": 0,
    } | changed


def full() -> dict[str, Sequence[Row]]:
    """A deployment with something in every table."""
    weeks = [evaluation(n, roc_auc=0.8 - 0.01 * (n % 3), **VALUE) for n in range(1, 9)]
    source = "source is 'google' for 2% of users"
    return {
        "evaluations": [*weeks, *(fraud_day(n) for n in range(1, 8))],
        "versions": [version(3), version(2), version(1, use_case="card_fraud")],
        "publications": [publication(n, value_promised=14000.25) for n in range(3)],
        "runs": [run(), run(run="evaluation", seconds=None)],
        "drift": [alarm(name="source", message=source), drift(), probabilities()],
        "stream": [hour_of(n) for n in range(1, 30)],
        "latency": [latency(n) for n in range(1, 30)],
        "dead_letters": [letters(), letters("bad_value"), letters(hours_ago=9)],
        "audiences": [members()],
        "deliveries": [delivered()],
        "lift": [lift(2), lift(3)],
    }


def readings(rows: Mapping[str, Sequence[Row]], **missing: str) -> dict[str, Reading]:
    """What the statements gave, all of them: no rows where a test names none."""
    return {
        name: Reading(
            name=name,
            text=statement(name, own=SQL),
            rows=rows.get(name, ()),
            missing=missing.get(name, ""),
        )
        for name in TITLES
    }


def pages(
    rows: Mapping[str, Sequence[Row]],
    known: Mapping[str, Facts] = KNOWN,
    window: Window = WINDOW,
    **missing: str,
) -> dict[str, str]:
    """Pages of some rows."""
    return site(readings(rows, **missing), known, window, place="p.propensity")


def case(known: Facts | None = None, **rows: Sequence[Row]) -> Case:
    """The only use case of a deployment with some rows."""
    facts = {USE_CASE: known or KNOWN[USE_CASE]}
    (shop,) = cases(readings(rows), facts, WINDOW)
    return shop
