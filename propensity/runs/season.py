"""
The season as a run follows it: the shift of log-odds that evaluated weeks call for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from propensity.learning import season
from propensity.learning.season import EvaluatedWeek, LevelDifference, Shift

if TYPE_CHECKING:
    from propensity.runs.run import Run


def log_odds_shift(run: Run, version: int) -> Shift | None:
    """
    Return the shift of log-odds for the run's week, and put it into the log line.

    Only what was known on the as-of date counts, so that a rerun has the same shift:
    weeks that had ended, with final figures only where labels were mature by then.

    Args:
        version: The model that scores.

    Returns:
        None where too little is known.
    """
    differences = [
        LevelDifference(**row) for row in run.rows("level_differences", as_of=run.as_of)
    ]
    weeks = season.of_version(_evaluated_weeks(run), differences, version=version)
    shift = season.shift(
        weeks,
        week=run.as_of,
        horizon_days=run.timeframe.horizon_days,
        minimum_conversions=run.settings.minimum_conversions,
        bound=season.MAXIMUM_LOG_ODDS_SHIFT,
    )
    run.log_fields["log_odds_shift"] = shift.log_odds if shift else None
    return shift


def _evaluated_weeks(run: Run) -> list[EvaluatedWeek]:
    timeframe = run.timeframe
    rows = run.rows(
        "season_weeks",
        since=run.as_of - season.MEMORY * timeframe.horizon,
        until=run.as_of - timeframe.horizon,
        final_until=timeframe.newest_matured(today=run.as_of),
        horizon_days=timeframe.horizon_days,
    )
    return [
        EvaluatedWeek(
            week=row["week"],
            model_version=row["model_version"],
            log_odds=row["log_odds"],
            standard_error=row["standard_error"],
            conversions=row["conversions"],
            others=row["users"] - row["conversions"],
            is_final=row["is_final"],
            late=row["late"],
        )
        for row in rows
    ]
