"""
01-Predictions, specified: what it publishes, and what it never breaks.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from offline import forget
from propensity import usecases
from propensity.gcp.warehouse import Warehouse
from propensity.models.encoding import to_frame
from propensity.registry.index import pointer_name
from propensity.registry.records import find_recorded
from propensity.registry.versions import pickled
from propensity.runs import predict
from propensity.tables.models import PRESENCE, SCORES
from tests.deploy.monitoring import raised
from tests.functions.instances import serving
from tests.propensity.registry.versions import Malicious, overwrite
from tests.support.deployment import KEY, Deployment
from tests.support.rows import publish, put
from tests.support.shop import DAY, WEEK
from tests.support.shops import LATER, TRAINED

USE_CASE = usecases.load("ga4_purchase")
POINTER = "models/ga4_purchase/champion.json"


@pytest.fixture(scope="module")
def publication(borrow_deployment) -> tuple[Deployment, dict[str, Any]]:
    """A deployment with a published week, and the run's answer."""
    deployment = borrow_deployment(champion=True)
    put(deployment.warehouse, "gone.1", as_of=TRAINED - WEEK)
    put(deployment.warehouse, "user.001", as_of=TRAINED - WEEK)
    put(deployment.warehouse, "user.002", as_of=TRAINED)
    put(deployment.warehouse, "user.001", as_of=TRAINED, use_case="first_day_churn")
    publish(
        deployment.warehouse, TRAINED, {"user.001": 0.25}, use_case="first_day_churn"
    )
    publish(deployment.warehouse, TRAINED, {"of an earlier try": 0.25})
    return deployment, deployment.run("predictions", TRAINED)


@pytest.fixture(scope="module")
def published(publication) -> Deployment:
    return publication[0]


@pytest.fixture(scope="module")
def before(published) -> Any:
    """The tables as the publication left them."""
    return published.published()


