"""
The digest of the export, specified: what it has of a day's events.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from propensity.ga4 import events_view
from propensity.runs.digest import replace_days, state_of
from propensity.tables.export import OWN_EVENT, VIEW
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
    state = state_of(export.warehouse)
    replace_days(
        export.warehouse,
        list(state.tables.values()),
        state.rules,
        source=state.source,
        run_id="a run",
    )
    tables = ("ga_user_days", "ga_conversions", "ga_refusals", "ga_digested_days")
    return {name: export.rows(f"SELECT * FROM {name}") for name in tables}


def test_a_day_has_a_row_for_each_browser_and_user_id(export):
    """Each event counts once, though the export has it twice."""
    params = {"ga_session_id": 3, "engagement_time_msec": 900}
    visit = shop.event("a", MIDNIGHT + 5, params=params)
    login = shop.event("a", MIDNIGHT + 7, params=params, user_id="u")
    later = shop.event("a", MIDNIGHT + 9, event_name="add_to_cart", params=params)

    rows = digested(export, visit, visit, login, later)["ga_user_days"]

    [known, anonymous] = sorted(rows, key=lambda row: row["n_events"])
    assert (known["user_pseudo_id"], known["user_id"]) == ("a", "u")
    assert (anonymous["user_pseudo_id"], anonymous["user_id"]) == ("a", None)
    assert (anonymous["n_events"], anonymous["n_add_to_carts"]) == (2, 1)
    assert anonymous["first_event"] == MIDNIGHT + 5
    assert anonymous["last_event"] == MIDNIGHT + 9
    assert (anonymous["engagement_ms"], anonymous["session_ids"]) == (1800, [3])


def test_events_of_nobody_known_are_no_user_s_and_are_counted(export):
    """Their purchases are there: a week's sum has them."""
    page = shop.event(None, MIDNIGHT + 1, user_id=None)
    bought = shop.purchase(None, MIDNIGHT + 2, 3.0, user_id=None)

    tables = digested(export, page, bought)

    assert tables["ga_user_days"] == []
    [purchase] = tables["ga_conversions"]
    assert purchase["user_pseudo_id"] is None
    assert purchase["purchase_revenue"] == 3
    [day] = tables["ga_digested_days"]
    assert (day["export_day"], day["n_events"]) == (DAY, 2)


def test_what_we_send_to_analytics_is_no_visit(export):
    """It comes back in the export as an event of the member's browser.

    Defect: members were active on the day of each delivery, and their control group
    was not.
    """
    ours = shop.event("a", MIDNIGHT + 5, event_name=OWN_EVENT)
    own = shop.event("b", MIDNIGHT + 5)

    tables = digested(export, ours, own)

    assert [row["user_pseudo_id"] for row in tables["ga_user_days"]] == ["b"]
    assert tables["ga_digested_days"][0]["n_events"] == 1


def word(user: str | None, when: int, ads: str | None, **fields: Any) -> shop.Row:
    """Return an event that says whether the user has consented to ads."""
    choice = {"analytics_storage": "Yes", "ads_storage": ads}
    return shop.purchase(user, when, 3.0, privacy_info=choice, **fields)


def test_of_a_no_the_digest_has_who_and_when_alone(export):
    """Also of a login; not of nobody known, nor where nothing was said."""
    no = word("a", MIDNIGHT + 5, "No")
    login = word(None, MIDNIGHT + 5, "No", user_id="u")
    nobody = word(None, MIDNIGHT + 5, "No", user_id=None)
    silent = word("b", MIDNIGHT + 5, None)

    tables = digested(export, no, login, nobody, silent, require="ads_storage")

    assert tables["ga_user_days"] == tables["ga_conversions"] == []
    refusals = sorted(tables["ga_refusals"], key=lambda row: str(row["user_id"]))
    assert refusals == [
        {"export_day": DAY, "user_pseudo_id": "a", "user_id": None, "day": DAY},
        {"export_day": DAY, "user_pseudo_id": None, "user_id": "u", "day": DAY},
    ]


def test_the_newest_word_of_a_day_counts(export):
    no = word("a", MIDNIGHT + 5, "No")
    yes = word("a", MIDNIGHT + 6, "Yes", transaction="1")
    yes_before = word("b", MIDNIGHT + 4, "Yes", transaction="2")
    no_after = word("b", MIDNIGHT + 5, "No")

    tables = digested(export, no, yes, yes_before, no_after, require="ads_storage")

    assert [row["user_pseudo_id"] for row in tables["ga_refusals"]] == ["b"]
    assert {row["user_pseudo_id"] for row in tables["ga_user_days"]} == {"a", "b"}


def test_without_a_consent_that_is_asked_for_nobody_refuses(export):
    tables = digested(export, word("a", MIDNIGHT + 5, "No"))

    assert tables["ga_refusals"] == []
    assert len(tables["ga_user_days"]) == 1


def test_a_day_is_replaced_whole(export):
    """What the export has no more is gone; a second digest adds nothing."""
    digested(export, shop.purchase("a", MIDNIGHT, 3.0, transaction="1"))
    bought = shop.purchase("b", MIDNIGHT, 4.0, transaction="2")
    first = digested(export, bought)

    again = digested(export, bought)

    assert [row["user_pseudo_id"] for row in again["ga_user_days"]] == ["b"]
    assert again["ga_user_days"] == first["ga_user_days"]
    assert again["ga_conversions"] == first["ga_conversions"]
    assert len(again["ga_digested_days"]) == 1
