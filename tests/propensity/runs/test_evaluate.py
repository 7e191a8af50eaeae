"""
Evaluation as a run, where no function shows it: outcomes by score.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from propensity import usecases
from propensity.runs import evaluate
from propensity.settings import Settings

WEEK = date(2026, 3, 2)


class TestOutcomes:
    def test_are_apart_from_converters_whom_nobody_had_scored(self):
        """Defect: an inner join forgets who was not scored, and who did not buy."""
        groups = pa.table(
            {
                "probability": [0.5, None, 0.25],
                "users": [4, 3, 10],
                "conversions": [2, 3, 0],
            }
        )
        observed, unscored = evaluate.outcomes_of(groups)

        assert unscored == 3
        assert observed.probability.tolist() == [0.25, 0.5]
        assert observed.users.tolist() == [10, 4]
        assert observed.conversions.tolist() == [0, 2]

    def test_may_be_empty(self):
        """A week that nobody was scored for has no outcome, and may have converters."""
        groups = pa.table(
            {
                "probability": pa.array([None], pa.float64()),
                "users": [3],
                "conversions": [3],
            }
        )
        observed, unscored = evaluate.outcomes_of(groups)

        assert (len(observed.users), unscored) == (0, 3)


class TestSeason:
    def columns_of(self, *missing: date) -> dict[str, Any]:
        """What a week in which half as many bought as expected says of the season."""
        run: Any = SimpleNamespace(
            settings=Settings(project="p"),
            timeframe=usecases.load("ga4_purchase").timeframe(Settings(project="p")),
            as_of=WEEK + timedelta(days=7),
            missing_days=missing,
            now=lambda: datetime(2026, 3, 20, tzinfo=UTC),
        )
        groups = pa.table({"probability": [0.2], "users": [1000], "conversions": [100]})
        observed, _ = evaluate.outcomes_of(groups)
        return evaluate._season(run, WEEK, observed, shift=0.1)

    def test_is_what_the_odds_of_all_users_lacked(self):
        """A day that is missing before or after the week is nothing to it."""
        columns = self.columns_of(WEEK - timedelta(days=1), WEEK + timedelta(days=7))

        assert columns["residual_log_odds"] == pytest.approx(-0.81, abs=0.01)

    @pytest.mark.parametrize("day", [0, 6])
    def test_is_not_what_never_came(self, day):
        """Where the export lacks a day of the week, 01 has nothing to follow: the next
        publication would promise too little of everybody."""
        assert self.columns_of(WEEK + timedelta(days=day)) == {"log_odds_shift": 0.1}