class TestPublishing:
    def test_a_publication_scores_every_user(self, publication):
        """Probabilities are the pipeline's, and expected values these by the amounts of
        the version's own model, to the decimal; the answer says how many."""
        deployment, answer = publication
        table = deployment.warehouse.table(
            USE_CASE.statement("features"),
            USE_CASE.window(deployment.settings, [TRAINED]),
        ).combine_chunks()
        [version] = deployment.versions()
        record = find_recorded(deployment.warehouse, USE_CASE.name, 0)
        preprocessor, model = deployment.registry.load(record)
        value = version["card"]["files"]["value"]
        amounts = deployment.registry.verified(value["object"], value["sha256"])
        frame = to_frame(table.to_batches()[0], dict(USE_CASE.features))
        scores = model.predict_proba(preprocessor.transform(frame))[:, 1]
        users = table["user_id"].to_pylist()
        expected = dict(zip(users, scores, strict=True))
        values = dict(zip(users, scores * amounts.amounts_of(table), strict=True))
        rows = deployment.rows(
            "SELECT * FROM ma_predictions_history WHERE use_case = 'ga4_purchase'"
        )

        assert {row["user_id"]: row["probability"] for row in rows} == pytest.approx(
            expected, abs=1e-9
        )
        assert {
            row["user_id"]: float(row["expected_value"]) for row in rows
        } == pytest.approx(values, abs=1e-6)
        assert answer["users"] == len(expected) == 160
        assert answer["model_version"] == 0
        assert answer["mean_probability"] == pytest.approx(scores.mean())
        assert answer["evaluation_missing"] is True

    def test_a_publication_keeps_other_users(self, published):
        """
        Re-scored users are overwritten, also those of an earlier run for the same date;
        new ones are added, and all others are as they were. The history of the date is
        replaced as a whole; percentiles go from 1 to 100 in the order of it.
        """
        rows = published.rows("SELECT * FROM ma_predictions_table")
        by_user = {(row["use_case"], row["user_id"]): row for row in rows}
        history = published.rows(
            "SELECT * FROM ma_predictions_history ORDER BY use_case, probability"
        )
        other, *own = history
        current = {
            row["user_id"]: row
            for row in rows
            if (row["use_case"], row["as_of"]) == ("ga4_purchase", TRAINED)
        }
        percentiles = [row["percentile"] for row in own]
        categories = [json.loads(row.pop("categories")) for row in own]
        effects = [row.pop("effects") for row in own]

        compared = {PRESENCE, *USE_CASE.compared}
        assert all(each.keys() == compared for each in categories)
        assert effects == [[]] * len(own)
        assert len(by_user) == len(rows) == 160 + 2
        assert current == {row["user_id"]: row for row in own}
        gone = by_user["ga4_purchase", "gone.1"]
        assert (gone["as_of"], gone["probability"]) == (TRAINED - WEEK, 0.25)
        assert by_user["first_day_churn", "user.001"]["probability"] == 0.25
        assert other["use_case"] == "first_day_churn"
        assert "of an earlier try" not in current
        assert (percentiles[0], percentiles[-1]) == (1, 100)
        assert percentiles == sorted(percentiles)
        for row in own:
            lower = sum(other["probability"] < row["probability"] for other in own)
            assert row["percentile"] == pytest.approx(100 * lower / len(own), abs=1.5)

    def test_a_publication_records_what_it_answers(self, publication):
        """Users, version and mean; the exact sum of the users' values, and of the rows
        of this very run."""
        deployment, answer = publication
        _, row = deployment.rows("SELECT * FROM ma_publications ORDER BY use_case")
        [users] = deployment.rows(
            "SELECT SUM(expected_value) AS v FROM ma_predictions_table"
        )
        history = deployment.rows(
            "SELECT DISTINCT scored_at FROM ma_predictions_history "
            "WHERE use_case = 'ga4_purchase'"
        )

        for name in ("model_version", "users", "mean_probability", "log_odds_shift"):
            assert row[name] == answer[name]
        assert row["as_of"] == TRAINED
        assert str(row["data_until"]) == answer["data_until"]
        assert float(row["value_promised"]) == answer["expected_value"]["sum"] > 0
        assert row["value_promised"] == users["v"]
        assert history == [{"scored_at": row["scored_at"]}]
        assert row["seconds"] > 0

    def test_a_publication_is_looked_up_with_the_expected_value(self, published):
        """In index and table: with ``value`` it is the table's; the rest is the answer
        without. It is null for a probability from before there were amounts."""
        [row] = published.rows(
            "SELECT * FROM ma_predictions_table "
            "WHERE user_id = 'user.003' AND use_case = 'ga4_purchase'"
        )
        for is_indexed in (True, False):
            if not is_indexed:
                published.registry.artifacts.delete(pointer_name("ga4_purchase"))
            with serving("get_proba", published.environment) as lookups:
                plain = lookups.get(user_id="user.003")
                without = lookups.get(user_id="user.003", value=0)
                valued = lookups.get(user_id="user.003", value=1).json()
                older = lookups.get(user_id="gone.1", value=1).json()

            names = ("expected_value", "decile_value")
            expected = {name: float(row[name]) for name in names}
            assert valued == {**plain.json(), **expected}
            assert without.text == plain.text
            assert older["expected_value"] is None

    def test_a_publication_says_of_each_user_what_its_tenth_is_worth(self, published):
        """The mean expected value of the tenth of all users of the date, by expected
        value, to the cent: the number that ad platforms are sent."""
        rows = published.rows(
            "SELECT expected_value, decile_value FROM ma_predictions_history "
            "WHERE use_case = 'ga4_purchase' ORDER BY expected_value"
        )
        tenths = [rows[at : at + 16] for at in range(0, 160, 16)]

        assert len(rows) == 160
        for tenth in tenths[:-1]:
            [value] = {row["decile_value"] for row in tenth[1:-1]}
            mean = sum(row["expected_value"] for row in tenth) / 16
            assert float(value) == pytest.approx(float(mean), rel=0.1)
        [highest] = {row["decile_value"] for row in tenths[-1][2:]}
        mean = sum(row["expected_value"] for row in tenths[-1]) / 16
        assert float(highest) == pytest.approx(float(mean), rel=0.1)

    def test_a_publication_that_is_repeated_changes_nothing(self, publication, before):
        """The lease does not stop a second run, and what is published is the same; the
        date has one row about it, and that of another use case stays."""
        deployment, answer = publication
        rows = "SELECT * FROM ma_publications ORDER BY use_case"
        other, first = deployment.rows(rows)
        again = deployment.run("predictions", TRAINED)
        same, second = deployment.rows(rows)

        assert (again["repeated"], deployment.published()) == (False, before)
        assert again["expected_value"] == answer["expected_value"]
        assert same == other
        assert second["run_id"] != first["run_id"]
        for name in ("users", "quantiles", "value_promised", "data_until"):
            assert second[name] == first[name]

    def test_a_publication_of_an_older_date_takes_nobody_s_newer_row(
        self, champion_deployment, log_lines
    ):
        """It renews its history, and not the present, with the version that was
        promoted by then. Where there was none the champion scores, and the log says
        so."""
        current = "SELECT * FROM ma_predictions_table ORDER BY user_id"
        deployment = champion_deployment
        older = TRAINED - WEEK
        deployment.run("predictions", TRAINED)
        newest = deployment.rows(current)
        log_lines()
        without = deployment.run("predictions", older)
        warning, *_, line = log_lines()
        # The same files, of a training two weeks before.
        deployment.warehouse.execute(
            "INSERT INTO ma_model_training_metadata_runs SELECT * REPLACE "
            "(1 AS model_version, DATE_SUB(as_of, INTERVAL 14 DAY) AS as_of) "
            "FROM ma_model_training_metadata"
        )
        then = deployment.run("predictions", older)

        assert deployment.rows(current) == newest
        assert str(older) in str(deployment.published())
        assert (without["model_version"], then["model_version"]) == (0, 1)
        assert warning["message"].startswith("no version was live by then")
        assert (line["function"], line["outcome"]) == ("predictions", "ok")
        assert (line["use_case"], line["as_of"]) == ("ga4_purchase", str(older))
        assert (line["users"], line["evaluation_missing"]) == (160, True)
        assert raised(line) == {"evaluation_missing_ga4_purchase"}
        assert {"seconds", "bytes_billed"} <= set(line)
        assert "user." not in str(line)


