"""
Audiences in 03-ModelEvaluation, specified on emulators: outcomes of members by group.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest

from propensity import usecases
from propensity.tables import every as tables
from tests import shop
from tests.functions.conftest import Place
from tests.functions.evaluated import MONDAY
from tests.rows import append_rows
from tests.shop import DAY, WEEK, event, purchase

SECOND = MONDAY + WEEK
TREATED = [f"t{n}" for n in range(30)]
HELD_OUT = [f"c{n}" for n in range(30)]

OUTCOMES = [
    *(purchase(user, MONDAY + DAY, 12.5) for user in TREATED[:12]),
    *(purchase(user, MONDAY + 2 * DAY, 10.0) for user in HELD_OUT[:4]),
    # The thank-you page once more, and a second purchase.
    purchase("t0", MONDAY + 2 * DAY, 12.5, transaction="T"),
    purchase("t0", MONDAY + 3 * DAY, 12.5, transaction="T"),
    # A correction alone: a buyer who has paid nothing.
    purchase("c20", MONDAY + 2 * DAY, -70.0),
    # Not in the horizon, or nobody's member.
    purchase("t20", MONDAY - DAY, 99.0),
    purchase("t20", MONDAY + WEEK, 99.0),
    purchase("stranger", MONDAY + DAY, 99.0),
    purchase("new", SECOND + DAY, 5.0),
    # No day of the export is missing.
    *(event("daily", MONDAY + n * DAY) for n in range(-1, 15)),
]


def join(
    place: Place,
    as_of: date,
    treated,
    held_out,
    *,
    audience="winback",
    use_case="ga4_purchase",
) -> None:
    """Make users members of an audience."""
    rows = [
        {
            "use_case": use_case,
            "audience": audience,
            "as_of": as_of,
            "user_id": user,
            "probability": 0.25,
            "is_control": is_control,
            "control_group": audience,
            "control_share": 0.5,
        }
        for users, is_control in ((treated, False), (held_out, True))
        for user in users
    ]
    append_rows(place.warehouse, tables.AUDIENCE_MEMBERS, rows)


def lifts(place: Place):
    return place.rows("SELECT * FROM ma_audience_lift ORDER BY audience, week")


@pytest.fixture(scope="module")
def export(new_export):
    return new_export(OUTCOMES)


@pytest.fixture
def place(export, borrow) -> Place:
    place = borrow(export.ga4_dataset)
    join(place, MONDAY, TREATED, HELD_OUT)
    return place


class TestLift:
    def test_is_of_all_members_by_group(self, place):
        answer = place.run("model_evaluation", MONDAY + WEEK)

        [row] = lifts(place)
        assert row["treated_users"] == row["control_users"] == 30
        assert (row["treated_conversions"], row["control_conversions"]) == (12, 5)
        # One reload of a page; the first purchase and another one.
        assert row["treated_revenue"] == Decimal("162.5")
        assert row["control_revenue"] == Decimal(40)
        assert row["status"] == "provisional"
        assert row["conversion_difference"] == pytest.approx(7 / 30)
        assert row["revenue_difference"] == pytest.approx((162.5 - 40) / 30)
        assert row["verdict"] in ("open", "helps")
        assert answer["audiences"][0]["verdict"] == row["verdict"]
        assert "sums" not in answer["audiences"][0]

    def test_of_a_later_week_has_new_members_beside_the_old(self, place):
        """Who is a member again counts in the first week alone."""
        place.run("model_evaluation", MONDAY + WEEK)
        join(place, SECOND, ["new", "t20"], ["c0"])

        place.run("model_evaluation", SECOND + WEEK)

        first, second = lifts(place)
        assert first["status"] == "final"
        assert first["treated_users"] == 30
        assert second["treated_users"] == 31
        assert second["control_users"] == 30
        assert second["treated_conversions"] == 13

    @pytest.mark.parametrize(
        "again",
        [SECOND + 2 * WEEK, pytest.param(SECOND + 4 * DAY, marks=pytest.mark.long)],
    )
    def test_waits_for_a_day_that_the_export_lacks(self, new_export, borrow, again):
        """As the week's other figures: who bought on that day is in neither group. A
        later week that was final stays so, whichever date is run again."""
        lost = f"{MONDAY + 4 * DAY:%Y%m%d}"
        others = [
            event("daily", MONDAY + n * DAY) for n in (*range(-22, -1), *range(15, 21))
        ]
        rows = [row for row in [*OUTCOMES, *others] if row["event_date"] != lost]
        export = new_export(rows)
        place = borrow(export.ga4_dataset)
        join(place, MONDAY, TREATED, HELD_OUT)
        join(place, SECOND, ["new"], [])
        place.run("model_evaluation", SECOND + 2 * WEEK)
        before = [(row["status"], row["treated_conversions"]) for row in lifts(place)]
        shop.load(export, [purchase("t20", MONDAY + 4 * DAY)])
        place.run("model_evaluation", again)
        after = [(row["status"], row["treated_conversions"]) for row in lifts(place)]

        assert before == [("provisional", 12), ("final", 13)]
        # All users so far: who bought on that day is in the later week, too.
        assert after == [("final", 13), ("final", 14)]

    @pytest.mark.long
    def test_of_two_audiences_is_of_each(self, place):
        join(place, MONDAY, TREATED[:10], HELD_OUT[:10], audience="upsell")
        place.run("model_evaluation", MONDAY + WEEK)

        rows = [(row["audience"], row["treated_users"]) for row in lifts(place)]
        assert rows == [("upsell", 10), ("winback", 30)]


def test_players_whose_label_is_not_known_are_in_no_group(place):
    """Of players the labels are those that came with their registration."""
    registered = datetime.combine(MONDAY - 5 * DAY, time(), UTC)
    registrations = [
        {
            "use_case": "first_day_churn",
            "event_id": user,
            "user_id": user,
            "event_type": "new_registration",
            "event_time": registered,
            "event_date": registered.date(),
            "label": label,
            "received_at": registered,
            "received_on": registered.date(),
        }
        for user, label in (("t0", 1), ("t1", 0), ("t2", None), ("c0", 1))
    ]
    append_rows(place.warehouse, tables.STREAM_EVENTS, registrations)
    join(place, MONDAY, TREATED, HELD_OUT, use_case="first_day_churn")
    use_case = usecases.load("first_day_churn")

    rows = place.warehouse.rows(
        use_case.statement("audience_outcomes"),
        use_case.window(place.settings, [MONDAY], today=MONDAY + WEEK)
        | {"use_case": use_case.name},
    )

    groups = {row["is_control"]: (row["users"], row["conversions"]) for row in rows}
    assert groups == {False: (2, 1), True: (1, 1)}
    assert {row["revenue"] for row in rows} == {None}
