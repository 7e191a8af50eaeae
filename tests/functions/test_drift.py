"""
Drift across functions, on emulators: 01 watches publications, 03 their outcomes.

Publications of earlier weeks are copies of one that 01 has written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from propensity import tables
from tests.functions.conftest import LATER, TRAINED, Place
from tests.functions.evaluated import MONDAY, published
from tests.rows import append_rows
from tests.shop import DAY, WEEK, purchase

pytestmark = pytest.mark.runs


def watched(place: Place) -> dict[tuple[str, str], Mapping[str, Any]]:
    """What the table has of the newest publication."""
    rows = place.rows("SELECT * FROM ma_drift WHERE as_of = @day", day=LATER)
    by_name = {(row["thing"], row["name"]): row for row in rows}
    assert len(by_name) == len(rows)
    return by_name


def earlier(place: Place, *, weeks: int = 2, **broken: Mapping[str, Any]) -> None:
    """Copy the publication to the weeks before it; some things were different."""
    copies = [
        {**row, **broken.get(row["name"], {}), "as_of": LATER - (ago + 1) * WEEK}
        for row in watched(place).values()
        for ago in range(weeks)
    ]
    append_rows(place.warehouse, tables.DRIFT, copies)


class TestPublications:
    def test_raise_an_alarm_where_a_source_has_gone(self, champion_place, log_lines):
        """The alarm and its cause are in the answer, the log and the table, once. The
        expected ROC AUC is there at once, with its interval."""
        first = champion_place.run("predictions", LATER)
        foretold = watched(champion_place)["score", "roc_auc"]
        users = first["users"]
        earlier(
            champion_place,
            medium={"counts": [{"value": "email", "users": users}], "missing": 0},
        )
        log_lines()
        answer = champion_place.run("predictions", LATER)
        lines, table = log_lines(), watched(champion_place)

        assert first["drift"] == {"alarms": [], "advice": "nothing", "reason": None}
        assert 0.5 < first["estimated_roc_auc"] == foretold["estimated_roc_auc"] < 1
        assert foretold["estimated_roc_auc_low"] < foretold["estimated_roc_auc"]
        assert foretold["roc_auc"] is None
        [alarm] = answer["drift"]["alarms"]
        assert alarm == {
            "cause": "missing values",
            "name": "medium",
            "message": "medium is missing for 100% of users (0% before)",
        }
        assert answer["drift"]["advice"] == "repair"
        warned = [line for line in lines if line["severity"] == "WARNING"]
        assert [line["message"] for line in warned] == [f"drift: {alarm['message']}"]
        assert lines[-1]["drift_alarms"] == 1
        row = table["feature", "medium"]
        assert (row["is_alarm"], row["advice"], row["weeks"]) == (True, "repair", 1)
        calm = [row for row in table.values() if row["name"] != "medium"]
        assert not any(row["is_alarm"] for row in calm)
        assert table["feature", "sessions"]["distance"] == pytest.approx(0, abs=1e-6)

    @pytest.mark.long
    def test_know_the_season_by_a_year_ago_on_another_weekday(self, champion_place):
        """Who published on another weekday then has one publication of that week all
        the same; what it had is no alarm."""
        users = champion_place.run("predictions", LATER)["users"]
        a_year_ago = LATER - 52 * WEEK + 3 * DAY
        then = [
            {**row, "as_of": a_year_ago} for row in watched(champion_place).values()
        ]
        append_rows(champion_place.warehouse, tables.DRIFT, then)
        earlier(
            champion_place,
            medium={"counts": [{"value": "email", "users": users}], "missing": 0},
        )
        answer = champion_place.run("predictions", LATER)

        assert answer["drift"]["alarms"] == []
        row = watched(champion_place)["feature", "medium"]
        assert row["message"].endswith("as a year ago")

    @pytest.mark.long
    def test_raise_no_alarm_of_what_the_version_has_learned(self, champion_place):
        """Defect: a training that had learned a lasting change did not end its alarm,
        which went on to ask for one for weeks."""
        users = champion_place.run("predictions", LATER)["users"]
        email = {"counts": [{"value": "email", "users": users}], "missing": 0}
        earlier(champion_place, weeks=8, medium=email)
        champion_place.warehouse.execute(
            "DELETE FROM ma_drift WHERE as_of BETWEEN @since AND @until",
            {"since": LATER - 3 * WEEK, "until": LATER - DAY},
        )
        lasting = [
            {**row, "as_of": LATER - ago * WEEK, "is_alarm": True, "weeks": 4 - ago}
            if row["name"] == "medium"
            else {**row, "as_of": LATER - ago * WEEK}
            for row in watched(champion_place).values()
            for ago in (1, 2, 3)
        ]
        append_rows(champion_place.warehouse, tables.DRIFT, lasting)

        def run_of_version(*, until):
            """Run as if the version had learned from rows up to a date."""
            champion_place.warehouse.execute(
                "UPDATE ma_model_training_metadata SET as_of = @as_of, "
                "trained_until = @until WHERE TRUE",
                {"as_of": LATER - WEEK, "until": until},
            )
            return champion_place.run("predictions", LATER)

        before = run_of_version(until=LATER - 4 * WEEK)
        after = run_of_version(until=LATER - 3 * WEEK)

        assert [alarm["name"] for alarm in before["drift"]["alarms"]] == ["medium"]
        assert before["drift"]["advice"] == "retrain"
        assert after["drift"] == {"alarms": [], "advice": "nothing", "reason": None}

    @pytest.mark.long
    def test_name_the_cause_where_scores_jump(self, champion_place):
        """Who has to decide whether to force needs to know what has changed."""
        champion_place.run("predictions", TRAINED)
        champion_place.run("predictions", LATER)
        earlier(champion_place, medium={"counts": [{"value": "email", "users": 160}]})
        strict = champion_place.with_settings(PROPENSITY_MAXIMUM_SCORE_SHIFT="0.0001")
        answer = strict.post("predictions", {"as_of": LATER})

        assert (answer.status_code, answer.json["error"]) == (409, "score_shift")
        assert "medium is " in answer.json["message"]

    @pytest.mark.long
    def test_go_out_where_the_table_is_missing(
        self, make_place, shop_dataset, with_champion, log_lines
    ):
        """A deployment whose set-up is older publishes, and the log says it."""
        place = with_champion(make_place(shop_dataset))
        place.warehouse.execute("DROP TABLE ma_drift")
        answer = place.run("predictions", LATER)

        assert answer["users"] == 160
        messages = [line["message"] for line in log_lines()]
        assert any(text.startswith("drift not compared: ") for text in messages)
        assert any(text.startswith("drift not written: ") for text in messages)


def expect_much(place: Place) -> None:
    """Have a ROC AUC of 0.99 expected of Monday's publication."""
    expected = {
        "use_case": "ga4_purchase",
        "as_of": MONDAY,
        "thing": "score",
        "name": "roc_auc",
        "model_version": 0,
        "value": 0.99,
        "error": 0.001,
        "estimated_roc_auc": 0.99,
        "estimated_roc_auc_low": 0.988,
        "estimated_roc_auc_high": 0.992,
        "counts": [],
    }
    append_rows(place.warehouse, tables.DRIFT, [expected])


