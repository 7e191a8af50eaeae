"""
01-Predictions, specified on emulators: what it publishes, and what it never breaks.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from commands.cli import main
from propensity import usecases
from propensity.models.encoding import to_frame
from propensity.registry.versions import pickled
from propensity.runs import predict
from propensity.tables import every as tables
from tests import shop
from tests.functions.conftest import FIRST, LATER, TRAINED, WEEKS, Place, entered
from tests.functions.predicted import add, state
from tests.propensity.registry.versions import Malicious, overwrite
from tests.published import publish
from tests.shop import WEEK

USE_CASE = usecases.load("ga4_purchase")
SHOES = {
    "shoe_size" if name == "recency_days" else name: kind
    for name, kind in USE_CASE.features.items()
}


@pytest.fixture(scope="module")
def untrained(new_place) -> tuple[Place, Any]:
    """A place before its first training, and what predictions answered there."""
    place = new_place()
    return place, place.post("predictions", {"as_of": LATER})


@pytest.fixture(scope="module")
def publication(untrained, with_champion) -> tuple[Place, dict[str, Any]]:
    """The place, trained and with a published week, and the answer of that."""
    place = with_champion(untrained[0])
    add(place, tables.PREDICTIONS, user_id="gone.1")
    add(place, tables.PREDICTIONS, user_id="user.001", as_of=TRAINED - WEEK)
    add(place, tables.PREDICTIONS, user_id="user.002", as_of=TRAINED)
    other = {"user_id": "user.001", "use_case": "first_day_churn", "as_of": TRAINED}
    add(place, tables.PREDICTIONS, **other)
    publish(place.warehouse, TRAINED, {"user.001": 0.25}, use_case="first_day_churn")
    publish(place.warehouse, TRAINED, {"of an earlier try": 0.25})
    return place, place.run("predictions", TRAINED)


@pytest.fixture(scope="module")
def published(publication) -> Place:
    """The place of the publication."""
    return publication[0]


class TestPublishing:
    def test_scores_every_user_of_the_lookback_as_the_model_would(self, publication):
        """Probabilities are the pipeline's; the answer says how many."""
        place, answer = publication
        table = place.warehouse.table(
            USE_CASE.statement("features"), USE_CASE.window(place.settings, [TRAINED])
        ).combine_chunks()
        [metadata] = place.rows("SELECT * FROM ma_model_training_metadata")
        preprocessor, model = place.registry.load(metadata)
        frame = to_frame(table.to_batches()[0], dict(USE_CASE.features))
        scores = model.predict_proba(preprocessor.transform(frame))[:, 1]
        expected = dict(zip(table["user_id"].to_pylist(), scores, strict=True))
        rows = place.rows(
            "SELECT * FROM ma_predictions_history WHERE use_case = 'ga4_purchase' "
            "AND as_of = @day",
            day=TRAINED,
        )
        probabilities = {row["user_id"]: row["probability"] for row in rows}

        assert probabilities == pytest.approx(expected, abs=1e-9)
        assert answer["users"] == len(expected) == 160
        assert answer["model_version"] == 0
        assert answer["mean_probability"] == pytest.approx(scores.mean())
        assert answer["evaluation_missing"] is True

    def test_overwrites_adds_and_keeps(self, published):
        """
        Re-scored users are overwritten, also those of an earlier run for the same date;
        new ones are added, and all others are as they were. The history of the date is
        replaced as a whole; percentiles go from 1 to 100 in the order of it.
        """
        rows = published.rows("SELECT * FROM ma_predictions_table")
        by_user = {(row["use_case"], row["user_id"]): row for row in rows}
        history = published.rows("SELECT * FROM ma_predictions_history")
        own = [row for row in history if row["use_case"] == "ga4_purchase"]
        own.sort(key=lambda row: row["probability"])
        percentiles = [row["percentile"] for row in own]

        assert len(by_user) == len(rows) == 160 + 2
        assert by_user["ga4_purchase", "user.001"]["as_of"] == TRAINED
        assert by_user["ga4_purchase", "user.002"]["probability"] != 0.25
        assert by_user["ga4_purchase", "gone.1"]["as_of"] == TRAINED - WEEK
        assert by_user["ga4_purchase", "gone.1"]["probability"] == 0.25
        assert by_user["first_day_churn", "user.001"]["probability"] == 0.25
        assert "of an earlier try" not in {row["user_id"] for row in own}
        assert len(history) == len(own) + 1
        assert (percentiles[0], percentiles[-1]) == (1, 100)
        assert percentiles == sorted(percentiles)


