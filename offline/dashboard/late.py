"""Evaluations and probabilities of a use case that are late."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import date, timedelta

from offline.dashboard.reading import Row

# After so many horizons without it a person should look.
_LATE = 2


def is_late(newest: date, *, as_of: date, horizon_days: int) -> bool:
    """Tell whether what comes once a horizon is missing since its newest date."""
    return as_of - newest > _LATE * timedelta(days=horizon_days)


def sentences(
    evaluations: Sequence[Row],
    published: Collection[date],
    *,
    as_of: date,
    horizon_days: int,
    is_of_events: bool,
) -> Iterator[tuple[str, str]]:
    """
    Yield what to do about what is late, each with the statement that says so.

    Args:
        evaluations: Of weeks, or of days of events.
        is_of_events: Whether events are scored: nobody publishes these, and a day
            without any is none that 01-Predictions has missed.
    """
    measured = [row for row in evaluations if row["outcome"] != "no_predictions"]
    looked_at = measured if is_of_events else evaluations
    newest = max((row["week_end"] for row in looked_at), default=None)
    if newest is not None and is_late(newest, as_of=as_of, horizon_days=horizon_days):
        yield (
            f"Nothing was evaluated since {newest}: see what propensity doctor says.",
            "evaluations",
        )
    if is_of_events:
        return
    last = max(published, default=None)
    if last is not None and is_late(last, as_of=as_of, horizon_days=horizon_days):
        yield (
            f"Nobody got a probability since {last}: call 01-Predictions.",
            "publications",
        )
        return
    missed = max(
        (row["week"] for row in evaluations if row["week_end"] == newest), default=None
    )
    has_figures = any(row["week_end"] == newest for row in measured)
    # A later publication waits for its outcomes.
    if missed is not None and not has_figures and (last is None or last <= missed):
        yield (
            f"The week of {missed} had no probabilities: call 01-Predictions.",
            "evaluations",
        )
