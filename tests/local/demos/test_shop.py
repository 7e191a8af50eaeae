"""What the demo says of runs on an export that has gaps, specified."""

from __future__ import annotations

from typing import Any

import pytest

from local.demos.shop import evaluation_text, gaps

WEEK = {"week": "2011-08-18", "status": "final", "outcome": "one_class"}


class TestGaps:
    @pytest.mark.parametrize(
        ("answer", "says"),
        [
            ({}, ""),
            ({"weeks": [WEEK]}, ""),
            ({"late_days": ["2011-08-24"]}, "1 of its days: 2011-08-24"),
            # Before the weeks that are evaluated, and of a prediction's lookback.
            ({"weeks": [WEEK], "missing_days": ["2011-08-13"]}, ""),
            ({"missing_days": ["2011-08-13"]}, ""),
            (
                {"weeks": [WEEK], "missing_days": ["2011-08-13", "2011-08-20"]},
                "1 of its days: 2011-08-20",
            ),
            ({"late_days": [f"2011-08-2{n}" for n in range(5)]}, "08-22 …"),
        ],
    )
    def test_are_named_where_they_change_a_figure(
        self, answer: dict[str, Any], says: str
    ):
        """At the end of the data, and within a week whose outcomes are counted."""
        text = gaps(answer)

        assert text.endswith(says)
        assert bool(text) == bool(says)

    def test_are_beside_the_figures_of_the_week(self):
        """A run that has evaluated nothing says so."""
        answer = {"as_of": "2011-09-01", "weeks": [WEEK], "late_days": ["2011-08-31"]}

        assert evaluation_text(answer).endswith(
            "one_class; the export lacks 1 of its days: 2011-08-31"
        )
        assert evaluation_text({**answer, "weeks": [], "late_days": []}).endswith(
            "evaluate  nothing"
        )