@contextlib.contextmanager
def altered(deployment: Deployment, name: str, data: bytes | None) -> Iterator[None]:
    """Have an object hold something else, or be gone, for a while."""
    original = deployment.read(name)
    if data is None:
        deployment.registry.artifacts.delete(name)
    else:
        overwrite(deployment.registry, name, data)
    yield
    overwrite(deployment.registry, name, original)


@contextlib.contextmanager
def recorded(deployment: Deployment, changes: str, **parameters: Any) -> Iterator[None]:
    """Have the version's record say something else for a while."""
    [row] = deployment.versions()
    update = "UPDATE ma_model_training_metadata_runs SET {} WHERE TRUE"
    deployment.warehouse.execute(update.format(changes), parameters)
    yield
    deployment.warehouse.execute(
        update.format("card = @card, promoted = TRUE, verdict = @verdict"),
        {"card": json.dumps(row["card"]), "verdict": row["verdict"]},
    )


class TestRefusals:
    """Each leaves the tables as they were, and the lease free for the next try."""

    @pytest.fixture(autouse=True)
    def unchanged(self, published, before):
        yield
        assert published.published() == before

    def refused(
        self, deployment: Deployment, *, status: int, error: str, **body
    ) -> dict:
        answer = deployment.post("predictions", {"as_of": LATER, **body})

        assert (answer.status_code, answer.json["error"]) == (status, error)
        assert answer.json["retryable"] is False
        return answer.json

    @pytest.mark.parametrize("part", ["model", "preprocessor", "value"])
    def test_a_prediction_run_loads_no_tampered_files(self, published, part, tmp_path):
        """A file of other bytes than were recorded is not unpickled: no code runs."""
        name = f"models/ga4_purchase/0/{part}.joblib"
        code = pickled(Malicious(tmp_path / "was_here"))
        with altered(published, name, code):
            refusal = self.refused(published, status=500, error="artifact")

        assert name in refusal["message"]
        assert not (tmp_path / "was_here").exists()

    @pytest.mark.parametrize(("days", "today"), [("lookback", 60), ("horizon", 7)])
    def test_a_prediction_refuses_other_features(self, published, days, today):
        """Sums of 60 days are no features of one that has learned sums of 30, nor is
        its probability that of another horizon. Force does not help."""
        [version] = published.versions()
        card = json.dumps({**version["card"], f"{days}_days": 30})
        with recorded(published, "card = @card", card=card):
            refusal = self.refused(published, status=409, error="schema", force=True)

        assert f"{days}_days 30, which is {today} today" in refusal["message"]

    def test_a_prediction_run_refuses_several_rows_of_a_user(
        self, published, monkeypatch
    ):
        """As of a join with something that a user has several of; nobody is named."""
        features = predict.features

        def joined(run, suppressed):
            for batch in features(run, suppressed):
                yield batch
                yield batch.slice(0, 1)

        monkeypatch.setattr(predict, "features", joined)
        refusal = self.refused(published, status=409, error="schema", force=True)

        assert "more than one row for some users (1 extra row)" in refusal["message"]
        assert "user." not in refusal["message"]

    def test_a_prediction_run_says_that_the_pointer_was_deleted(
        self, published, log_lines
    ):
        """Defect: 409 said that the champion had not been promoted, and to wait for a
        later training. The log line mails somebody: there was a training."""
        with altered(published, POINTER, None):
            refusal = self.refused(published, status=409, error="no_champion")

        assert f"or {POINTER} was deleted" in refusal["message"]
        assert "`propensity promote` a version" in refusal["message"]
        assert log_lines()[-1]["is_trained"] is True


