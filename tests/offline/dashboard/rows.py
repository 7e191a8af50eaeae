"""Rows as the dashboard's statements give them; a test states what it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from offline.dashboard.cases import Known
from offline.dashboard.reading import SOURCES, Reading, Window

USE_CASE = "ga4_purchase"
AS_OF = date(2026, 3, 3)
NOW = datetime(2026, 3, 3, 8, 30, tzinfo=UTC)
WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)
WINDOW = Window(as_of=AS_OF, weeks=26, now=NOW)
KNOWN = {
    USE_CASE: Known(title="Purchase within the horizon", outcome="buy", champion=3)
}

Row = dict[str, Any]

# What a publication promises.
PROMISE = {
    "value_promised": Decimal("14000.25"),
}

# Of a use case with amounts: users paid 1,050 more than the 12,000 that were promised.
VALUE = {
    "value_promised": Decimal("12000.50"),
    "value_observed": Decimal("13050.50"),
}


def evaluation(weeks_ago: int = 1, **changed: Any) -> Row:
    """A week of 2,000 users in which 160 were expected to buy, and 170 did."""
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
        "prediction_as_of": week,
        "status": "final",
        "outcome": "evaluated",
        "evaluated_at": NOW - (weeks_ago - 1) * WEEK,
        "users": 2_000,
        "conversions": 170,
        "base_rate": 0.085,
        "mean_probability": 0.08,
        "lift": lift,
        "best_threshold": 0.14,
        "users_at_best": 380,
        "precision_at_best": 0.23,
        "recall_at_best": 0.5,
        "budget": "10%",
        "users_at_budget": 200.0,
        "true_positives_at_budget": 90.0,
        "precision_at_budget": 0.45,
        "recall_at_budget": 0.53,
        "lift_at_budget": 5.3,
        "review_cost": None,
        "alert_threshold": None,
        "alerted": None,
        "alerted_conversions": None,
        "cost": None,
        "cost_without": None,
        "saved": None,
        **dict.fromkeys(VALUE),
        "unscored_converters": 12,
        "unknown_outcomes": 0,
        "conflicting_outcomes": 0,
        "bytes_billed": 10 * 1024**2,
    }
    row |= {"log_loss": 0.22, "calibration_error": 0.02}
    for name, value in {"roc_auc": 0.8, "pr_auc": 0.3}.items():
        row[name] = value
        row[f"{name}_low"], row[f"{name}_high"] = value - 0.02, value + 0.02
    return row | changed


def fraud_day(days_ago: int = 1, **changed: Any) -> Row:
    """A day of 900 events with 20 alerts, 15 of them right, that saved 800."""
    day = AS_OF - timedelta(days=days_ago)
    return evaluation(
        **{
            "use_case": "card_fraud",
            "week": day,
            "week_end": day + timedelta(days=1),
            "users": 900,
            "conversions": 25,
            "base_rate": 25 / 900,
            "review_cost": Decimal(5),
            "alert_threshold": 0.2,
            "alerted": 20,
            "alerted_conversions": 15,
            "cost": Decimal(200),
            "cost_without": Decimal(1000),
            "saved": Decimal(800),
            **changed,
        }
    )


def version(number: int = 3, **changed: Any) -> Row:
    """A version that was promoted a month ago."""
    day = AS_OF - 4 * WEEK
    return {
        "use_case": USE_CASE,
        "model_version": number,
        "training_date": day,
        "trained_at": datetime(day.year, day.month, day.day, 5, tzinfo=UTC),
        "as_of": day,
        "algorithm": "LogisticRegression",
        "calibration": "sigmoid",
        "users": 4_000,
        "base_rate": 0.08,
        "roc_auc": 0.79,
        "roc_auc_low": 0.77,
        "roc_auc_high": 0.81,
        "pr_auc": 0.3,
        "log_loss": 0.22,
        "calibration_error": 0.01,
        "alert_threshold": None,
        "review_cost": None,
        "alerted": None,
        "saved": None,
        "saved_share": None,
        "promoted": True,
        "verdict": "not worse: ROC AUC +0.001",
        "compared_version": number - 1,
        "roc_auc_difference": 0.001,
        "fits": 12,
        "seconds": 61.0,
        "bytes_billed": 20 * 1024**2,
    } | changed


def publication(weeks_ago: int = 0, **changed: Any) -> Row:
    """A publication for 2,000 users, of a use case without amounts."""
    return {
        "use_case": USE_CASE,
        "as_of": AS_OF - weeks_ago * WEEK,
        "model_version": 3,
        "scored_at": NOW - weeks_ago * WEEK,
        "users": 2_000,
        "mean_probability": 0.08,
        "value_promised": None,
        "bytes_billed": 30 * 1024**2,
        "seconds": 48.0,
    } | changed


def drift(thing: str = "feature", name: str = "revenue", **changed: Any) -> Row:
    """What was watched of the newest publication; far from an alarm."""
    return {
        "use_case": USE_CASE,
        "as_of": AS_OF,
        "thing": thing,
        "name": name,
        "model_version": 3,
        "written_at": NOW,
        "users": 2_000,
        "missing": 3,
        "value": None,
        "error": None,
        "distance": 0.05,
        "noise": 0.04,
        "threshold": 0.13,
        "is_alarm": False,
        "cause": None,
        "message": None,
    } | changed


def alarm(**changed: Any) -> Row:
    """An alarm of a feature."""
    return drift(
        **{
            "distance": 0.6,
            "is_alarm": True,
            "cause": "feature",
            "message": "revenue is 0 for 100% of users (71% before)",
            **changed,
        }
    )


def hour_of(hours_ago: int = 1, **changed: Any) -> Row:
    """An hour in which 100 events came, ten of them again."""
    return {
        "use_case": "first_day_churn",
        "hour": NOW.replace(minute=0) - hours_ago * HOUR,
        "received": 100,
        "duplicates": 10,
        "late": 1,
        "postcodes": 20,
        "unknown_postcodes": 2,
        "wait_p50_ms": 40,
        "wait_p99_ms": 900,
    } | changed


def latency(hours_ago: int = 1, **changed: Any) -> Row:
    """An hour in which 80 events were scored."""
    return {
        "use_case": "first_day_churn",
        "source": "stream",
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
        "control_share": 0.1,
        "treated_users": 900,
        "control_users": 100,
        "treated_conversions": 90,
        "control_conversions": 8,
        "treated_revenue": Decimal("9000.00"),
        "control_revenue": Decimal("700.00"),
        "conversion_difference": 0.02,
        "conversion_difference_low": -0.01,
        "conversion_difference_high": 0.05,
        "conversion_lift": 0.25,
        "revenue_difference": 3.0,
        "revenue_difference_low": -1.0,
        "revenue_difference_high": 7.0,
        "sample_ratio_p": 0.5,
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


def delivered(status: str = "accepted", **changed: Any) -> Row:
    """What became of 880 of them."""
    return {
        "use_case": USE_CASE,
        "audience": "winback",
        "destination": "crm",
        "as_of": AS_OF - 2 * WEEK,
        "action": "add",
        "status": status,
        "users": 880,
    } | changed


def alerts(number: int = 3, **changed: Any) -> Row:
    """What a version scored in the last days, and its alerts."""
    return {
        "use_case": "card_fraud",
        "model_version": number,
        "alert_threshold": 0.2,
        "scored": 5_000,
        "alerts": 100,
        "first_scored_at": NOW - 40 * HOUR,
        "last_scored_at": NOW,
    } | changed


def scores(users: int = 100, value: float = 0.125, **changed: Any) -> Row:
    """A bucket of the newest publication's probabilities."""
    row = {"use_case": USE_CASE, "as_of": AS_OF, "value": value, "users": users}
    return row | changed


