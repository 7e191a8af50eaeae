"""
Reasons, specified from 01-Predictions, which publishes them, to 02-GetProba over HTTP.
"""

from __future__ import annotations

import math

import pytest

from propensity import tables, usecases
from propensity.models.anomaly import AnomalyModel
from tests.functions.conftest import TRAINED, Place
from tests.functions.looked_up import ask, serving
from tests.functions.predicted import add
from tests.functions.test_suppression import KEY, suppress

USE_CASE = usecases.load("ga4_purchase")
EXPLAINED = {"PROPENSITY_EXPLAIN_PREDICTIONS": "true"}
TABLE = "SELECT * FROM ma_predictions_table ORDER BY user_id"


def log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


@pytest.fixture(scope="module")
def explained(new_place, with_champion) -> Place:
    """A place whose predictions were published with reasons."""
    extra = {**EXPLAINED, "PROPENSITY_SUPPRESSION_KEY": KEY}
    place = with_champion(new_place(**extra))
    place.run("predictions", TRAINED)
    add(place, tables.PREDICTIONS, user_id="before.1")
    return place


@pytest.fixture(scope="module")
def url(explained):
    """02-GetProba of that place."""
    with serving(explained.environment) as address:
        yield address


class TestPublishing:
    def test_every_user_has_the_contribution_of_every_feature(self, explained):
        """With the base their sum is the log-odds of the published probability."""
        rows = [row for row in explained.rows(TABLE) if row["user_id"] != "before.1"]

        assert len(rows) == 160
        for row in rows:
            reasons = {
                reason["feature"]: reason["contribution"] for reason in row["reasons"]
            }
            total = row["base_log_odds"] + sum(reasons.values())
            assert list(reasons) == list(USE_CASE.features)
            assert total == pytest.approx(log_odds(row["probability"]), abs=1e-9)
        assert len({row["base_log_odds"] for row in rows}) == 1

    @pytest.mark.long
    def test_a_run_without_the_setting_takes_them_back(self, champion_place):
        """Reasons belong to the newest probability; the history has none."""
        champion_place.with_settings(**EXPLAINED).run("predictions", TRAINED)
        before = champion_place.rows(TABLE)
        champion_place.run("predictions", TRAINED)
        after = champion_place.rows(TABLE)

        assert all(row["reasons"] for row in before)
        assert not any(row["reasons"] for row in after)
        assert {row["base_log_odds"] for row in after} == {None}
        assert [row["probability"] for row in before] == [
            row["probability"] for row in after
        ]

    def test_a_model_without_reasons_is_published_all_the_same(
        self, champion_place, log_lines, monkeypatch
    ):
        """The log says why there are none."""
        place = champion_place.with_settings(**EXPLAINED)
        monkeypatch.setattr("propensity.models.reasons.AnomalyModel", object)
        place.run("predictions", TRAINED)
        warning, line = (
            line for line in log_lines() if line["function"] == "predictions"
        )

        assert "without reasons: Half-Space Trees" in warning["message"]
        assert (line["outcome"], line["explained"]) == ("ok", False)
        assert issubclass(AnomalyModel, object)


class TestLookup:
    def test_explain_adds_reasons_to_the_answer(self, url, explained):
        """All features, the strongest first; the rest is the answer without."""
        plain = ask(url, user_id="user.001").json()
        answer = ask(url, user_id="user.001", explain=1)
        body = answer.json()
        strengths = [abs(reason["contribution"]) for reason in body["reasons"]]

        assert answer.status_code == 200
        assert {name: body[name] for name in plain} == plain
        assert strengths == sorted(strengths, reverse=True)
        assert {reason["feature"] for reason in body["reasons"]} == {*USE_CASE.features}
        total = body["base_log_odds"] + sum(
            reason["contribution"] for reason in body["reasons"]
        )
        assert total == pytest.approx(log_odds(body["probability"]), abs=1e-9)

    def test_explain_0_is_the_answer_without(self, url):
        """As if it were not there."""
        assert ask(url, user_id="user.001", explain=0).text == (
            ask(url, user_id="user.001").text
        )

    def test_an_unknown_user_is_404(self, url):
        """With the nulls of any answer."""
        answer = ask(url, user_id="nobody", explain=1)

        assert answer.status_code == 404
        assert answer.json()["error"] == "unknown_user"

    def test_a_probability_without_reasons_is_409(self, url):
        """The message says how to publish them."""
        answer = ask(url, user_id="before.1", explain=1)

        assert answer.status_code == 409
        assert answer.json()["error"] == "unexplained"
        assert answer.json()["field"] == "explain"
        assert "PROPENSITY_EXPLAIN_PREDICTIONS" in answer.json()["message"]

    def test_half_space_trees_are_409(self, url):
        """A use case of events has no reasons."""
        answer = ask(url, user_id="user.001", use_case="card_fraud", explain=1)

        assert (answer.status_code, answer.json()["field"]) == (409, "use_case")
        assert "Half-Space Trees" in answer.json()["message"]

    @pytest.mark.parametrize("value", ["", "yes", "2", "-1"])
    def test_another_value_is_400(self, url, value):
        """The field is named."""
        answer = ask(url, user_id="user.001", explain=value)

        assert (answer.status_code, answer.json()["field"]) == (400, "explain")

    def test_a_suppressed_user_has_none(self, url, explained):
        """The list of suppressed users is checked first."""
        suppress(explained, "user.002")
        # The list of the table; that of the bucket is published by the next run.
        place = explained.with_settings(PROPENSITY_LOOKUP_SOURCE="bigquery")
        with serving(place.environment) as address:
            answer = ask(address, user_id="user.002", explain=1)

        assert answer.status_code == 404
        assert answer.json()["error"] == "unknown_user"
