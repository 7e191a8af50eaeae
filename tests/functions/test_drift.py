"""Drift across functions, on emulators: 01 watches publications, 03 their outcomes."""

from __future__ import annotations

import json

import pytest

from tests.functions.conftest import LATER, TRAINED, Place
from tests.functions.evaluated import MONDAY
from tests.shop import WEEK


def all_came_by_mail(place: Place) -> None:
    """Let the training have seen one medium alone."""
    [row] = place.rows("SELECT card FROM ma_model_training_metadata")
    card = json.loads(row["card"])
    [medium] = [one for one in card["drift"]["signals"] if one["name"] == "medium"]
    medium |= {"values": ["email"], "shares": [1.0, 0.0, 0.0]}
    place.warehouse.execute(
        "UPDATE ma_model_training_metadata_runs SET card = @card WHERE TRUE",
        {"card": json.dumps(card)},
    )


class TestPublications:
    def test_raise_an_alarm_where_a_source_has_gone(self, champion_place, log_lines):
        """The alarm and its cause are in the answer, the log and the table."""
        first = champion_place.run("predictions", LATER)
        all_came_by_mail(champion_place)
        log_lines()
        answer = champion_place.run("predictions", LATER)
        lines = log_lines()
        rows = champion_place.rows("SELECT * FROM ma_drift WHERE as_of = @d", d=LATER)
        by_name = {row["name"]: row for row in rows}

        assert "medium" not in {one["name"] for one in first["drift"]["alarms"]}
        alarm, *others = answer["drift"]["alarms"]
        assert alarm == {
            "cause": "missing values",
            "name": "medium",
            "message": "medium is missing for 100.0% of users (0.0% in the training)",
        }
        warned = [line for line in lines if line["severity"] == "WARNING"]
        assert warned[0]["message"] == f"drift: {alarm['message']}"
        assert len(warned) == 1 + len(others)
        assert len(by_name) == len(rows)
        raised = {name for name, row in by_name.items() if row["is_alarm"]}
        assert raised == {alarm["name"], *(one["name"] for one in others)}
        assert by_name["users"]["users"] == first["users"]

    @pytest.mark.long
    def test_name_the_cause_where_scores_jump(self, champion_place):
        """Who has to decide whether to force needs to know what has changed."""
        champion_place.run("predictions", TRAINED)
        all_came_by_mail(champion_place)
        strict = champion_place.with_constants(maximum_score_shift=0.0001)
        answer = strict.post("predictions", {"as_of": LATER})

        assert (answer.status_code, answer.json["error"]) == (409, "score_shift")
        assert "medium is " in answer.json["message"]

    def test_go_out_where_the_table_is_missing(
        self, places, shop_dataset, with_champion, log_lines
    ):
        """A deployment whose set-up is older publishes, and the log says it."""
        place = with_champion(places.new(shop_dataset))
        place.warehouse.execute("DROP TABLE ma_drift_runs")
        answer = place.run("predictions", LATER)

        assert answer["users"] == answer["index_users"] == 160
        messages = [line["message"] for line in log_lines()]
        assert any("drift is not in its table" in text for text in messages)


class TestOutcomes:
    def test_beyond_the_season_are_an_alarm_of_their_week(self, monday):
        """Nobody was promised to buy so much less often than they did."""
        monday.warehouse.execute(
            "UPDATE ma_predictions_runs SET probability = probability / 100 WHERE TRUE"
        )
        first = monday.run("model_evaluation", MONDAY + WEEK)
        again = monday.run("model_evaluation", MONDAY + WEEK)

        [alarm] = first["drift"]["alarms"]
        assert (alarm["cause"], alarm["name"]) == ("season", "calibration")
        assert again["drift"] == first["drift"]
        # The next week, which nobody was scored for, says nothing, and this is over.
        later = monday.run("model_evaluation", MONDAY + 2 * WEEK)
        assert later["drift"] == {"alarms": []}
