"""
What contacting cost is what people are promised, whatever becomes of its price.

Relations between two looks at an audience: the same run again changes nothing, and a
price that changes moves no earlier week. Each week costs what its contacts cost then,
in rows of the audience and of the programme that it is alone, and in its results.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime, time
from decimal import Decimal
from random import Random
from typing import Any

from propensity.audience.result import results
from propensity.registry.deployment import open_deployment
from propensity.runs import setup
from propensity.tables.audiences import AUDIENCE_PLANS
from tests.functions.audiences import join
from tests.support import shop
from tests.support.deployment import Deployment, entered
from tests.support.rows import append_rows
from tests.support.shop import DAY, WEEK, event, purchase

FIRST = date(2026, 3, 2)
NAMES = ("cost", "margin", "brought", "profit")


def test_a_price_that_changes_and_a_run_again_move_no_earlier_week():
    random = Random(126)
    weeks = [FIRST + n * WEEK for n in range(3)]
    groups = {week: _drawn_groups(random, week) for week in weeks}
    events = [event("visitor", FIRST + days * DAY) for days in range(-1, 36)]
    for week, users in groups.items():
        for user in [*users[0], *users[1]]:
            if random.random() < 0.7:
                events.append(purchase(user, week + DAY, random.randint(1, 90)))
    with contextlib.closing(Deployment()) as site:
        site.prepare()
        shop.load(site, events)
        setup.prepare_export(site.warehouse, site.settings)
        cost = Decimal(0)
        before: list[Any] = []
        for week in weeks:
            price = Decimal(random.randint(1, 90)) / 100
            cost += price * len(groups[week][0])
            join(site, week, *groups[week])
            append_rows(site.warehouse, AUDIENCE_PLANS, [_plan(week, price)])
            site.run("model_evaluation", week + 2 * WEEK)
            found = _rows(site, "ma_audience_lift")
            site.run("model_evaluation", week + 2 * WEEK, force=True)

            assert _rows(site, "ma_audience_lift") == found
            assert _rows(site, "ma_programme_lift") == found
            assert found[:-1] == before
            assert found[-1]["cost"] == cost
            with entered(site.environment), open_deployment("ga4_purchase") as opened:
                [said] = results(opened, until=week + 3 * WEEK).values()
            assert said.cost == cost
            before = found


def _drawn_groups(random: Random, week: date) -> tuple[list[str], list[str]]:
    contacted = [f"{week}-t{n}" for n in range(random.randint(60, 90))]
    return contacted, [f"{week}-c{n}" for n in range(60)]


def _plan(week: date, price: Decimal) -> dict[str, Any]:
    row = {"use_case": "ga4_purchase", "audience": "winback", "as_of": week}
    row |= {"planned_at": datetime.combine(week, time(), UTC)}
    row |= {"control_group": "winback", "control_share": 0.5, "control_by": "user_id"}
    return row | {"control_key": "key", "cost_per_contact": price, "margin": 0.5}


def _rows(site: Deployment, table: str) -> list[dict[str, Any]]:
    period = " WHERE period = 'all'" if table == "ma_programme_lift" else ""
    rows = site.rows(f"SELECT * FROM {table}{period} ORDER BY week")
    return [{name: row[name] for name in ("week", *NAMES)} for row in rows]
