"""
Expected value, specified on emulators: learned, published, and held against amounts.
"""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from propensity import usecases
from propensity.learning.value import AMOUNT
from propensity.registry.index import pointer_name
from propensity.registry.versions import unpickled
from propensity.tables import every as tables
from tests.conftest import Workplace
from tests.functions.conftest import TRAINED, Place
from tests.functions.evaluated import MONDAY
from tests.functions.instances import serving
from tests.functions.predicted import add
from tests.published import publish
from tests.shop import DAY, WEEK, event, paid, purchase

USE_CASE = usecases.load("ga4_purchase")
USERS = 40
COLUMN = "expected_value"
HISTORY = "SELECT * FROM ma_predictions_history ORDER BY user_id"
TABLE = "SELECT * FROM ma_predictions_table ORDER BY user_id"


def recorded(place: Place) -> dict:
    """Return the card that the only version's row has."""
    [row] = place.rows("SELECT card FROM ma_model_training_metadata")
    return json.loads(row["card"])


class TestTraining:
    def test_holds_the_promise_against_what_was_paid(self, training):
        """Of the rows held out; the snapshot has each buyer's amount."""
        place, answer = training
        card = recorded(place)
        data = place.registry.artifacts.read(card["files"]["dataset"]["object"]).data
        rows = pa.parquet.read_table(pa.BufferReader(data)).to_pylist()
        held = [user for user in rows if str(user["as_of"]) in card["split"]["holdout"]]

        assert answer["value"] == card["value"]
        assert {user[AMOUNT] is not None for user in held if user["label"]} == {True}
        assert {user[AMOUNT] for user in held if not user["label"]} == {None}
        assert card["value"]["observed"] == sum(user[AMOUNT] or 0 for user in held)

    def test_reads_amounts_of_the_horizon_in_one_currency(self, new_export, places):
        """A purchase before the as-of date, or after the horizon, does not matter. Of
        several currencies it is US dollars; what a purchase lacks counts as nothing."""
        rows = [
            purchase("u", MONDAY - DAY, 1_000.0),
            purchase("u", MONDAY, 3.0),
            purchase("u", MONDAY + 6 * DAY, 4.0),
            purchase("u", MONDAY + WEEK, 1_000.0),
            paid("v", MONDAY, 10.0, "USD"),
            paid("v", MONDAY + DAY, 10.0, "EUR"),
            purchase("w", MONDAY, None),
        ]
        place = places.new(new_export(rows).ga4_dataset)
        window = USE_CASE.window(place.settings, [MONDAY])
        rows = place.rows(USE_CASE.statement("converter_amounts"), **window)

        assert {row["user_id"]: row["amount"] for row in rows} == {
            "u": Decimal(7),
            "v": Decimal("22.5"),
            "w": None,
        }


class TestPublishing:
    def test_every_user_has_probability_times_amount(self, published_once):
        """Of the published probability and the version's own model, to the decimal.
        The current table has the same."""
        place, _ = published_once
        file = recorded(place)["files"]["value"]["object"]
        model = unpickled(place.registry.artifacts.read(file).data)
        features = place.warehouse.table(
            USE_CASE.statement("features"), USE_CASE.window(place.settings, [TRAINED])
        )
        amount = dict(
            zip(
                features["user_id"].to_pylist(), model.amounts_of(features), strict=True
            )
        )
        rows = place.rows(HISTORY)

        assert len(rows) == 160
        current = [row for row in place.rows(TABLE) if row["as_of"] == TRAINED]
        for row, newest in zip(rows, current, strict=True):
            assert row[COLUMN] == newest[COLUMN] > 0
            expected = row["probability"] * amount[row["user_id"]]
            assert float(row["expected_value"]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("source", ["index", "table"])
def test_a_lookup_answers_the_expected_value(published_once, source):
    """By each of its sources: with ``value`` it is the table's; the rest is the answer
    without. It is null for a probability from before there were amounts."""
    place, _ = published_once
    add(place, tables.PREDICTIONS, user_id=f"before.{source}")
    [row] = place.rows("SELECT * FROM ma_predictions_table WHERE user_id = 'user.001'")
    if source == "table":
        place.registry.artifacts.delete(pointer_name("ga4_purchase"))
    with serving("get_proba", place.environment) as lookups:
        plain, without = (
            lookups.get(user_id="user.001"),
            lookups.get(user_id="user.001", value=0),
        )
        valued = lookups.get(user_id="user.001", value=1).json()
        older = lookups.get(user_id=f"before.{source}", value=1)
        wrong = lookups.get(user_id="user.001", value=2)

    assert valued == {**plain.json(), COLUMN: float(row[COLUMN])}
    assert without.text == plain.text
    assert (wrong.status_code, wrong.json()["field"]) == (400, "value")
    if source == "table":
        assert older.json()[COLUMN] is None


@pytest.fixture(scope="module")
def week_of_amounts(new_export) -> Workplace:
    """Every fourth user buys in the week; others buy what must not count."""
    rows = [
        purchase(f"u{n}", MONDAY + DAY, 5.0 + n, transaction=f"T{n}")
        for n in range(0, USERS, 4)
    ]
    rows += [
        # The thank-you page once more, a refund, and what is not of the week.
        purchase("u4", MONDAY + 2 * DAY, 9.0, transaction="T4"),
        event("u8", MONDAY + 3 * DAY, "refund"),
        purchase("u1", MONDAY - DAY, 1_000.0),
        purchase("u2", MONDAY + WEEK, 1_000.0),
        purchase("stranger", MONDAY + DAY, 1_000.0),
        *(event("daily", MONDAY + n * DAY) for n in range(-1, 15)),
    ]
    return new_export(rows)


class TestEvaluation:
    @pytest.fixture
    def place(self, week_of_amounts, borrow) -> Place:
        return borrow(week_of_amounts.ga4_dataset)

    def test_is_of_what_each_user_paid_in_the_week(self, place):
        """Sums, by hand; nobody else's amounts count."""
        values = {f"u{n}": 1.0 + n % 7 for n in range(USERS)}
        publish(place.warehouse, MONDAY, dict.fromkeys(values, 0.25), values=values)

        answer = place.run("model_evaluation", MONDAY + WEEK)

        [row] = place.rows("SELECT * FROM ma_model_evaluation")
        amount = np.array([5.0 + n if n % 4 == 0 else 0.0 for n in range(USERS)])
        assert row["value_observed"] == Decimal(int(amount.sum()))
        assert row["value_promised"] == Decimal(int(sum(values.values())))
        assert answer["weeks"][0]["value_observed"] == float(row["value_observed"])