class TestPublicationRow:
    ROWS = "SELECT * FROM ma_publications ORDER BY as_of"

    def test_is_what_the_run_answers(self, published_once):
        """Users, version and mean; the exact sum of the users' values, and of the rows
        of this very run."""
        place, answer = published_once
        [row] = place.rows(self.ROWS)
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
        before = place.rows(self.ROWS)
        again = place.run("predictions", TRAINED)
        after = place.rows(self.ROWS)

        assert (again["repeated"], state(place)) == (False, tables)
        assert again["expected_value"] == answer["expected_value"]
        assert [row["as_of"] for row in before] == [TRAINED - WEEK, TRAINED]
        assert after[0] == before[0]
        assert after[1]["run_id"] != before[1]["run_id"]
        for name in ("users", "quantiles", "value_promised", "data_until"):
            assert after[1][name] == before[1][name]


class TestReruns:
    def test_take_the_champion_where_there_was_none(self, champion_place, log_lines):
        """Before the first training there is no other model: the log says so."""
        log_lines()
        as_of = TRAINED - WEEK
        answer = champion_place.run("predictions", as_of)
        warning, *_, line = log_lines()

        assert answer["model_version"] == line["model_version"] == 0
        assert warning["message"].startswith("no version was promoted by then")
        assert (line["function"], line["outcome"]) == ("predictions", "ok")
        assert (line["use_case"], line["as_of"]) == ("ga4_purchase", str(as_of))
        assert (line["users"], line["evaluation_missing"]) == (160, True)
        assert {"seconds", "bytes_billed"} <= set(line)
        assert "user." not in str(line)

    def test_take_nobody_s_newer_row(self, champion_place):
        """One for the past renews its history, and not the present."""
        champion_place.run("predictions", TRAINED)
        champion_place.run("model_evaluation", LATER)
        newest = champion_place.run("predictions", LATER)
        before = state(champion_place)
        champion_place.run("predictions", TRAINED)

        assert newest["evaluation_missing"] is False
        assert newest["score_shift"] < 0.75
        assert state(champion_place) == before
        current = champion_place.rows(
            "SELECT DISTINCT as_of FROM ma_predictions_table "
            "WHERE use_case = 'ga4_purchase'"
        )
        assert current == [{"as_of": LATER}]


@pytest.fixture(scope="module")
def before(published) -> Any:
    """The tables as the publication left them."""
    return state(published)


@contextlib.contextmanager
def changed_card(place: Place, **changed: Any) -> Iterator[None]:
    """Have the version's record say something else for a while."""
    [row] = place.rows("SELECT card FROM ma_model_training_metadata")
    update = "UPDATE ma_model_training_metadata_runs SET card = @card WHERE TRUE"
    card = {**json.loads(row["card"]), **changed}
    place.warehouse.execute(update, {"card": json.dumps(card)})
    yield
    place.warehouse.execute(update, {"card": row["card"]})


