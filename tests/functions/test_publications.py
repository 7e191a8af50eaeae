"""
The row of a publication, specified on emulators: what it promised, and what it cost.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from propensity.edges.warehouse import Warehouse
from propensity.runs import publications
from tests.functions.conftest import LATER, TRAINED, Place
from tests.functions.predicted import state
from tests.functions.test_backfill import WEEKS, filled, with_two_versions
from tests.functions.test_value import without_amounts

ROWS = "SELECT * FROM ma_publications ORDER BY as_of"
SUMS = ("value_promised", "value_promised_low", "value_promised_high")


@pytest.fixture(scope="module")
def published(new_place, enthrone) -> tuple[Place, dict]:
    """A place with a publication, and its run's answer."""
    place = enthrone(new_place())
    return place, place.run("predictions", TRAINED)


class TestRow:
    def test_is_what_the_run_answers(self, published):
        """Users, version and mean; the sum, with the interval of what will be paid."""
        place, answer = published
        [row] = place.rows(ROWS)
        promised = answer["expected_value"]

        assert (row["use_case"], row["as_of"]) == ("ga4_purchase", TRAINED)
        assert row["model_version"] == answer["model_version"]
        assert row["users"] == answer["users"] == 160
        assert row["mean_probability"] == answer["mean_probability"]
        assert row["log_odds_shift"] == answer["log_odds_shift"]
        assert str(row["data_until"]) == answer["data_until"]
        assert [float(row[name]) for name in SUMS] == pytest.approx(
            [promised["sum"], promised["low"], promised["high"]], abs=1e-6
        )
        assert row["seconds"] > 0

    def test_says_of_which_run_it_is(self, published):
        """``scored_at`` is that of the run's rows in the history."""
        place, _ = published
        [row] = place.rows(ROWS)
        found = place.rows("SELECT DISTINCT scored_at FROM ma_predictions_history")

        assert [one["scored_at"] for one in found] == [row["scored_at"]]

    def test_has_all_that_the_run_billed_before_it(self, enthroned, monkeypatch):
        """That is all but its own statement: the emulator bills nothing, so that each
        statement is taken to bill one byte."""
        execute = Warehouse.execute
        billed = []

        def counted(self, sql, parameters=None):
            billed.append(self.bytes_billed)
            return execute(self, sql, parameters)

        def one(self, job):
            self.bytes_billed += 1

        monkeypatch.setattr(Warehouse, "_count", one)
        monkeypatch.setattr(Warehouse, "execute", counted)
        answer = enthroned.run("predictions", TRAINED)
        [row] = enthroned.rows(ROWS)

        assert row["bytes_billed"] == billed[-1] == answer["bytes_billed"] - 1
        assert row["bytes_billed"] > len(billed)

    def test_is_replaced_by_a_repeated_run(self, enthroned):
        """A date has one row; that of another date stays."""
        enthroned.run("predictions", TRAINED)
        enthroned.run("predictions", LATER)
        before = enthroned.rows(ROWS)
        enthroned.run("predictions", TRAINED)
        after = enthroned.rows(ROWS)

        assert [row["as_of"] for row in before] == [TRAINED, LATER]
        assert after[1] == before[1]
        assert after[0]["run_id"] != before[0]["run_id"]
        for row in (before[0], after[0]):
            for name in ("run_id", "scored_at", "seconds"):
                del row[name]
        assert after[0] == before[0]

    def test_promises_nothing_without_amounts(self, place, first_model):
        """Nulls are no zeros."""
        without_amounts(first_model).put_into(place)
        place.run("predictions", TRAINED)
        [row] = place.rows(ROWS)

        assert [row[name] for name in SUMS] == [None] * 3

    def test_takes_sums_of_any_size(self):
        """Beyond what NUMERIC holds it is the largest amount."""
        amounts = publications.promised({"sum": 1.5, "low": 0.1, "high": 1e40})

        assert amounts["value_promised"] == Decimal("1.5")
        assert amounts["value_promised_high"] > Decimal("1e12")


class TestFailure:
    def test_loses_no_publication(
        self, make_place, shop_dataset, enthrone, published, logged
    ):
        """A deployment whose set-up is older publishes as before; the log says it."""
        place = enthrone(make_place(shop_dataset))
        place.warehouse.execute("DROP TABLE ma_publications")
        answer = place.run("predictions", TRAINED)

        assert answer["users"] == 160
        assert state(place) == state(published[0])
        messages = [line["message"] for line in logged()]
        assert any(text.startswith("publication not recorded: ") for text in messages)


class TestBackfill:
    def test_records_each_of_its_weeks(self, enthroned, capfd, monkeypatch):
        """With what the week's own statements billed: the meter is that of all."""
        place = with_two_versions(enthroned)

        def one(self, job):
            self.bytes_billed += 1

        monkeypatch.setattr(Warehouse, "_count", one)
        filled(place, capfd)
        rows = place.rows(ROWS)

        assert [row["as_of"] for row in rows] == [*WEEKS]
        assert [row["model_version"] for row in rows] == [1, 0, 1]
        assert [row["users"] for row in rows] == [160] * 3
        first, *others = [row["bytes_billed"] for row in rows]
        assert all(abs(billed - first) <= 2 for billed in others)
