"""
The season across functions: 03 measures it, 01 follows it.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from propensity.learning import season
from propensity.statements import statement
from tests.functions.evaluated import BEFORE, both_weeks, evaluated
from tests.support.deployment import Deployment
from tests.support.rows import publish
from tests.support.shop import DAY, WEEK
from tests.support.shops import LATER, TRAINED


def log_odds_of(deployment: Deployment, as_of: date) -> dict[date, float]:
    """What 01 reads of evaluated weeks on a date."""
    parameters = {"use_case": "ga4_purchase", "as_of": as_of, "horizon_days": 7}
    sql = statement("season_weeks")
    rows = deployment.warehouse.rows(sql, {**parameters, "since": as_of - 10 * WEEK})
    return {row["week"]: row["log_odds"] for row in rows}


def history(deployment: Deployment) -> dict[str, tuple[float, int, float | None]]:
    """Probability, percentile and shift of every user of the newest publication."""
    rows = deployment.rows(
        "SELECT * FROM ma_predictions_history WHERE as_of = @d", d=LATER
    )
    return {
        row["user_id"]: (row["probability"], row["percentile"], row["log_odds_shift"])
        for row in rows
    }


def test_a_publication_adds_the_shift_of_the_season(champion_deployment, log_lines):
    """
    Without an evaluation there is none. Ranks stay; history, table, answer and log
    line have the shift. Means that double by it alone are no jump of the scores, and it
    does not hide one: what is compared is as the models gave it.
    """
    deployment = champion_deployment
    earlier = deployment.run("predictions", LATER)
    before = history(deployment)
    publish(
        deployment.warehouse, TRAINED, {user: row[0] for user, row in before.items()}
    )
    both_weeks(deployment, 2.0)
    log_lines()
    answer = deployment.run("predictions", LATER)
    *_, line = log_lines()
    after = history(deployment)
    applied = answer["log_odds_shift"]
    current = deployment.rows("SELECT * FROM ma_predictions_table")
    deployment.warehouse.execute(
        "UPDATE ma_publications_runs SET log_odds_shift = 2.0 WHERE as_of = @day",
        {"day": TRAINED},
    )
    jumped = deployment.post("predictions", {"as_of": LATER})

    assert {shift for *_, shift in before.values()} == {None}
    assert earlier["log_odds_shift"] is earlier["score_shift"] is None
    assert (earlier["evaluation_missing"], answer["evaluation_missing"]) == (
        True,
        False,
    )
    assert 0.5 < applied <= 1.0
    assert line["log_odds_shift"] == applied
    assert after.keys() == before.keys()
    for user, (probability, percentile, shift) in after.items():
        assert probability == season.apply(np.array([before[user][0]]), applied)[0]
        assert (percentile, shift) == (before[user][1], applied)
    assert {row["user_id"]: row["probability"] for row in current} == {
        user: probability for user, (probability, *_) in after.items()
    }
    assert answer["mean_probability"] > 1.5 * earlier["mean_probability"]
    assert answer["score_shift"] == pytest.approx(0, abs=0.05)
    assert (jumped.status_code, jumped.json["error"]) == (409, "score_shift")


def test_weeks_that_say_nothing_of_the_season_do_not_count(shop_deployment):
    """Of one class, of another use case, without predictions or with probabilities of
    weeks before, known a day later, or not over. Beside them there is one that does,
    with the shift that it was published with. In a rerun the weeks are those of the
    first run: labels that came late made the week final since."""
    evaluated(shop_deployment, BEFORE, 0.5, log_odds_shift=0.25)
    for version, row in enumerate(
        (
            {"outcome": "one_class", "log_odds": None},
            {"use_case": "first_day_churn"},
            {"model_version": -1},
            {"week": BEFORE - WEEK, "prediction_as_of": BEFORE - 2 * WEEK},
            {"as_of": LATER + DAY},
            {"week": LATER},
        )
    ):
        own = {"week": TRAINED, "log_odds": 0.7, "model_version": version}
        evaluated(shop_deployment, **{**own, **row})
    alone = log_odds_of(shop_deployment, LATER)
    evaluated(shop_deployment, TRAINED, 0.5, status="provisional")
    first = log_odds_of(shop_deployment, LATER)
    evaluated(shop_deployment, TRAINED, 0.7, as_of=LATER + 4 * DAY)

    assert alone == {BEFORE: 0.75}
    assert log_odds_of(shop_deployment, LATER) == first == {BEFORE: 0.75, TRAINED: 0.5}
    assert log_odds_of(shop_deployment, LATER + WEEK)[TRAINED] == 0.7