class TestOutcomes:
    def test_that_ranks_foretold_call_for_a_training(self, monday, log_lines):
        """The measured ROC AUC stands beside the estimate; it is far below. Where
        features were broken when the week was scored they are repaired first."""
        expect_much(monday)
        first = monday.run("model_evaluation", MONDAY + WEEK)
        again = monday.run("model_evaluation", MONDAY + WEEK)
        rows = monday.rows("SELECT * FROM ma_drift WHERE thing = 'outcome'")

        [alarm] = first["drift"]["alarms"]
        assert alarm["cause"] == "relation"
        assert "0.990 was expected" in alarm["message"]
        assert (first["drift"]["advice"], again["drift"]) == ("retrain", first["drift"])
        assert sorted(row["name"] for row in rows) == ["calibration", "roc_auc"]
        measured = next(row for row in rows if row["name"] == "roc_auc")
        assert measured["roc_auc"] == first["weeks"][0]["roc_auc"]
        assert measured["value"] == pytest.approx(measured["roc_auc"] - 0.99)

        broken = {
            "use_case": "ga4_purchase",
            "as_of": MONDAY,
            "thing": "feature",
            "name": "revenue",
            "model_version": 0,
            "counts": [],
            "is_alarm": True,
            "message": "revenue is 0 for all",
            "weeks": 1,
        }
        append_rows(monday.warehouse, tables.DRIFT, [broken])
        beside = monday.run("model_evaluation", MONDAY + WEEK)
        rows = monday.rows(
            "SELECT * FROM ma_drift WHERE thing = 'outcome' AND is_alarm"
        )

        assert beside["drift"] == first["drift"] | {
            "advice": "repair",
            "reason": "revenue is 0 for all",
        }
        assert [row["advice"] for row in rows] == ["repair"]
        # The next week, which nobody was scored for, says nothing, and this is over.
        later = monday.run("model_evaluation", MONDAY + 2 * WEEK)
        assert later["drift"] == {"alarms": [], "advice": "nothing", "reason": None}

    def test_of_a_publication_that_was_cut_short_are_said(self, monday):
        """Its week is never the newest, if the export's last day was late: the one that
        ends with the run's date is."""
        expect_much(monday)
        answer = monday.run("model_evaluation", MONDAY + DAY + WEEK)
        later = monday.run("model_evaluation", MONDAY + DAY + 2 * WEEK)

        assert [row["week"] for row in answer["weeks"]] == [
            str(MONDAY),
            str(MONDAY + DAY),
        ]
        assert [alarm["cause"] for alarm in answer["drift"]["alarms"]] == ["relation"]
        assert answer["drift"]["advice"] == "retrain"
        assert later["drift"]["alarms"] == []

    @pytest.mark.long
    def test_of_a_week_without_its_own_publication_say_nothing(
        self, shop_of, scores, converters
    ):
        """Its users have changed since: neither model nor season is at fault."""
        place = shop_of([purchase(user, MONDAY + DAY) for user in converters])
        published(place, MONDAY - WEEK, scores)
        answer = place.run("model_evaluation", MONDAY + WEEK)

        assert answer["drift"]["alarms"] == []
        assert place.rows("SELECT * FROM ma_drift WHERE as_of = @w", w=MONDAY) == []
