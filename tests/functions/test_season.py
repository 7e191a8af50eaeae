"""
The season across functions, on emulators: 03 measures it, 01 follows it.

Evaluated weeks are written as 03 would have written them; one story has 03 write them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest

from propensity.learning import season
from propensity.statements import statement
from propensity.tables import every as tables
from tests import shop
from tests.functions.conftest import LATER, TRAINED, Place
from tests.functions.evaluated import MONDAY, evaluations, published
from tests.rows import append_rows
from tests.shop import DAY, WEEK, event, purchase


def evaluated(
    place: Place,
    week: date,
    log_odds: float,
    *,
    weeks: int = 2,
    early: Mapping[str, Any] | None = None,
    **more: Any,
) -> None:
    """
    Write final rows of weeks that lacked these log-odds; ``week`` is the newest.

    ``early`` is what a run as of the end of each week had found.
    """
    row = {
        "use_case": "ga4_purchase",
        "week": week,
        "model_version": 0,
        "week_end": week + WEEK,
        "prediction_as_of": week,
        "status": "final",
        "outcome": "evaluated",
        "users": 4_000,
        "conversions": 400,
        "residual_log_odds": log_odds,
        "residual_standard_error": 0.05,
        **more,
    }
    for ago in range(weeks):
        earlier = {
            name: value - ago * WEEK if isinstance(value, date) else value
            for name, value in row.items()
        }
        earlier["evaluated_at"] = datetime(2026, 4, 27, tzinfo=UTC)
        earlier["prediction_scored_at"] = datetime(2026, 4, 20, tzinfo=UTC)
        append_rows(place.warehouse, tables.EVALUATION, [earlier])
        if early is not None:
            first = {**earlier, "status": "provisional", "as_of": earlier["week_end"]}
            first |= {**early, "evaluated_at": datetime(2026, 4, 26, tzinfo=UTC)}
            append_rows(place.warehouse, tables.EVALUATION, [first])


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


@pytest.fixture(scope="module")
def unshifted(new_place, with_champion) -> tuple[Place, dict[str, Any], dict[str, Any]]:
    """A place with publications of two weeks of which nothing was evaluated before, the
    answer to the second, and its history."""
    place = with_champion(new_place())
    place.run("predictions", TRAINED)
    answer = place.run("predictions", LATER)
    assert answer["log_odds_shift"] is None
    return place, answer, history(place, LATER)


class TestPublishing:
    def test_adds_the_shift_to_the_log_odds_of_all_users(self, unshifted, log_lines):
        """
        Ranks stay; history, table, answer and log line have the shift.

        Means that double by the shift alone are no jump of the scores.
        """
        place, earlier, before = unshifted
        evaluated(place, TRAINED, 2.0, residual_standard_error=0.02)
        log_lines()
        answer = place.run("predictions", LATER)
        *_, line = log_lines()
        after, applied = history(place, LATER), answer["log_odds_shift"]
        current = place.rows("SELECT * FROM ma_predictions_table")

        assert 0.5 < applied <= 1.0
        assert line["log_odds_shift"] == applied
        assert after.keys() == before.keys()
        for user, (probability, percentile, shift) in after.items():
            assert probability == season.apply(np.array([before[user][0]]), applied)[0]
            assert (percentile, shift) == (before[user][1], applied)
        assert {row["log_odds_shift"] for row in current} == {applied}
        assert {row["user_id"]: row["probability"] for row in current} == {
            user: probability for user, (probability, *_) in after.items()
        }
        assert answer["mean_probability"] == pytest.approx(
            np.mean([probability for probability, *_ in after.values()])
        )
        assert answer["mean_probability"] > 1.5 * earlier["mean_probability"]
        assert answer["score_shift"] == pytest.approx(earlier["score_shift"], abs=1e-9)

    def test_without_an_evaluation_is_what_the_model_gave(self, unshifted):
        """Nothing is known: no shift, and null says so."""
        assert {shift for *_, shift in unshifted[-1].values()} == {None}

    @pytest.mark.long
    @pytest.mark.parametrize(
        "row",
        [
            {"outcome": "one_class", "residual_log_odds": None},
            {"outcome": "no_predictions", "model_version": -1},
            {"use_case": "first_day_churn"},
            {"prediction_as_of": TRAINED - WEEK},
            {"week": LATER, "week_end": LATER + WEEK, "prediction_as_of": LATER},
            {"model_version": 7},
        ],
        ids=[
            "one class",
            "nothing published",
            "another use case",
            "probabilities of a week before",
            "a week that is not over",
            "a version that was never compared",
        ],
    )
    def test_does_not_follow_what_says_nothing_of_it(self, champion_place, row):
        """Each of them beside nothing else: no shift."""
        evaluated(champion_place, **{"week": TRAINED, "log_odds": 0.7, **row})

        assert champion_place.run("predictions", LATER)["log_odds_shift"] is None


class TestPointInTime:
    def test_reruns_have_the_shift_of_the_first_run(self, champion_place):
        """Labels that came late made the week final since; they were not known then.
        Later weeks were not, either."""
        early = {
            "residual_log_odds": 0.5,
            "residual_standard_error": 0.06,
            "conversions": 380,
        }
        evaluated(champion_place, TRAINED - WEEK, 0.5, weeks=1)
        evaluated(champion_place, TRAINED, 0.5, early=early, status="provisional",
                  weeks=1, residual_standard_error=0.06, conversions=380)  # fmt: skip
        first = champion_place.run("predictions", LATER)
        before = history(champion_place, LATER)
        champion_place.warehouse.execute(
            "DELETE FROM ma_model_evaluation_runs WHERE TRUE"
        )
        evaluated(champion_place, TRAINED - WEEK, 0.5, weeks=1)
        evaluated(champion_place, TRAINED, 0.7, weeks=1, early=early)
        evaluated(champion_place, LATER, -1.5, weeks=1)
        again = champion_place.run("predictions", LATER)
        later = champion_place.run("predictions", LATER + WEEK)

        assert again["log_odds_shift"] == first["log_odds_shift"]
        assert history(champion_place, LATER) == before
        assert later["log_odds_shift"] < 0

    def test_a_week_that_was_mature_counts_as_final(self, champion_place):
        """Ten days after its first day its labels were known."""
        early = {"residual_log_odds": -0.5}
        evaluated(champion_place, TRAINED - WEEK, 0.7, early=early)

        assert champion_place.run("predictions", LATER)["log_odds_shift"] > 0.3


class TestVersions:
    @pytest.mark.long
    @pytest.mark.parametrize("level", [0.4, None])
    def test_carry_over_what_the_new_one_has_not_learned(self, champion_place, level):
        """The old one lacked 0.7; the new one stands 0.4 higher on the same rows. One
        that was trained before levels were recorded has no shift until its own
        weeks."""
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
        champion_place.registry.promote(
            1, model_sha256="", at=datetime(2026, 4, 27, tzinfo=UTC), instead_of=0
        )
        evaluated(champion_place, TRAINED, 0.7)
        answer = champion_place.run("predictions", LATER)
        shift = answer["log_odds_shift"]

        assert answer["model_version"] == 1
        assert shift is None if level is None else 0.05 < shift < 0.3


class TestGuard:
    @pytest.mark.long
    def test_is_not_blinded_by_the_season(self, champion_place):
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


class TestStory:
    @pytest.mark.long
    def test_of_a_shop_that_sells_more_than_the_model_expects(self, champion_place):
        """03 measures what was published; 01 follows; 03 measures what it published."""
        evaluated(champion_place, TRAINED - WEEK, 0.4, weeks=1)
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


class TestEvaluation:
    @pytest.mark.long
    def test_keeps_what_was_known_on_the_weeks_end(self, shop_of):
        """Late labels change the figures; a rerun of 01 must not know of them."""
        users = {f"u{number}": 0.1 for number in range(200)}
        some = [purchase(f"u{number}", MONDAY + DAY) for number in range(15)]
        place = shop_of([event("u1", MONDAY - DAY), *some])
        published(place, MONDAY, users)
        place.run("model_evaluation", MONDAY + WEEK)
        late = [purchase(f"u{number}", MONDAY + DAY) for number in range(15, 20)]
        shop.load(place.workplace, [*some, *late])
        place.run("model_evaluation", MONDAY + WEEK + 3 * DAY)
        # Nor may it after a rerun of 03 for that day, which makes nothing provisional.
        place.run("model_evaluation", MONDAY + WEEK)
        [row] = [row for row in evaluations(place) if row["week"] == MONDAY]
        days = {"since": MONDAY, "until": MONDAY, "horizon_days": 7}
        [then] = weeks_of(place, **days, final_until=MONDAY - DAY)
        [since] = weeks_of(place, **days, final_until=MONDAY)

        assert (row["status"], row["conversions"]) == ("final", 20)
        # From 20 of 200 expected to 15 that came, and to 20.
        assert row["residual_log_odds"] == pytest.approx(0.0, abs=1e-9)
        lower = np.log(15 / 185) - np.log(0.1 / 0.9)
        assert (then["log_odds"], then["conversions"]) == (pytest.approx(lower), 15)
        assert then["standard_error"] > since["standard_error"]
        assert since["late"] == pytest.approx(-lower)


def weeks_of(place: Place, **parameters: Any) -> list[dict[str, Any]]:
    """What 01 reads of evaluated weeks."""
    parameters = {"use_case": "ga4_purchase", **parameters}
    rows = place.warehouse.rows(statement("season_weeks"), parameters)
    return [dict(row.items()) for row in rows]
