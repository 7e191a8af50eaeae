"""
01-Predictions, specified: what it publishes, and what it never breaks.
"""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import numpy as np
import pytest

from offline import forget
from propensity import usecases
from propensity.gcp.queries import Queries
from propensity.gcp.warehouse import Warehouse
from propensity.ids import PRESENCE
from propensity.learning import season
from propensity.models.encoding import to_frame
from propensity.registry.index import pointer_name
from propensity.registry.records import find_recorded
from propensity.registry.versions import pickled
from propensity.statements import statement
from propensity.tables.models import SCORES
from tests.functions.evaluated import BEFORE, both_weeks, evaluated
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


def test_a_publication_scores_every_user(publication):
    """Probabilities are the pipeline's, and expected values these by the amounts of the
    version's own model, to the decimal."""
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
    worth = scores * amounts.amounts_of(table)
    rows = deployment.rows(
        "SELECT * FROM ma_predictions_history WHERE use_case = 'ga4_purchase'"
    )
    probabilities = {row["user_id"]: row["probability"] for row in rows}
    values = {row["user_id"]: float(row["expected_value"]) for row in rows}

    expected = dict(zip(users, scores, strict=True))
    assert probabilities == pytest.approx(expected, abs=1e-9)
    assert values == pytest.approx(dict(zip(users, worth, strict=True)), abs=1e-6)
    assert (answer["users"], answer["model_version"]) == (160, 0)
    assert answer["mean_probability"] == pytest.approx(scores.mean())


def test_no_run_holds_a_row_for_each_user_at_once(champion_deployment, monkeypatch):
    """An instance has 4 GiB of memory, and a shop has millions of users: a run that
    reads a whole table of them would be killed each week."""
    table = Queries.table
    whole: list[tuple[int, str]] = []

    def counted(self: Queries, sql: str, *arguments: Any) -> Any:
        rows = table(self, sql, *arguments)
        whole.append((len(rows), sql))
        return rows

    monkeypatch.setattr(Queries, "table", counted)
    champion_deployment.run("predictions", TRAINED)
    users = champion_deployment.count("ma_predictions_table")

    assert users == 160
    assert [sql for rows, sql in whole if rows >= users / 2] == []


def test_a_setting_bounds_how_long_users_stay_in_the_current_table(
    champion_deployment,
):
    """None does so by itself. Who returns after longer than that is stored once, and
    other use cases keep their users."""
    kept = "ma_predictions_table=400"
    deployment = champion_deployment.with_settings(PROPENSITY_RETENTION_DAYS=kept)
    long_ago = TRAINED - 500 * DAY
    for use_case in ("ga4_purchase", "first_day_churn"):
        for user in ("gone.1", "user.001"):
            put(deployment.warehouse, user, as_of=long_ago, use_case=use_case)
    put(deployment.warehouse, "gone.2", as_of=TRAINED - WEEK)
    champion_deployment.run("predictions", TRAINED)
    stored = "SELECT use_case, user_id, as_of FROM ma_predictions_table"
    before = [row["user_id"] for row in deployment.rows(stored)]
    deployment.run("predictions", TRAINED, force=True)
    rows = [(row["use_case"], row["user_id"]) for row in deployment.rows(stored)]

    assert "gone.1" in before
    assert len(rows) == len(set(rows)) == 160 + 1 + 2
    assert ("ga4_purchase", "gone.1") not in rows
    assert ("ga4_purchase", "gone.2") in rows


