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
from propensity.registry.versions import pickled, unpickled
from propensity.tables import every as tables
from tests.conftest import Workplace
from tests.functions.conftest import TRAINED, Place, Trained
from tests.functions.evaluated import MONDAY, published
from tests.functions.looked_up import ask, serving
from tests.functions.predicted import add
from tests.propensity.registry.versions import overwrite
from tests.shop import DAY, WEEK, event, paid, purchase

USE_CASE = usecases.load("ga4_purchase")
USERS = 40
COLUMN = "expected_value"
HISTORY = "SELECT * FROM ma_predictions_history ORDER BY user_id"
TABLE = "SELECT * FROM ma_predictions_table ORDER BY user_id"


def without_amounts(model: Trained) -> Trained:
    """The same model as of before there were amounts."""
    record, objects = model.record, dict(model.objects)
    cards = [json.loads(card) for card in record["card"].to_pylist()]
    for card in cards:
        del card["files"]["value"]
    place = record.column_names.index("card")
    record = record.set_column(place, "card", pa.array(map(json.dumps, cards)))
    for name in [name for name in objects if name.endswith("value.joblib")]:
        del objects[name]
    return Trained(model.answer, objects, record)


def recorded(place: Place) -> dict:
    """Return the card that the only version's row has."""
    [row] = place.rows("SELECT card FROM ma_model_training_metadata")
    return json.loads(row["card"])


class TestTraining:
    def test_keeps_the_figures_of_its_model_of_amounts(self, training):
        """Row, card and answer have the same."""
        place, answer = training
        card = recorded(place)
        file = card["files"]["card"]["object"]
        stored = json.loads(place.registry.artifacts.read(file).data)

        assert answer["value"] == card["value"] == stored["value"]

    def test_holds_the_promise_against_what_was_paid(self, training):
        """Of the rows held out; the snapshot has each buyer's amount."""
        place, _ = training
        card = recorded(place)
        file = card["files"]["dataset"]["object"]
        data = place.registry.artifacts.read(file).data
        rows = pa.parquet.read_table(pa.BufferReader(data)).to_pylist()
        held = [user for user in rows if str(user["as_of"]) in card["split"]["holdout"]]

        assert {user[AMOUNT] is not None for user in held if user["label"]} == {True}
        assert {user[AMOUNT] for user in held if not user["label"]} == {None}
        assert card["value"]["observed"] == sum(user[AMOUNT] or 0 for user in held)

    def test_reads_amounts_of_the_horizon_in_one_currency(self, new_export, make_place):
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
        place = make_place(new_export(rows).ga4_dataset)
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

    @pytest.mark.long
    def test_a_version_without_amounts_publishes_the_same_probabilities(
        self, published_once, place, first_model
    ):
        """Its column is null: a version of before there were amounts serves on."""
        without_amounts(first_model).put_into(place)

        answer = place.run("predictions", TRAINED)

        rows = place.rows(HISTORY)
        assert answer["expected_value"] is None
        assert {row[COLUMN] for row in rows} == {None}
        assert [row["probability"] for row in rows] == [
            row["probability"] for row in published_once[0].rows(HISTORY)
        ]

    def test_other_bytes_than_the_training_recorded_are_refused(self, champion_place):
        """Nothing is published: they would run code."""
        file = recorded(champion_place)["files"]["value"]["object"]
        overwrite(champion_place.registry, file, pickled("other"))

        answer = champion_place.post("predictions", {"as_of": TRAINED})

        assert answer.json["error"] == "artifact"
        assert not champion_place.rows(HISTORY)


class TestLookup:
    @pytest.fixture(scope="class", params=["index", "table"])
    @classmethod
    def url(cls, published_once, request):
        """02-GetProba of that place, by each of its sources."""
        source = {"PROPENSITY_BUCKET": ""} if request.param == "table" else {}
        with serving({**published_once[0].environment, **source}) as address:
            yield address

    def test_value_adds_the_expected_value_to_the_answer(self, url, published_once):
        """It is the table's value; the rest is the answer without."""
        [row] = published_once[0].rows(
            "SELECT * FROM ma_predictions_table WHERE user_id = 'user.001'"
        )
        plain = ask(url, user_id="user.001").json()

        answer = ask(url, user_id="user.001", value=1).json()

        assert answer == {**plain, COLUMN: float(row[COLUMN])}

    def test_without_amounts_it_is_null(self, published_once):
        """As of a probability from before there were amounts."""
        add(published_once[0], tables.PREDICTIONS, user_id="before.2")
        source = {"PROPENSITY_BUCKET": ""}
        with serving({**published_once[0].environment, **source}) as url:
            answer = ask(url, user_id="before.2", value=1)

        assert answer.status_code == 200
        assert answer.json()[COLUMN] is None

    def test_an_unknown_user_is_404(self, url):
        assert ask(url, user_id="nobody", value=1).status_code == 404

    def test_value_0_is_the_answer_without(self, url):
        assert ask(url, user_id="user.001", value=0).text == (
            ask(url, user_id="user.001").text
        )

    def test_what_it_cannot_be_is_400(self, url):
        answer = ask(url, user_id="user.001", value=2)

        assert (answer.status_code, answer.json()["field"]) == (400, "value")


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
        published(place, MONDAY, dict.fromkeys(values, 0.25), values=values)

        answer = place.run("model_evaluation", MONDAY + WEEK)

        [row] = place.rows("SELECT * FROM ma_model_evaluation")
        amount = np.array([5.0 + n if n % 4 == 0 else 0.0 for n in range(USERS)])
        assert row["value_observed"] == Decimal(int(amount.sum()))
        assert row["value_promised"] == Decimal(int(sum(values.values())))
        assert answer["weeks"][0]["value_observed"] == float(row["value_observed"])

    def test_of_a_publication_without_values_there_is_none(self, place):
        """The figures of its probabilities are there all the same."""
        published(place, MONDAY, {f"u{n}": 0.25 for n in range(USERS)})

        place.run("model_evaluation", MONDAY + WEEK)

        [row] = place.rows("SELECT * FROM ma_model_evaluation")
        assert row["outcome"] == "evaluated"
        assert {row[name] for name in row if name.startswith("value_")} == {None}
