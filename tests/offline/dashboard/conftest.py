"""A deployment with rows of everything that the dashboard shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from offline.dashboard import reading
from offline.dashboard.cases import Case, Facts
from offline.dashboard.pages import cases
from offline.dashboard.pages import site as rendered
from offline.dashboard.reading import SQL, TITLES, Reading, Window
from propensity.statements import statement
from propensity.tables.audiences import (
    AUDIENCE_LIFT,
    AUDIENCE_MEMBERS,
    AUDIENCE_PLANS,
    PROGRAMME_LIFT,
)
from propensity.tables.models import DRIFT, EVALUATION, PUBLICATIONS, TRAINING_METADATA
from propensity.tables.stream import DEAD_LETTERS
from tests.propensity.learning.report_pages import parse
from tests.support.deployment import Deployment
from tests.support.rows import log_request

USE_CASE = "ga4_purchase"
CARDS = "card_fraud"
DAY = date(2026, 3, 3)
WEEK = timedelta(days=7)
NOW = datetime(2026, 3, 3, 8, 30, tzinfo=UTC)
WINDOW = Window(as_of=DAY, weeks=26, until=DAY)
KNOWN = {
    USE_CASE: Facts(
        title="Purchase within the horizon", outcome="buy", unit="USD", champion=3
    ),
    CARDS: Facts(
        title="Card fraud",
        outcome="are fraud",
        unit="EUR",
        is_of_events=True,
        champion=3,
    ),
}
# Whatever a page is about, it is not about one of these.
SOMEBODY = "somebody-4711"

Row = dict[str, Any]


def words(page: str) -> str:
    return " ".join(" ".join(parse(page).words).split())


def of_week(weeks_ago: int, **changed: Any) -> Row:
    week = DAY - weeks_ago * WEEK
    return {"use_case": USE_CASE, "week": week, "week_end": week + WEEK} | changed


def ago(row: Row, weeks: int, **changed: Any) -> Row:
    """A row of so many weeks before, with other values."""
    dates = {
        name: row[name] - weeks * WEEK
        for name in ("week", "week_end", "as_of")
        if row.get(name)
    }
    return row | dates | changed


@cache
def read(deployment: Deployment, window: Window = WINDOW) -> dict[str, Reading]:
    """What all statements give, by their names."""
    readings = reading.read(deployment.warehouse, window)
    return {one.name: one for one in readings}


def given(deployment: Deployment, name: str, window: Window = WINDOW) -> list[Row]:
    """What a statement gives."""
    return [dict(row) for row in read(deployment, window)[name].rows]


def one(deployment: Deployment, name: str, **changed: Any) -> Row:
    """The newest row of a statement about the shop, with other values."""
    rows = given(deployment, name)
    return next(r for r in rows if r.get("use_case") == USE_CASE) | changed


def everything(deployment: Deployment) -> dict[str, list[Row]]:
    """What all statements give."""
    return {name: given(deployment, name) for name in TITLES}


def fill_models(deployment: Deployment) -> None:
    trained = {"training_date": DAY - 5 * WEEK, "as_of": DAY - 5 * WEEK}
    verdict = {"promoted": True, "verdict": "not worse", "algorithm": "Trees"}
    old = {"training_date": DAY - 60 * WEEK, "use_case": CARDS, "model_version": 1}
    deployment.append(
        TRAINING_METADATA,
        {"use_case": USE_CASE, "model_version": 0, **trained, **verdict},
        {**old, **verdict},
    )
    lift = [
        {"decile": n, "users": 200.0, "conversions": 90.0 / n,
         "mean_probability": 0.4 / n, "lift": 5.0 / n}
        for n in range(1, 11)
    ]  # fmt: skip
    scored = {"model_version": 0, "status": "final", "outcome": "evaluated"}
    shop = {
        **scored,
        "users": 2_000, "conversions": 170, "unscored_converters": 12,
        "base_rate": 0.085, "mean_probability": 0.08, "lift": lift,
        "roc_auc": 0.8, "roc_auc_low": 0.78, "roc_auc_high": 0.82,
        "budget": "10%", "recall_at_budget": 0.53, "lift_at_budget": 5.3,
        "users_at_budget": 200.0, "true_positives_at_budget": 90.0,
        "pr_auc": 0.3, "log_loss": 0.22, "calibration_error": 0.02,
        "value_promised": Decimal("12000.5"), "value_observed": Decimal("13050.5"),
        "purchases": 200, "purchases_without_id": 16,
        "revenue": 14_100.0, "revenue_without_id": 1_050.0,
    }  # fmt: skip
    # A day of 20 alerts, 15 of them right.
    day = {
        "use_case": CARDS, "week_end": DAY, "users": 900, "conversions": 25,
        "alerted": 20, "alerted_conversions": 15, "review_cost": Decimal(5),
        "cost": 200.0, "cost_without": 1000.0, "saved": Decimal(800),
    }  # fmt: skip
    deployment.append(
        EVALUATION,
        *(of_week(n, **shop) for n in (1, 2, 40)),
        {**scored, **day, "week": DAY - timedelta(days=1)},
    )
    published = {"use_case": USE_CASE, "model_version": 0, "scored_at": NOW}
    published |= {"users": 2_000, "value_promised": Decimal("14000.25")}
    days = (DAY, DAY - 40 * WEEK)
    deployment.append(PUBLICATIONS, *({**published, "as_of": day} for day in days))
    drift = {"use_case": USE_CASE, "as_of": DAY, "bound": 0.2, "written_at": NOW}
    score = {"kind": "score", "name": "probability", "psi": 0.05, "is_alarm": False}
    bins = [{"value": "0% to 5%", "observed": 0.1, "expected": 0.09}]
    message = "source is 'google' for 2% of users"
    alarm = {"kind": "feature", "name": "source", "psi": 0.6, "is_alarm": True}
    deployment.append(
        DRIFT,
        {**drift, **score, "bins": bins},
        {**drift, **score, "bins": [], "written_at": NOW - WEEK},
        {**drift, **alarm, "cause": "feature", "message": message},
    )


def fill_letters(deployment: Deployment) -> None:
    at = NOW - timedelta(hours=2)
    letter = {"received_at": at, "received_on": at.date(), "raw": SOMEBODY.encode()}
    deployment.append(
        DEAD_LETTERS,
        {**letter, "message_id": "1", "reason": "bad_value"},
        {**letter, "message_id": "1", "reason": "bad_value"},
        {**letter, "message_id": "2", "reason": "malformed_json"},
    )


def fill_audiences(deployment: Deployment) -> None:
    key = {"use_case": USE_CASE, "audience": "winback"}
    member = {**key, "as_of": DAY - 2 * WEEK, "selection": "top 2"}
    member["probability"] = 0.5
    deployment.append(
        AUDIENCE_MEMBERS,
        {**member, "user_id": SOMEBODY, "is_control": False},
        {**member, "user_id": "another", "is_control": True},
    )
    decile = {"decile": 1, "users": 20.0, "conversions": 9.5, "value": 3810.0}
    power = {"weeks": 1, "members": 2, "smallest_lift": 0.47}
    plan = {
        "as_of": DAY - 2 * WEEK, "planned_at": NOW, "control_group": "winback",
        "control_share": 0.5, "control_by": "user_id", "control_key": "k",
        "new_members_a_week": 1.0, "power": [power],
        "deciles": [decile | {"cost": 38.0, "pays_from": 0.02}],
    }  # fmt: skip
    deployment.append(AUDIENCE_PLANS, key | plan)
    sent = {**key, "as_of": DAY - 2 * WEEK, "recorded_at": NOW}
    log_request(deployment.warehouse, SOMEBODY, **sent, status="pending")
    reason = f"{SOMEBODY} is unknown"
    log_request(
        deployment.warehouse, SOMEBODY, **sent, status="rejected", reason=reason
    )
    lift = {
        "audience": "winback", "status": "final", "verdict": "open",
        "treated_users": 900, "control_users": 100,
        "treated_conversions": 90, "control_conversions": 8,
        "conversion_difference": 0.02, "conversion_difference_low": -0.01,
        "conversion_difference_high": 0.05, "conversion_lift": 0.25,
    }  # fmt: skip
    deployment.append(
        AUDIENCE_LIFT,
        of_week(2, **lift),
        of_week(1, **lift | {"status": "provisional"}),
    )
    programme = {
        "control_group": "winback", "period": "all", "status": "final",
        "verdict": "helps", "audiences": ["winback"],
        "treated_users": 1_800, "control_users": 200, "added_buyers": 36.0,
        "brought": 5_400.0, "brought_low": 400.0, "brought_high": 10_400.0,
    }  # fmt: skip
    deployment.append(
        PROGRAMME_LIFT,
        of_week(2, **programme),
        of_week(2, **programme | {"period": "2026-Q1"}),
    )


def readings(rows: Mapping[str, Sequence[Row]], **missing: str) -> dict[str, Reading]:
    """What the statements gave, all of them: no rows where a test names none."""
    return {
        name: Reading(
            name=name,
            text=statement(name, folder=SQL),
            rows=rows.get(name, ()),
            missing=missing.get(name, ""),
        )
        for name in TITLES
    }


def pages(
    rows: Mapping[str, Sequence[Row]],
    known: Mapping[str, Facts] = KNOWN,
    **missing: str,
) -> dict[str, str]:
    return rendered(readings(rows, **missing), known, WINDOW, place="p.propensity")


def case(known: Facts = KNOWN[USE_CASE], **rows: Sequence[Row]) -> Case:
    """The only use case of a deployment with some rows."""
    (shop,) = cases(readings(rows), {USE_CASE: known}, WINDOW)
    return shop


@pytest.fixture(scope="module")
def deployment(new_deployment) -> Deployment:
    """The deployment; tests read it."""
    deployment = new_deployment()
    fill_models(deployment)
    fill_letters(deployment)
    fill_audiences(deployment)
    return deployment