def test_a_publication_keeps_other_users(publication):
    """
    Re-scored users are overwritten, also those of an earlier run for the same date; new
    ones are added, and all others are as they were. The history of the date is replaced
    as a whole; percentiles go from 1 to 100 in the order of it. What is recorded of the
    publication has the exact sum of the users' values.
    """
    published, answer = publication
    rows = published.rows("SELECT * FROM ma_predictions_table")
    by_user = {(row["use_case"], row["user_id"]): row for row in rows}
    other, *own = published.rows(
        "SELECT * FROM ma_predictions_history ORDER BY use_case, probability"
    )
    _, recorded = published.rows("SELECT * FROM ma_publications ORDER BY use_case")

    assert len(by_user) == len(rows) == 160 + 2
    for row in own:
        assert json.loads(row.pop("categories")).keys() == {
            PRESENCE,
            *USE_CASE.compared,
        }
        assert row.pop("effects") == []
        assert by_user["ga4_purchase", row["user_id"]] == row
    gone = by_user["ga4_purchase", "gone.1"]
    assert (gone["as_of"], gone["probability"]) == (TRAINED - WEEK, 0.25)
    assert by_user["first_day_churn", "user.001"]["probability"] == 0.25
    assert other["use_case"] == "first_day_churn"
    percentiles = [row["percentile"] for row in own]
    assert (percentiles[0], percentiles[-1]) == (1, 100)
    assert percentiles == sorted(percentiles)
    for name in ("model_version", "users", "mean_probability", "log_odds_shift"):
        assert recorded[name] == answer[name]
    assert recorded["value_promised"] == sum(row["expected_value"] for row in own)
    assert float(recorded["value_promised"]) == answer["expected_value"]["sum"] > 0


def test_a_publication_is_looked_up_with_the_expected_value(published):
    """In index and table: with ``value`` it is the table's; the rest is the answer
    without. It is null for a probability from before there were amounts."""
    [row] = published.rows(
        "SELECT * FROM ma_predictions_table "
        "WHERE user_id = 'user.003' AND use_case = 'ga4_purchase'"
    )
    expected = {}
    for name in ("expected_value", "decile_value"):
        expected[name] = float(row[name])
    for is_indexed in (True, False):
        if not is_indexed:
            published.registry.artifacts.delete(pointer_name("ga4_purchase"))
        with serving("get_proba", published.environment) as lookups:
            plain = lookups.get(user_id="user.003", value=0)
            valued = lookups.get(user_id="user.003", value=1).json()
            older = lookups.get(user_id="gone.1", value=1).json()

        assert valued == {**plain.json(), **expected}
        assert older["expected_value"] is None


def test_a_publication_says_of_each_user_what_its_tenth_is_worth(published):
    """The mean expected value of the tenth of all users of the date, by expected value,
    to the cent: the number that ad platforms are sent."""
    rows = published.rows(
        "SELECT expected_value, decile_value FROM ma_predictions_history "
        "WHERE use_case = 'ga4_purchase' ORDER BY expected_value"
    )

    for start in range(0, 160, 16):
        # Users of one value may be on either side of the border.
        [value] = {row["decile_value"] for row in rows[start + 2 : start + 14]}
        mean = sum(row["expected_value"] for row in rows[start : start + 16]) / 16
        assert float(value) == pytest.approx(float(mean), rel=0.1)


def test_a_publication_that_is_repeated_changes_nothing(publication):
    """The lease does not stop a second run, and what is published is the same; the date
    has one row about it, and that of another use case stays."""
    deployment, answer = publication
    before = deployment.published()
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
    champion_deployment, log_lines
):
    """It renews its history, and not the present, with the version that was promoted by
    then. Where there was none the champion scores, and the log says so."""
    current = "SELECT * FROM ma_predictions_table ORDER BY user_id"
    deployment = champion_deployment
    older = TRAINED - WEEK
    deployment.run("predictions", TRAINED)
    newest = deployment.rows(current)
    log_lines()
    without = deployment.run("predictions", older)
    warning, *_ = log_lines()
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


def refused(deployment: Deployment, *, status: int, error: str, **body) -> str:
    """Have a run refused, which leaves the tables as they were; return the message."""
    before = deployment.published()
    answer = deployment.post("predictions", {"as_of": LATER, **body})

    assert (answer.status_code, answer.json["error"]) == (status, error)
    assert answer.json["retryable"] is False
    assert deployment.published() == before
    return answer.json["message"]