class TestRefusals:
    """Each leaves the tables as they were, and the lease free for the next try."""

    @pytest.fixture(autouse=True)
    def unchanged(self, published, before):
        yield
        assert state(published) == before

    def refused(self, place: Place, *, status: int, error: str, **body) -> dict:
        answer = place.post("predictions", {"as_of": LATER, **body})
        assert (answer.status_code, answer.json["error"]) == (status, error), (
            answer.text
        )
        assert answer.json["message"]
        assert answer.json["retryable"] is False
        return answer.json

    @pytest.mark.parametrize("part", ["model", "preprocessor", "value"])
    def test_tampered_files(self, published, part, tmp_path):
        """A file of other bytes than were recorded is not unpickled: no code runs."""
        name = f"models/ga4_purchase/0/{part}.joblib"
        original = published.registry.artifacts.read(name).data
        overwrite(published.registry, name, pickled(Malicious(tmp_path / "was_here")))

        refusal = self.refused(published, status=500, error="artifact")
        overwrite(published.registry, name, original)

        assert name in refusal["message"]
        assert not (tmp_path / "was_here").exists()

    def test_a_champion_that_nobody_recorded(self, published):
        """A pointer to a version without metadata can not be verified."""
        name = "models/ga4_purchase/champion.json"
        original = published.registry.artifacts.read(name).data
        forged = {**json.loads(original), "version": 9}
        overwrite(published.registry, name, json.dumps(forged).encode())

        refusal = self.refused(published, status=500, error="artifact")
        overwrite(published.registry, name, original)

        assert "version 9" in refusal["message"]

    @pytest.mark.parametrize(
        ("changed", "named"),
        [
            ({"features": SHOES}, ["recency_days", "shoe_size"]),
            # Sums of 60 days are no features of one that has learned sums of 30, nor
            # is its probability that of another horizon.
            ({"lookback_days": 30}, ["lookback_days 30, which is 60 today"]),
            ({"horizon_days": 30}, ["horizon_days 30, which is 7 today"]),
        ],
        ids=["features", "lookback", "horizon"],
    )
    def test_what_the_model_was_not_trained_with(self, published, changed, named):
        """The difference is named; force does not help."""
        with changed_card(published, **changed):
            refusal = self.refused(published, status=409, error="schema", force=True)

        assert all(part in refusal["message"] for part in named), refusal["message"]

    def test_a_value_that_the_model_refuses(self, published, monkeypatch):
        """A division by zero in a statement: the feature is named, the user is not."""
        features = predict.features

        def divided(run):
            for batch in features(run):
                place = batch.schema.get_field_index("revenue")
                revenue = batch["revenue"].cast(pa.float64()).to_pylist()
                values = pa.array([math.inf, *revenue[1:]])
                yield batch.set_column(place, "revenue", values)

        monkeypatch.setattr(predict, "features", divided)
        refusal = self.refused(published, status=409, error="schema", force=True)

        assert refusal["field"] == "revenue"
        assert "infinite" in refusal["message"]
        assert "user." not in refusal["message"]

    def test_several_rows_of_a_user(self, published, monkeypatch):
        """As of a join with something that a user has several of; nobody is named."""
        features = predict.features

        def joined(run):
            for batch in features(run):
                yield batch
                yield batch.slice(0, 1)

        monkeypatch.setattr(predict, "features", joined)
        refusal = self.refused(published, status=409, error="schema", force=True)

        assert "1 row of users who have one already" in refusal["message"]
        assert "user." not in refusal["message"]

    def test_scores_that_jumped(self, published):
        """Beyond the bound nothing is published."""
        strict = published.with_constants(maximum_score_shift=0.0001)

        refusal = self.refused(strict, status=409, error="score_shift")

        assert refusal["detail"]["score_shift"] > 0.0001
        assert "force" in refusal["message"]

    def test_a_date_without_users(self, published):
        """Nobody in the lookback is an error, not an empty table."""
        answer = published.post("predictions", {"as_of": "2024-01-01"})

        assert (answer.status_code, answer.json["error"]) == (422, "not_enough_data")

    def test_to_score_without_a_champion(self, untrained):
        """409 says what to run first."""
        answer = untrained[1]

        assert (answer.status_code, answer.json["error"]) == (409, "no_champion")
        assert "00-ModelTraining" in answer.json["message"]

    def test_to_score_where_the_pointer_was_deleted(self, published, capsys):
        """Defect: 409 said that the champion had not been promoted, and to wait for a
        later training."""
        pointer = "models/ga4_purchase/champion.json"
        original = published.registry.artifacts.read(pointer).data
        published.registry.artifacts.delete(pointer)
        capsys.readouterr()
        answer = published.post("predictions", {"as_of": LATER})
        published.registry.artifacts.create(pointer, original)
        # Which mails somebody: there was a training.
        assert '"is_trained": true' in capsys.readouterr().err
        message = answer.json["message"]

        assert (answer.status_code, answer.json["error"]) == (409, "no_champion")
        assert f"version 0 was promoted, and since then {pointer} was del" in message
        assert "promote" in message

    @pytest.mark.long
    def test_to_score_while_no_model_was_good_enough(self, shop_of):
        """Defect: a first model that is a coin was promoted, and published. Buyers who
        are drawn by lot: nothing is promoted, 409 and the report say why, and a person
        can promote it all the same."""
        place = shop_of(shop.weekly(FIRST, WEEKS, regulars=1))
        training = place.run("model_training", TRAINED)
        refused = place.post("predictions", {"as_of": TRAINED})
        page = place.registry.artifacts.read(training["objects"]["report.html"]).data

        assert training["promoted"] is False
        assert "not shown to be better than chance" in training["verdict"]
        assert b"ot shown to be better than chance" in page
        assert place.registry.champion() is None
        assert (refused.status_code, refused.json["error"]) == (409, "no_champion")
        assert training["verdict"] in refused.json["message"]
        assert "propensity promote VERSION" in refused.json["message"]

        with entered(place.environment):
            codes = [main(["promote", "0"]), main(["promote", "0", "--force"])]

        assert codes == [1, 0]
        assert place.run("predictions", TRAINED)["model_version"] == 0


def test_force_publishes_scores_that_jumped(champion_place):
    """Who has looked at the features may say so."""
    publish(champion_place.warehouse, TRAINED - WEEK, {"u": 1e-4})
    forced = champion_place.run("predictions", TRAINED, force=True)

    assert forced["score_shift"] > 0.75
    assert forced["users"] == 160
