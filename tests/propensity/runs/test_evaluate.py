"""
Evaluation as a run, where no function shows it: outcomes by score.
"""

from __future__ import annotations

import pyarrow as pa

from propensity.runs import evaluate


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
