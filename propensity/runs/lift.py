"""
The lift of audiences as a run: treated users against those held out, week by week.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from propensity.learning.lift import GROUP, Week, figures
from propensity.runs.evaluate import CATCH_UP
from propensity.runs.export import status
from propensity.tables import every as tables

if TYPE_CHECKING:
    from propensity.runs.run import Run

Key = tuple[str, date]
Row = Mapping[str, Any]

_SUMS = ("is_control", *GROUP)


def lifts(run: Run) -> list[dict[str, Any]]:
    """
    Return the rows of ``ma_audience_lift`` for weeks without final metrics.

    Nothing where the use case has no audience, or scores events. Only the users who
    became members in these weeks are read; of earlier weeks there are sums. Figures are
    of all users so far: those after an open week change with it.
    """
    if run.use_case.scores_events:
        return []
    newest = run.as_of - run.timeframe.horizon
    found = run.rows("audience_weeks", since=newest - CATCH_UP, until=newest)
    open_weeks = {_key(row): row["control_share"] for row in found}
    if not open_weeks:
        return []
    every = run.rows("audience_lifts", since=date(1970, 1, 1), until=date(9999, 1, 1))
    # What was mature once is so in a run for an earlier date, too.
    final = {_key(row) for row in every if row["status"] == "final"}
    sums = {_key(row): row["sums"] for row in every} | _outcomes(run, open_weeks)
    rows = []
    for audience in sorted({of for of, _ in open_weeks}):
        first = min(week for of, week in open_weeks if of == audience)
        weeks = [
            Week(
                week=week,
                control_share=open_weeks[audience, first],
                sums=[{name: group[name] for name in _SUMS} for group in groups],
                is_final=(of, week) in final or status(run, week) == "final",
            )
            for (of, week), groups in sorted(sums.items())
            if of == audience
        ]
        rows += [
            {
                "use_case": run.use_case.name,
                "audience": audience,
                "week_end": row["week"] + run.timeframe.horizon,
                "status": "final" if week.is_final else "provisional",
                "evaluated_at": run.began_at,
                **row,
            }
            for week, row in zip(weeks, figures(weeks), strict=True)
            if week.week >= first and (row["treated_users"] or row["control_users"])
        ]
    return rows


def _key(row: Row) -> Key:
    return row["audience"], row["week"]


def _outcomes(run: Run, open_weeks: Iterable[Key]) -> dict[Key, list[Row]]:
    """Return sums by group of open weeks; none where all members were some before."""
    groups: dict[Key, list[Row]] = {key: [] for key in open_weeks}
    weeks = sorted({week for _, week in groups})
    window = run.use_case.window(run.settings, weeks, today=run.as_of)
    sql = run.use_case.statement("audience_outcomes")
    for row in run.warehouse.rows(sql, {**window, "use_case": run.use_case.name}):
        if _key(row) in groups:
            groups[_key(row)].append(row)
    return groups


def publish_lifts(run: Run, rows: Sequence[Row]) -> None:
    """Append the rows of these audiences and weeks; readers see the newest of each."""
    run.append(tables.AUDIENCE_LIFT, rows)


def answered(rows: Sequence[Row]) -> dict[str, Any]:
    """Return rows for an answer, without the sums; nothing where there are none."""
    shown = [{k: v for k, v in row.items() if k != "sums"} for row in rows]
    return {"audiences": shown} if shown else {}
