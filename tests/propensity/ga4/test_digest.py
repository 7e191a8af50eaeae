"""
The digest of the export, specified: what it has of a day, where no feature reads it.

That features, labels and amounts are those of the export, whatever came twice, late or
streamed, ``tests/usecases/ga4_purchase/test_plain.py`` says.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from propensity.ga4.view import events_view
from propensity.runs.digest import replace_days
from propensity.runs.digest_state import read_state
from propensity.tables.export_names import VIEW
from tests.support import shop
from tests.support.deployment import Deployment
from tests.support.shop import microseconds

DAY = date(2026, 3, 2)
MIDNIGHT = microseconds(DAY)


@pytest.fixture
def export(deployment) -> Deployment:
    """A deployment with its tables, and an export without events."""
    deployment.prepare()
    return deployment


def digested(
    export: Deployment, *events: shop.Row, require: str = "false"
) -> dict[str, list[dict[str, Any]]]:
    """Digest all days of an export of these events; return the rows of the tables."""
    shop.load(export, events)
    view = events_view(export.settings.export, require=require)
    export.warehouse.replace_view(VIEW, view)
    state = read_state(export.warehouse, today=date.max)
    tables = list(state.tables.values())
    replace_days(export.warehouse, tables, state.rules, run_id="a run")
    names = ("ga_user_days", "ga_conversions", "ga_refusals", "ga_digested_days")
    return {name: export.rows(f"SELECT * FROM {name}") for name in names}


def word(user: str | None, when: int, ads: str | None, **fields: Any) -> shop.Row:
    """Return an event that says whether the user has consented to ads."""
    choice = {"analytics_storage": "Yes", "ads_storage": ads}
    return shop.purchase(user, when, 3.0, privacy_info=choice, **fields)


def test_of_a_no_the_digest_has_who_and_when_alone(export):
    """Also of a login; not of nobody known, nor where nothing was said. The newest
    word of a day counts, and where nothing is asked for nobody refuses."""
    events = [
        word("a", MIDNIGHT + 5, "No"),
        word(None, MIDNIGHT + 5, "No", user_id="u"),
        word(None, MIDNIGHT + 5, "No", user_id=None),
        word("b", MIDNIGHT + 5, None),
        word("c", MIDNIGHT + 5, "No"),
        word("c", MIDNIGHT + 6, "Yes"),
        word("d", MIDNIGHT + 4, "Yes", transaction="2"),
        word("d", MIDNIGHT + 5, "No"),
    ]
    tables = digested(export, *events, require="ads_storage")

    assert {row["user_pseudo_id"] for row in tables["ga_user_days"]} == {"c", "d"}
    refusals = sorted(tables["ga_refusals"], key=lambda row: str(row["user_pseudo_id"]))
    assert refusals == [
        {"export_day": DAY, "user_pseudo_id": None, "user_id": "u", "day": DAY},
        {"export_day": DAY, "user_pseudo_id": "a", "user_id": None, "day": DAY},
        {"export_day": DAY, "user_pseudo_id": "d", "user_id": None, "day": DAY},
    ]
    assert digested(export, *events)["ga_refusals"] == []
