"""
The season across functions, on emulators: 03 measures it, 01 follows it.

Evaluated weeks are written as 03 would have written them; one story has 03 write them.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest

from propensity.learning import season
from propensity.statements import statement
from propensity.tables import every as tables
from tests import shop
from tests.functions.conftest import LATER, TRAINED, Place
from tests.functions.evaluated import MONDAY, evaluations
from tests.propensity.registry.versions import promote
from tests.published import publish
from tests.rows import append_rows
from tests.shop import DAY, WEEK, event, purchase


def evaluated(place: Place, week: date, log_odds: float, **more: Any) -> None:
    """Write the final row of a week that lacked these log-odds, as of its end."""
    row = {
        "use_case": "ga4_purchase",
        "week": week,
        "model_version": 0,
        "week_end": week + WEEK,
        "as_of": week + WEEK,
        "prediction_as_of": week,
        "prediction_scored_at": datetime(2026, 4, 20, tzinfo=UTC),
        "status": "final",
        "outcome": "evaluated",
        "evaluated_at": datetime(2026, 4, 27, tzinfo=UTC),
        "users": 4_000,
        "conversions": 400,
        "residual_log_odds": log_odds,
        "residual_standard_error": 0.05,
        **more,
    }
    append_rows(place.warehouse, tables.EVALUATION, [row])


def both_weeks(place: Place, log_odds: float, **more: Any) -> None:
    """Write two weeks, fewer than which are no season."""
    for week in (TRAINED - WEEK, TRAINED):
        evaluated(place, week, log_odds, **more)


def history(place: Place, as_of: date) -> dict[str, tuple[float, int, float | None]]:
    """Probability, percentile and shift of every user of a publication."""
    rows = place.rows(
        "SELECT user_id, probability, percentile, log_odds_shift "
        "FROM ma_predictions_history WHERE as_of = @day",
        day=as_of,
    )
    return {
        row["user_id"]: (row["probability"], row["percentile"], row["log_odds_shift"])
        for row in rows
    }


class TestPublishing:
    def test_adds_the_shift_to_the_log_odds_of_all_users(
        self, champion_place, log_lines
    ):
        """
        Without an evaluation there is none. Ranks stay; history, table, answer and log
        line have the shift. Means that double by it alone are no jump of the scores.
        """
        place = champion_place
        place.run("predictions", TRAINED)
        earlier = place.run("predictions", LATER)
        before = history(place, LATER)
        both_weeks(place, 2.0, residual_standard_error=0.02)
        log_lines()
        answer = place.run("predictions", LATER)
        *_, line = log_lines()
        after, applied = history(place, LATER), answer["log_odds_shift"]
        current = place.rows("SELECT * FROM ma_predictions_table")

        assert {shift for *_, shift in before.values()} == {None}
        assert earlier["log_odds_shift"] is None
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
        assert answer["score_shift"] == pytest.approx(earlier["score_shift"], abs=1e-9)

    @pytest.mark.long
    @pytest.mark.parametrize(
        "row",
        [
            {"outcome": "one_class", "residual_log_odds": None},
            {"use_case": "first_day_churn"},
            {"prediction_as_of": TRAINED - 2 * WEEK},
            {"as_of": LATER + DAY},
            {"model_version": 7},
        ],
        ids=[
            "one class",
            "another use case",
            "probabilities of weeks before",
            "known a day later",
            "a version that was never compared",
        ],
    )
    def test_does_not_follow_what_says_nothing_of_it(self, champion_place, row):
        """Each of them beside nothing else: no shift."""
        both_weeks(champion_place, **{"log_odds": 0.7, **row})

        assert champion_place.run("predictions", LATER)["log_odds_shift"] is None


def test_reruns_have_the_shift_of_the_first_run(champion_place):
    """Labels that came late made the week final since; they were not known then. Later
    weeks were not, either."""
    place = champion_place
    evaluated(place, TRAINED - WEEK, 0.5)
    evaluated(place, TRAINED, 0.5, status="provisional")
    first = place.run("predictions", LATER)
    before = history(place, LATER)
    evaluated(place, TRAINED, 0.7, as_of=LATER + 4 * DAY)
    evaluated(place, LATER, -1.5)
    again = place.run("predictions", LATER)
    later = place.run("predictions", LATER + WEEK)

    assert again["log_odds_shift"] == first["log_odds_shift"] is not None
    assert history(place, LATER) == before
    assert later["log_odds_shift"] < 0


@pytest.mark.long
@pytest.mark.parametrize("level", [0.4, None])
def test_a_new_version_carries_over_what_it_has_not_learned(champion_place, level):
    """The old one lacked 0.7; the new one stands 0.4 higher on the same rows. One that
    was never compared has no shift until its own weeks."""
    # The first one's files under another number.
    [row] = champion_place.rows("SELECT card FROM ma_model_training_metadata")
    card = json.loads(row["card"])
    card["verdict"]["level_difference"] = level
    champion_place.warehouse.execute(
        "INSERT INTO ma_model_training_metadata_runs SELECT * REPLACE ("
        "model_version + 1 AS model_version, DATE_ADD(as_of, INTERVAL 7 DAY) AS "
        "as_of, 0 AS compared_version, "
        "@card AS card) FROM ma_model_training_metadata",
        {"card": json.dumps(card)},
    )
    promote(champion_place.registry, 1)
    both_weeks(champion_place, 0.7)
    answer = champion_place.run("predictions", LATER)
    shift = answer["log_odds_shift"]

    assert answer["model_version"] == 1
    assert shift is None if level is None else 0.05 < shift < 0.3


@pytest.mark.long
def test_the_guard_is_not_blinded_by_the_season(champion_place):
    """Scores that jumped are refused even where the shift brings them back."""
    champion_place.run("predictions", TRAINED)
    # The last publication is one of scores that were much lower, shifted up.
    champion_place.warehouse.execute(
        "UPDATE ma_publications_runs SET log_odds_shift = 2.0 WHERE TRUE"
    )
    answer = champion_place.post("predictions", {"as_of": LATER})

    assert (answer.status_code, answer.json["error"]) == (409, "score_shift")
    detail = answer.json["detail"]
    assert detail["mean_before"] < 0.5 * detail["mean_now"]


@pytest.mark.long
def test_a_shop_that_sells_more_than_the_model_expects(champion_place):
    """03 measures what was published; 01 follows; 03 measures what it published."""
    evaluated(champion_place, TRAINED - WEEK, 0.4)
    champion_place.run("predictions", TRAINED)
    # As if the model knew nothing of a season: its odds are those before it.
    champion_place.warehouse.execute(
        "UPDATE ma_predictions_runs SET probability = "
        "1 / (1 + (1 - probability) / probability * EXP(0.8)) WHERE TRUE"
    )
    first = champion_place.run("model_evaluation", LATER)
    [week] = [row for row in first["weeks"] if row["week"] == str(TRAINED)]
    followed = champion_place.run("predictions", LATER)
    second = champion_place.run("model_evaluation", LATER + WEEK)
    [final, newest] = second["weeks"]

    assert week["log_odds_shift"] is None
    assert week["residual_log_odds"] == pytest.approx(0.8, abs=0.8)
    assert followed["log_odds_shift"] > 0
    assert (final["status"], newest["week"]) == ("final", str(LATER))
    assert newest["log_odds_shift"] == followed["log_odds_shift"]
    assert newest["mean_probability"] == pytest.approx(followed["mean_probability"])


def test_an_evaluation_keeps_what_was_known_on_its_date(shop_of):
    """Late labels change the figures; a rerun of 01 must not know of them."""
    users = {f"u{number}": 0.1 for number in range(200)}
    some = [purchase(f"u{number}", MONDAY + DAY) for number in range(15)]
    place = shop_of([event("u1", MONDAY - DAY), *some])
    publish(place.warehouse, MONDAY, users)
    place.run("model_evaluation", MONDAY + WEEK)
    late = [purchase(f"u{number}", MONDAY + DAY) for number in range(15, 20)]
    shop.load(place.workplace, [*some, *late])
    place.run("model_evaluation", MONDAY + WEEK + 3 * DAY)
    # Nor may it after a rerun of 03 for that day, which makes nothing provisional.
    place.run("model_evaluation", MONDAY + WEEK)
    [row] = [row for row in evaluations(place) if row["week"] == MONDAY]
    then, since = (weeks_of(place, MONDAY + WEEK + days * DAY) for days in (0, 3))

    assert (row["status"], row["conversions"]) == ("final", 20)
    # From 20 of 200 expected to 15 that came, and to 20.
    assert row["residual_log_odds"] == pytest.approx(0.0, abs=1e-9)
    lower = np.log(15 / 185) - np.log(0.1 / 0.9)
    assert (then["log_odds"], then["conversions"]) == (pytest.approx(lower), 15)
    assert then["standard_error"] > since["standard_error"]


def weeks_of(place: Place, as_of: date) -> dict[str, Any]:
    """What 01 reads of the one evaluated week."""
    parameters = {"use_case": "ga4_purchase", "as_of": as_of, "horizon_days": 7}
    [row] = place.warehouse.rows(
        statement("season_weeks"), {**parameters, "since": MONDAY}
    )
    return dict(row.items())
