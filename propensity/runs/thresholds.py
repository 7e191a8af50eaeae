"""
The thresholds of an evaluation: each was best on the weeks before, as then known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from propensity.learning import thresholds
from propensity.learning.thresholds import Selection

if TYPE_CHECKING:
    from propensity.runs.run import Run

# Evaluations whose outcomes ended within so long before a week: four weeks, or 28 days
# of events. Longer is more certain, shorter follows a season.
MEMORY = timedelta(days=28)

_Key = tuple[date, int]


class EarlierWeeks:
    """
    What is known of earlier weeks when a week is evaluated.

    A week that has a threshold keeps it, so that a later run with late rows changes its
    metrics and not its threshold. Else the threshold is the best one on the outcomes
    that ended within ``MEMORY`` before the week began, of any version that was
    published, as they were evaluated before this run. Weeks that were not count as this
    run evaluates them. With fewer conversions than ``minimum_conversions`` it is the
    one that the version's training found.

    Scores of events are compared with those of their own version only: an anomaly
    score and a probability have no common scale.
    """

    def __init__(self, run: Run, weeks: Sequence[date]) -> None:
        """Read what is known before any of these weeks is evaluated."""
        self._run = run
        known: Sequence[Any] = ()
        if weeks:
            since = min(weeks) - run.timeframe.horizon - MEMORY
            known = run.rows("evaluations_before", since=since, until=max(weeks))
        self._rows: dict[_Key, Mapping[str, Any]] = {_key(row): row for row in known}
        self._trained: dict[int, float | None] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a week's evaluation, unless an earlier run has evaluated it."""
        known = self._rows.get(_key(row))
        if row.get("thresholds") and not (known and known["thresholds"]):
            self._rows[_key(row)] = row

    def selection(self, week: date, version: int) -> Selection:
        """Return the threshold and the budget of a week's probabilities."""
        return Selection(
            budget=self._run.use_case.chosen_budget(self._run.settings),
            threshold=self._threshold((week, version)),
        )

    def _threshold(self, key: _Key) -> float | None:
        week, version = key
        known = self._rows.get(key)
        if known and known["best_threshold"] is not None:
            return float(known["best_threshold"])
        observed = thresholds.pooled(self._before(week, version))
        if observed.conversions.sum() >= self._run.settings.minimum_conversions:
            best = thresholds.best_threshold(observed)
            if best is not None:
                return best
        if version not in self._trained:
            rows = self._run.rows("trained_versions", model_versions=[version])
            self._trained[version] = rows[0]["best_threshold"] if rows else None
        return self._trained[version]

    def _before(
        self, week: date, version: int
    ) -> Iterator[Sequence[Mapping[str, Any]]]:
        """Yield the counts by threshold of the evaluations before a week."""
        newest: dict[_Key, Mapping[str, Any]] = {}
        for key, row in sorted(self._rows.items()):
            if not row["thresholds"] or not week - MEMORY < row["week_end"] <= week:
                continue
            if not self._run.use_case.scores_events:
                # A week that was published again counts once, by the later version.
                newest[(row["week"], 0)] = row
            elif row["model_version"] == version:
                newest[key] = row
        for row in newest.values():
            yield row["thresholds"]


def _key(row: Mapping[str, Any]) -> _Key:
    return row["week"], row["model_version"]