@pytest.mark.parametrize("part", ["model", "preprocessor", "value"])
def test_a_prediction_run_loads_no_tampered_files(champion_deployment, part, tmp_path):
    """A file of other bytes than were recorded is not unpickled: no code runs."""
    name = f"models/ga4_purchase/0/{part}.joblib"
    code = pickled(Malicious(tmp_path / "was_here"))
    overwrite(champion_deployment.registry, name, code)
    message = refused(champion_deployment, status=500, error="artifact")

    assert name in message
    assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize(("days", "today"), [("lookback", 60), ("horizon", 7)])
def test_a_prediction_refuses_other_features(champion_deployment, days, today):
    """Sums of 60 days are no features of one that has learned sums of 30, nor is its
    probability that of another horizon. Force does not help."""
    [version] = champion_deployment.versions()
    card = {**version["card"], f"{days}_days": 30}
    rewrite_card(champion_deployment, card)
    message = refused(champion_deployment, status=409, error="schema", force=True)

    assert f"{days}_days 30, which is {today} today" in message


def test_without_a_champion_the_training_is_named(
    shop_deployment, champion_deployment, log_lines
):
    """409 says what to run first; where there was a training, that the pointer was
    deleted, and the log line mails somebody."""
    first = refused(shop_deployment, status=409, error="no_champion")
    is_trained = [log_lines()[-1]["is_trained"]]
    champion_deployment.artifacts.delete(POINTER)
    message = refused(champion_deployment, status=409, error="no_champion")
    is_trained.append(log_lines()[-1]["is_trained"])

    assert "00-ModelTraining" in first
    assert f"or {POINTER} was deleted" in message
    assert "`propensity promote` a version" in message
    assert is_trained == [False, True]


def rewrite_card(deployment: Deployment, card: dict[str, Any]) -> None:
    """Have the version's record say something else."""
    update = "UPDATE ma_model_training_metadata_runs SET card = @card WHERE TRUE"
    deployment.warehouse.execute(update, {"card": json.dumps(card)})


def all_came_by_mail(deployment: Deployment) -> None:
    """Let the training have seen one medium alone."""
    [version] = deployment.versions()
    card = version["card"]
    [medium] = [one for one in card["drift"]["signals"] if one["name"] == "medium"]
    medium |= {"values": ["email"], "shares": [1.0, 0.0, 0.0]}
    rewrite_card(deployment, card)


def test_scores_that_jumped_are_published_by_force_alone(
    champion_deployment, log_lines
):
    """
    Beyond the bound nothing is published, until somebody has looked at them: the answer
    says by how much they moved, and what has changed. The drift is in answer, log and
    table alike.

    They are compared with the newest ones, however old: also after a pause as long as
    the lookback.
    """
    deployment = champion_deployment
    publish(deployment.warehouse, TRAINED - 61 * DAY, {"u": 1e-4})
    all_came_by_mail(deployment)
    before = deployment.published()
    refused = deployment.post("predictions", {"as_of": TRAINED})
    after = deployment.published()
    log_lines()
    forced = deployment.run("predictions", TRAINED, force=True)
    alarm, *_ = forced["drift"]["alarms"]
    alarms = deployment.rows("SELECT name FROM ma_drift WHERE is_alarm")
    # Nobody would ever read what was refused: ten million rows for a large shop.
    left = deployment.rows(
        "SELECT run_id FROM ma_predictions_runs "
        "WHERE run_id NOT IN (SELECT run_id FROM ma_publications_runs)"
    )

    assert (refused.status_code, refused.json["error"]) == (409, "score_shift")
    assert left == []
    assert refused.json["detail"]["score_shift"] == forced["score_shift"] > 0.75
    assert "medium is " in refused.json["message"]
    assert "force" in refused.json["message"]
    assert after == before
    assert forced["users"] == 160
    assert alarm == {
        "cause": "missing values",
        "name": "medium",
        "message": "medium is missing for 100.0% of users (0.0% in the training)",
    }
    assert f"drift: {alarm['message']}" in [line["message"] for line in log_lines()]
    assert {row["name"] for row in alarms} == {
        one["name"] for one in forced["drift"]["alarms"]
    }


