"""
The threshold of an evaluation: the one that was best on the weeks before.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from propensity.learning.thresholds import best_threshold, pooled

if TYPE_CHECKING:
    from propensity.runs.run import Run

# Evaluations whose outcomes ended within so long before a week: four weeks, or 28 days
# of events. Longer is more certain, shorter follows a season.
MEMORY = timedelta(days=28)

Key = tuple[date, int]
Row = Mapping[str, Any]


def key(row: Row) -> Key:
    """Return the week and the model version of an evaluation."""
    return row["week"], row["model_version"]


def threshold(
    run: Run, known: Mapping[Key, Row], week: date, version: int
) -> float | None:
    """
    Return the threshold of a week's probabilities, as it was known before the week.

    A week that has a threshold keeps it, so that late rows change its metrics alone.
    Else the threshold is the best one on the outcomes that ended within ``MEMORY``
    before the week began, of any version that was published. Scores of events are
    compared with those of their own version: an anomaly score and a probability have
    no common scale. With fewer conversions than ``minimum_conversions`` it is the one
    that the version's training found.

    Args:
        known: Evaluations of this run and of those before it.
    """
    own = known.get((week, version))
    if own and own.get("best_threshold") is not None:
        return float(own["best_threshold"])
    # A week that was published again counts once, by the later version.
    before = {
        of: row["thresholds"]
        for (of, by), row in sorted(known.items())
        if row.get("thresholds")
        and week - MEMORY < row["week_end"] <= week
        and (by == version or not run.use_case.scores_events)
    }
    observed = pooled(before.values())
    if observed.conversions.sum() >= run.settings.minimum_conversions:
        best = best_threshold(observed)
        if best is not None:
            return best
    trained = run.rows("trained_versions", model_versions=[version])
    return trained[0]["best_threshold"] if trained else None
