"""
The row of a publication, specified on emulators: what it promised, and what it cost.
"""

from __future__ import annotations

import pytest

from propensity.edges.warehouse import Warehouse
from propensity.tables import PUBLICATIONS
from tests.functions.conftest import TRAINED, let_the_lease_end
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

    def test_is_replaced_by_a_repeated_run(self, champion_place, monkeypatch):
        """
        Twice equals once, and the lease does not stop it: what is published is the
        same. The date has one row; that of another date stays.

        The row has all that the run billed but by its own statement. The emulator bills
        nothing: each statement of the second run is taken to bill one byte.
        """
        execute = Warehouse.execute
        billed = []

        def counted(self, sql, parameters=None):
            billed.append(self.bytes_billed)
            return execute(self, sql, parameters)

        def bill(self, job):
            self.bytes_billed += 1

        place, answer = champion_place, champion_place.run("predictions", TRAINED)
        tables = state(place)
        place.warehouse.execute(
            "INSERT INTO ma_publications SELECT * REPLACE (DATE_SUB(as_of, INTERVAL 7 "
            "DAY) AS as_of) FROM ma_publications"
        )
        before = place.rows(ROWS)
        with monkeypatch.context() as patch:
            patch.setattr(Warehouse, "_count", bill)
            patch.setattr(Warehouse, "execute", counted)
            again = place.run("predictions", TRAINED)
        after = place.rows(ROWS)

        assert (again["repeated"], state(place)) == (False, tables)
        assert again["expected_value"] == answer["expected_value"]
        assert [row["as_of"] for row in before] == [TRAINED - WEEK, TRAINED]
        assert after[0] == before[0]
        assert after[1]["run_id"] != before[1]["run_id"]
        assert after[1]["bytes_billed"] == billed[-1] == again["bytes_billed"] - 1
        assert after[1]["bytes_billed"] > len(billed)
        for row in (before[1], after[1]):
            for name in ("run_id", "scored_at", "seconds", "bytes_billed"):
                del row[name]
        mean = pytest.approx(before[1]["mean_probability"])
        assert after[1] == {**before[1], "mean_probability": mean}


class TestLateness:
    def test_writes_no_row_about_what_another_run_has_replaced(
        self, champion_place, log_lines, monkeypatch
    ):
        """Defect: a run that stood still behind its transaction, while its lease ended
        and another run published, recorded its own figures in the place of those."""
        execute = Warehouse.execute
        other = []

        def late(self, sql, parameters=None):
            n_rows = execute(self, sql, parameters)
            if "COMMIT TRANSACTION" in sql and not other:
                other.append(None)
                let_the_lease_end(champion_place, "predict", TRAINED)
                other.append(champion_place.run("predictions", TRAINED))
            return n_rows

        monkeypatch.setattr(Warehouse, "execute", late)
        champion_place.post("predictions", {"as_of": TRAINED})
        history = champion_place.rows(
            "SELECT DISTINCT scored_at FROM ma_predictions_history"
        )
        [row] = champion_place.rows(ROWS)

        assert other[1]["repeated"] is False
        assert [published["scored_at"] for published in history] == [row["scored_at"]]
        assert any(
            line["message"].startswith("publication not recorded: the lease ")
            for line in log_lines()
        )


class TestFailure:
    def test_loses_no_publication(self, champion_place, log_lines):
        """A deployment whose set-up is older publishes as before; the log says it."""
        champion_place.run("predictions", TRAINED)
        before = state(champion_place)
        champion_place.warehouse.drop(PUBLICATIONS.name)
        answer = champion_place.run("predictions", TRAINED)
        champion_place.warehouse.create(PUBLICATIONS)

        assert answer["users"] == 160
        assert state(champion_place) == before
        messages = [line["message"] for line in log_lines()]
        assert any(text.startswith("publication not recorded: ") for text in messages)