def full() -> dict[str, Sequence[Row]]:
    """A deployment with something in every table."""
    return {
        "evaluations": [
            *(
                evaluation(n, roc_auc=0.8 - 0.01 * (n % 3), **VALUE)
                for n in range(1, 9)
            ),
            *(fraud_day(n) for n in range(1, 8)),
        ],
        "versions": [
            version(3),
            version(2),
            version(1, use_case="card_fraud", alert_threshold=0.2),
        ],
        "drift": [
            *(
                drift(
                    "users",
                    "count",
                    as_of=AS_OF - n * WEEK,
                    value=7.6 + 0.01 * n,
                    users=None,
                )
                for n in range(4)
            ),
            drift(),
            alarm(name="source", message="source is 'google' for 2% of users"),
        ],
        "publications": [publication(n, **PROMISE) for n in range(3)],
        "scores": [scores(1000 // n, n / 20) for n in range(1, 11)],
        "stream": [hour_of(n) for n in range(1, 30)],
        "latency": [latency(n) for n in range(1, 30)],
        "dead_letters": [letters(), letters("bad_value"), letters(hours_ago=9)],
        "alerts": [alerts()],
        "audiences": [members()],
        "deliveries": [delivered(), delivered("rejected", users=20)],
        "lift": [lift(3), lift(2)],
    }


def readings(rows: Mapping[str, Sequence[Row]], **missing: str) -> list[Reading]:
    """What the statements gave, all of them: no rows where a test names none."""
    return [
        Reading(
            name=source.name,
            title=source.title,
            text=source.text,
            rows=rows.get(source.name, ()),
            missing=missing.get(source.name, ""),
        )
        for source in SOURCES
    ]
