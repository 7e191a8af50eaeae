"""
The reports of an evaluation: a page for each week, with what is known beside its row.

A report never stops a run: where it cannot be made or written, the log says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from propensity.errors import PropensityError
from propensity.learning.report.week import Report, week_page
from propensity.registry.reports import write_report
from propensity.runs.export import lacked_days

if TYPE_CHECKING:
    from propensity.runs.run import Run

Row = Mapping[str, Any]

# Weeks (or days) that a report shows before its own.
LOOK_BACK = 12

_MEASURED = ("evaluated", "one_class")


def write_reports(run: Run, rows: Sequence[Row]) -> dict[str, Any]:
    """
    Write a page for each evaluated week, after all else is published.

    Args:
        rows: Of ``ma_model_evaluation``; weeks without predictions get no
            page, and neither do days without truths.

    Returns:
        For the answer: ``reports``, the objects that were written.
    """
    # A day of which no truth is known yet has a row, and nothing to show.
    weeks = sorted(
        {row["week"] for row in rows if row["outcome"] in _MEASURED and row["users"]}
    )
    if not weeks:
        return {}
    names = []
    artifacts, use_case = run.registry.artifacts, run.use_case.name
    try:
        known = _Known(run, weeks)
        for week in weeks:
            if known.is_settled(week, rows):
                continue
            page = week_page(known.report(week, rows))
            run.check_lease()
            names.append(write_report(artifacts, use_case, week=week, page=page))
    except Exception as error:  # an evaluation is worth more than its page
        run.warn(
            f"reports not written: {type(error).__name__}: {error}",
            use_case=use_case,
            weeks=weeks[len(names) :],
        )
    return {"reports": names} if names else {}


class _Known:
    """What the tables have beside the rows of a run, read once for all its weeks."""

    def __init__(self, run: Run, weeks: Sequence[date]) -> None:
        """Read it; ``weeks`` are those that get a report, oldest first."""
        self._run = run
        self._step = timedelta(days=1) if _is_daily(run) else run.timeframe.horizon
        before = weeks[0] - LOOK_BACK * self._step
        self._weeks = self._read("weeks_to_report", since=before, until=weeks[-1]) or []
        versions = sorted({row["model_version"] for row in self._weeks})
        self._trained = {}
        if versions:
            self._trained = {
                row["model_version"]: row
                for row in self._read("trained_figures", model_versions=versions) or []
            }
        end = weeks[-1] + run.timeframe.horizon - timedelta(days=1)
        self._alarms: Sequence[Row] | None = []
        self._lifts: Sequence[Row] | None = []
        if not _is_daily(run):
            # Those of a publication within the week are of its own report.
            self._alarms = self._read(
                "alarms_to_report", since=weeks[0], until=weeks[-1]
            )
            self._lifts = self._read("lifts_to_report", since=weeks[0], until=end)

    def _read(self, name: str, **parameters: Any) -> Sequence[Row] | None:
        """Read rows; None, and a line of the log, where a table cannot be read."""
        try:
            return self._run.rows(name, **parameters)
        except PropensityError as error:
            self._run.warn(f"not reported: {error}")
            return None

    def is_settled(self, week: date, rows: Sequence[Row]) -> bool:
        """Tell whether a run of a newer date has made a week final meanwhile."""
        final = {
            (row["week"], row["model_version"])
            for row in self._weeks
            if row["status"] == "final"
        }
        return any(
            row["status"] != "final" and (week, row["model_version"]) in final
            for row in rows
            if row["week"] == week
        )

    def report(self, week: date, rows: Sequence[Row]) -> Report:
        """Return what a week's report is made of: nothing that came after the week."""
        use_case, end = self._run.use_case, week + self._run.timeframe.horizon
        first = week - LOOK_BACK * self._step
        return Report(
            use_case=use_case.name,
            title=use_case.title,
            outcome=use_case.outcome,
            entity=use_case.entity if use_case.scores_events else "user",
            week=week,
            is_daily=_is_daily(self._run),
            rows=[row for row in rows if row["week"] == week],
            weeks=[row for row in self._weeks if first <= row["week"] <= week],
            trained=self._trained,
            alarms=self._alarms
            and [row for row in self._alarms if row["as_of"] == week],
            lifts=self._lifts
            and [row for row in self._lifts if week <= row["week"] < end],
            lacked=lacked_days(self._run, week),
        )


def _is_daily(run: Run) -> bool:
    return run.use_case.scores_events