def test_without_a_champion_the_training_is_named(shop_deployment, log_lines):
    """409 says what to run first."""
    answer = shop_deployment.post("predictions", {"as_of": LATER})

    assert (answer.status_code, answer.json["error"]) == (409, "no_champion")
    assert "00-ModelTraining" in answer.json["message"]
    assert log_lines()[-1]["is_trained"] is False


def all_came_by_mail(deployment: Deployment) -> None:
    """Let the training have seen one medium alone."""
    [version] = deployment.versions()
    card = version["card"]
    [medium] = [one for one in card["drift"]["signals"] if one["name"] == "medium"]
    medium |= {"values": ["email"], "shares": [1.0, 0.0, 0.0]}
    deployment.warehouse.execute(
        "UPDATE ma_model_training_metadata_runs SET card = @card WHERE TRUE",
        {"card": json.dumps(card)},
    )


def test_scores_that_jumped_are_published_by_force_alone(champion_deployment):
    """Beyond the bound nothing is published, until somebody has looked at them: the
    answer says by how much they moved, and what has changed. They are compared with the
    newest ones, however old. Defect: after a pause as long as the lookback anything was
    published."""
    publish(champion_deployment.warehouse, TRAINED - 61 * DAY, {"u": 1e-4})
    all_came_by_mail(champion_deployment)
    before = champion_deployment.published()
    refused = champion_deployment.post("predictions", {"as_of": TRAINED})
    after = champion_deployment.published()
    forced = champion_deployment.run("predictions", TRAINED, force=True)

    assert (refused.status_code, refused.json["error"]) == (409, "score_shift")
    # Nobody would ever read what was refused: ten million rows for a large shop.
    [left] = champion_deployment.rows(
        "SELECT COUNT(DISTINCT run_id) AS runs FROM ma_predictions_runs AS r "
        "WHERE run_id NOT IN (SELECT run_id FROM ma_publications_runs)"
    )
    assert left["runs"] == 0
    assert refused.json["detail"]["score_shift"] == forced["score_shift"] > 0.75
    assert "medium is " in refused.json["message"]
    assert "force" in refused.json["message"]
    assert after == before
    assert forced["users"] == 160


def test_drift_is_in_answer_log_table_alike(champion_deployment, log_lines):
    """With its causes."""
    deployment = champion_deployment
    all_came_by_mail(deployment)
    log_lines()
    answer = deployment.run("predictions", LATER)
    warned = [line for line in log_lines() if line["severity"] == "WARNING"]
    rows = deployment.rows("SELECT * FROM ma_drift WHERE as_of = @d", d=LATER)
    by_name = {row["name"]: row for row in rows}

    alarm, *others = answer["drift"]["alarms"]
    assert alarm == {
        "cause": "missing values",
        "name": "medium",
        "message": "medium is missing for 100.0% of users (0.0% in the training)",
    }
    assert warned[0]["message"] == f"drift: {alarm['message']}"
    assert len(warned) == 1 + len(others)
    assert len(by_name) == len(rows)
    assert {name for name, row in by_name.items() if row["is_alarm"]} == {
        one["name"] for one in answer["drift"]["alarms"]
    }
    assert by_name["users"]["users"] == answer["users"]


@pytest.mark.parametrize("step", ["write", "execute"])
def test_no_publication_has_a_user_who_was_forgotten_meanwhile(
    borrow_deployment, monkeypatch, step
):
    """Forgotten before the scores are appended, nothing is published and nobody's score
    stays: the run is called again. Before the publication, all others are published."""
    user = "user.004"
    deployment = borrow_deployment(champion=True, PROPENSITY_SUPPRESSION_KEY=KEY)
    left: list[int] = []
    original = getattr(Warehouse, step)

    def called(self: Any, what: Any, *rest: Any, **named: Any) -> Any:
        if not left and (what is SCORES or "BEGIN TRANSACTION" in str(what)):
            left.append(-1)
            left[0] = forget.run(deployment.settings, [user])["left"]
        return original(self, what, *rest, **named)

    def users() -> dict[str, set[str]]:
        holders = ("ma_predictions_table", "ma_predictions_runs")
        rows = {
            name: deployment.rows(f"SELECT user_id FROM {name}") for name in holders
        }
        return {name: {row["user_id"] for row in rows[name]} for name in holders}

    monkeypatch.setattr(Warehouse, step, called)
    answer = deployment.post("predictions", {"as_of": TRAINED})

    assert left == [0]
    if step == "write":
        assert (answer.status_code, answer.json["retryable"]) == (503, True)
        assert set().union(*users().values()) == set()
        answer = deployment.post("predictions", {"as_of": TRAINED})
    assert answer.status_code == 200
    assert [len(some) for some in users().values()] == [159, 159]
    assert user not in set().union(*users().values())