def history(deployment: Deployment) -> dict[str, tuple[float, int]]:
    """Return probability and percentile of every user of the newest publication."""
    rows = deployment.rows(
        "SELECT * FROM ma_predictions_history WHERE as_of = @day", day=LATER
    )
    return {row["user_id"]: (row["probability"], row["percentile"]) for row in rows}


def test_a_publication_adds_the_shift_of_the_season(champion_deployment):
    """
    Without an evaluation there is none. Ranks stay; history, table and answer have the
    shift. Means that double by it alone are no jump of the scores, and it does not hide
    one: what is compared is as the models gave it.
    """
    deployment = champion_deployment
    earlier = deployment.run("predictions", LATER)
    before = history(deployment)
    scores = {user: probability for user, (probability, _) in before.items()}
    publish(deployment.warehouse, TRAINED, scores)
    both_weeks(deployment, 2.0)
    answer = deployment.run("predictions", LATER)
    after = history(deployment)
    current = deployment.rows("SELECT * FROM ma_predictions_table")
    deployment.warehouse.execute(
        "UPDATE ma_publications_runs SET log_odds_shift = 2.0 WHERE as_of = @day",
        {"day": TRAINED},
    )
    jumped = deployment.post("predictions", {"as_of": LATER})

    applied = answer["log_odds_shift"]
    assert (earlier["log_odds_shift"], earlier["evaluation_missing"]) == (None, True)
    assert 0.5 < applied <= 1.0
    assert after.keys() == before.keys()
    for user, (probability, percentile) in after.items():
        assert probability == season.apply(np.array([scores[user]]), applied)[0]
        assert percentile == before[user][1]
    for row in current:
        assert (row["probability"], row["percentile"]) == after[row["user_id"]]
    assert answer["mean_probability"] > 1.5 * earlier["mean_probability"]
    assert answer["score_shift"] == pytest.approx(0, abs=0.05)
    assert (jumped.status_code, jumped.json["error"]) == (409, "score_shift")


def test_a_publication_has_the_range_of_its_outcomes(champion_deployment):
    """In the answer and the table, also before any week is known; of a rerun the same.
    A week that was far off makes it wider."""
    deployment = champion_deployment
    answer = deployment.run("predictions", LATER)
    again = deployment.run("predictions", LATER)
    [row] = deployment.rows("SELECT * FROM ma_publications")
    evaluated(deployment, TRAINED, 2.0)
    after = deployment.run("predictions", LATER)

    shown = answer["expected_conversions"]
    users = row["users"] * row["mean_probability"]
    assert shown["sum"] == pytest.approx(users)
    assert shown["low"] < users < shown["high"]
    assert shown == again["expected_conversions"]
    assert (row["conversions_low"], row["freedom"]) == (shown["low"], 4)
    assert row["value_low"] < row["value_promised"] < row["value_high"]
    assert answer["expected_value"]["high"] == float(row["value_high"])
    assert after["expected_conversions"]["high"] > shown["high"]


def test_a_rerun_follows_the_weeks_of_the_first_run(shop_deployment):
    """Labels that came late made a week final since. A week that is of one class, has
    no predictions of its own, or is not over, says nothing of the season."""
    asked = {"use_case": "ga4_purchase", "as_of": LATER, "since": LATER - 10 * WEEK}
    asked |= {"horizon_days": 7}

    def log_odds() -> dict[date, float]:
        rows = shop_deployment.warehouse.rows(statement("season_weeks"), asked)
        return {row["week"]: row["log_odds"] for row in rows}

    evaluated(shop_deployment, BEFORE, 0.5, log_odds_shift=0.25)
    evaluated(shop_deployment, TRAINED, None, outcome="one_class", model_version=1)
    evaluated(shop_deployment, TRAINED, 0.7, model_version=-1)
    evaluated(shop_deployment, LATER, 0.7)
    evaluated(shop_deployment, TRAINED, 0.5, status="provisional")
    first = log_odds()
    evaluated(shop_deployment, TRAINED, 0.7, as_of=LATER + 4 * DAY)

    assert log_odds() == first == {BEFORE: 0.75, TRAINED: 0.5}


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
