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
        """The alarm and its cause are in the answer, the log and the table, once."""
        first = champion_place.run("predictions", LATER)
        users = first["users"]
        earlier(
            champion_place,
            medium={"counts": [{"value": "email", "users": users}], "missing": 0},
        )
        log_lines()
        answer = champion_place.run("predictions", LATER)
        lines, table = log_lines(), watched(champion_place)

        assert first["drift"] == {"alarms": []}
        [alarm] = answer["drift"]["alarms"]
        assert alarm == {
            "cause": "missing values",
            "name": "medium",
            "message": "medium is missing for 100% of users (0% before)",
        }
        warned = [line for line in lines if line["severity"] == "WARNING"]
        assert [line["message"] for line in warned] == [f"drift: {alarm['message']}"]
        assert lines[-1]["drift_alarms"] == 1
        assert table["feature", "medium"]["is_alarm"]
        calm = [row for row in table.values() if row["name"] != "medium"]
        assert not any(row["is_alarm"] for row in calm)
        assert table["feature", "sessions"]["distance"] == pytest.approx(0, abs=1e-6)

    @pytest.mark.long
    def test_name_the_cause_where_scores_jump(self, champion_place):
        """Who has to decide whether to force needs to know what has changed."""
        champion_place.run("predictions", TRAINED)
        champion_place.run("predictions", LATER)
        earlier(champion_place, medium={"counts": [{"value": "email", "users": 160}]})
        strict = champion_place.with_constants(maximum_score_shift=0.0001)
        answer = strict.post("predictions", {"as_of": LATER})

        assert (answer.status_code, answer.json["error"]) == (409, "score_shift")
        assert "medium is " in answer.json["message"]

    @pytest.mark.long
    def test_go_out_where_the_table_is_missing(
        self, make_place, shop_dataset, with_champion, log_lines
    ):
        """A deployment whose set-up is older publishes, and the log says it."""
        place = with_champion(make_place(shop_dataset))
        place.warehouse.execute("DROP TABLE ma_drift_runs")
        answer = place.run("predictions", LATER)

        assert answer["users"] == 160
        messages = [line["message"] for line in log_lines()]
        assert any(text.startswith("drift not compared: ") for text in messages)
        assert any(text.startswith("drift not written: ") for text in messages)


class TestOutcomes:
    def test_beyond_the_season_are_an_alarm_of_their_week(self, monday):
        """Nobody was promised to buy so much less often than they did."""
        monday.warehouse.execute(
            "UPDATE ma_predictions_runs SET probability = probability / 100 WHERE TRUE"
        )
        first = monday.run("model_evaluation", MONDAY + WEEK)
        again = monday.run("model_evaluation", MONDAY + WEEK)
        [row] = monday.rows("SELECT * FROM ma_drift WHERE thing = 'outcome'")

        [alarm] = first["drift"]["alarms"]
        assert (alarm["cause"], alarm["name"]) == ("season", "calibration")
        assert again["drift"] == first["drift"]
        assert row["is_alarm"]
        assert row["value"] > 1
        # The next week, which nobody was scored for, says nothing, and this is over.
        later = monday.run("model_evaluation", MONDAY + 2 * WEEK)
        assert later["drift"] == {"alarms": []}

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
