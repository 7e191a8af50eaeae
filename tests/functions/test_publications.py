"""
The row of a publication, specified on emulators: what it promised, and what it cost.
"""

from __future__ import annotations

import pytest

from tests.functions.conftest import TRAINED
from tests.functions.predicted import state
from tests.shop import WEEK

pytestmark = pytest.mark.runs

ROWS = "SELECT * FROM ma_publications ORDER BY as_of"


class TestRow:
    def test_is_what_the_run_answers(self, published_once):
        """Users, version and mean; the exact sum of the users' values, and of the rows
        of this very run."""
        place, answer = published_once
        [row] = place.rows(ROWS)
        [users] = place.rows(
            "SELECT SUM(expected_value) AS v FROM ma_predictions_table"
        )
        history = place.rows("SELECT DISTINCT scored_at FROM ma_predictions_history")
        promised = answer["expected_value"]

        assert (row["use_case"], row["as_of"]) == ("ga4_purchase", TRAINED)
        assert row["model_version"] == answer["model_version"]
        assert row["users"] == answer["users"] == 160
        assert row["mean_probability"] == answer["mean_probability"]
        assert row["log_odds_shift"] == answer["log_odds_shift"]
        assert str(row["data_until"]) == answer["data_until"]
        assert float(row["value_promised"]) == promised["sum"] > 0
        assert row["value_promised"] == users["v"]
        assert history == [{"scored_at": row["scored_at"]}]
        assert row["seconds"] > 0

    def test_is_replaced_by_a_repeated_run(self, champion_place):
        """
        Twice equals once, and the lease does not stop it: what is published is the
        same. The date has one row; that of another date stays.
        """
        place, answer = champion_place, champion_place.run("predictions", TRAINED)
        tables = state(place)
        place.warehouse.execute(
            "INSERT INTO ma_publications_runs SELECT * REPLACE "
            "(DATE_SUB(as_of, INTERVAL 7 DAY) AS as_of) FROM ma_publications"
        )
        before = place.rows(ROWS)
        again = place.run("predictions", TRAINED)
        after = place.rows(ROWS)

        assert (again["repeated"], state(place)) == (False, tables)
        assert again["expected_value"] == answer["expected_value"]
        assert [row["as_of"] for row in before] == [TRAINED - WEEK, TRAINED]
        assert after[0] == before[0]
        assert after[1]["run_id"] != before[1]["run_id"]
        for row in (before[1], after[1]):
            for name in (
                "run_id",
                "scored_at",
                "published_at",
                "seconds",
                "bytes_billed",
            ):
                del row[name]
        mean = pytest.approx(before[1]["mean_probability"])
        assert after[1] == {**before[1], "mean_probability": mean}
