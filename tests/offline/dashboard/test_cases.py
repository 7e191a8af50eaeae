"""What needs attention, specified: nothing where all is well, and what to do else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from offline.dashboard.cases import Deed
from offline.dashboard.facts import Facts
from tests.offline.dashboard.rows import (
    AS_OF,
    KNOWN,
    USE_CASE,
    WEEK,
    alarm,
    case,
    drift,
    evaluation,
    fraud_day,
    lift,
    publication,
    version,
)


def deeds(known: Facts | None = None, **rows) -> list[Deed]:
    return case(known, **rows).deeds


class TestDeeds:
    def test_are_none_where_all_is_well(self):
        """Fresh metrics, a champion, no alarm; an old alarm is past."""
        rows = [drift(), alarm(as_of=AS_OF - WEEK)]
        assert deeds(evaluations=[evaluation()], drift=rows) == []

    def test_look_at_the_largest_alarm_and_count_all(self):
        """Forty broken features are not forty lines."""
        rows = [alarm(name=f"feature_{n}") for n in range(40)]
        looks = deeds(evaluations=[evaluation()], drift=rows)

        assert [look.text for look in looks] == [
            "Look at drift, 40 alarms: revenue is 0 for 100% of users (71% before)."
        ]

    def test_look_at_a_week_with_far_more_positives_than_predicted(self):
        far = {"residual_log_odds": 1.0, "residual_standard_error": 0.05}
        week = evaluation(prediction_as_of=AS_OF - WEEK, **far)
        (deed,) = deeds(evaluations=[week])
        assert deed.text.startswith("In the week of 2026-02-24 the odds of all users")

    def test_are_to_look_where_evaluations_stopped(self):
        """Two horizons without one are late."""
        assert deeds(evaluations=[evaluation(3)]) == []
        (deed,) = deeds(evaluations=[evaluation(4)])
        assert deed.text.startswith("Nothing was evaluated since 2026-02-10")

    def test_are_to_publish_where_probabilities_stopped(self):
        rows = {"evaluations": [evaluation()]}
        assert deeds(**rows, publications=[publication(2)]) == []
        (deed,) = deeds(**rows, publications=[publication(3)])
        assert deed.text.startswith("No user got a probability since 2026-02-10")

    def test_are_to_publish_where_a_week_had_no_probabilities(self):
        """The newest week; unless a later publication waits for its outcomes."""
        missed = evaluation(1, outcome="no_predictions", model_version=-1, users=None)
        weeks = [missed, evaluation(2)]
        (deed,) = deeds(evaluations=weeks)

        assert deed.text.startswith("The week of 2026-02-24 had no probabilities")
        assert deeds(evaluations=weeks, publications=[publication()]) == []

    def test_are_none_for_events_without_a_score(self):
        """They have a row of their own, and 01-Predictions scores no events."""
        unscored = {"outcome": "no_predictions", "model_version": -1, "saved": None}
        days = [fraud_day(use_case=USE_CASE, **unscored), fraud_day(use_case=USE_CASE)]
        assert deeds(KNOWN["card_fraud"], evaluations=days) == []

    def test_are_to_train_where_nothing_serves(self):
        """The first time, and with the verdict where a version was refused."""
        known = replace(KNOWN[USE_CASE], champion=None)
        refused = version(0, promoted=False, verdict="no better")

        (first,) = deeds(known, evaluations=[evaluation()])
        assert "Train a first one" in first.text
        (deed,) = deeds(known, versions=[refused])
        assert deed.text == "No version serves. Version 0 was refused: no better."

    @pytest.mark.parametrize("verdict", ["harms", "sample_ratio"])
    def test_stop_an_audience_that_harms_or_lost_users(self, verdict):
        """One that had no new members for weeks was stopped."""
        weeks = [evaluation()]
        (deed,) = deeds(evaluations=weeks, lift=[lift(verdict=verdict)])

        assert "winback" in deed.text
        assert deeds(evaluations=weeks, lift=[lift(5, verdict=verdict)]) == []
