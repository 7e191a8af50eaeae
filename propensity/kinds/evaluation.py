"""What is evaluated at once, by the kind of a use case's rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from propensity.runs.evaluate_weeks import weeks
from propensity.runs.evaluation import Evaluated
from propensity.runs.run import Run


def weeks_or_days(run: Run, since: date, until: date) -> Iterator[Evaluated]:
    """Yield the evaluations of weeks of users, or of days of events."""
    if run.use_case.scores_events:
        # Only evaluations of events need these.
        from propensity.streaming.cards.evaluate_days import days

        return days(run, since, until)
    return weeks(run, since, until)
