"""
The uplift of audiences: contacted users beside their control group, week by week.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from propensity.audience.boundary import errors_at, progress_at
from propensity.audience.uplift import figures
from propensity.runs.evaluate import CATCH_UP
from propensity.runs.export import status
from propensity.tables.audiences import AUDIENCE_LIFT, GroupSums, Uplift

if TYPE_CHECKING:
    from propensity.runs.run import Run

Key = tuple[str, date]


def publish_uplifts(run: Run) -> list[Uplift]:
    """
    Append and return the uplift of weeks without final metrics, audience by audience.

    Nothing where the use case has no audience, or scores events. Only the users who
    became members in these weeks are read; of earlier weeks there are sums. Figures are
    of all users so far: those after an open week change with it.
    """
    if run.use_case.scores_events:
        return []
    newest = run.as_of - run.timeframe.horizon
    audience_weeks = run.rows("audience_weeks", since=newest - CATCH_UP, until=newest)
    shares = dict[Key, float | None]()
    open_plans = dict[Key, date | None]()
    for week in audience_weeks:
        key = week["audience"], week["week"]
        shares[key] = week["control_share"]
        open_plans[key] = week["planned_until"]
    if not shares:
        return []
    ever = {"since": date(1970, 1, 1), "until": date(9999, 1, 1)}
    # Outcomes that were mature once are so in a run for an earlier date, too.
    final = set[Key]()
    sums = dict[Key, Sequence[GroupSums]]()
    plans = dict[Key, date | None]()
    for row in run.read(Uplift, "audience_lifts", **ever):
        sums[row.audience, row.week] = row.sums
        plans[row.audience, row.week] = row.planned_until
        if row.status == "final":
            final.add((row.audience, row.week))
    sums |= sums_of_weeks(run, shares)
    plans |= open_plans
    rows = list[Uplift]()
    for audience in sorted({name for name, _ in shares}):
        rows += _of_audience(run, audience, sums, shares, plans=plans, final=final)
    run.append(AUDIENCE_LIFT, rows)
    return rows


def _of_audience(
    run: Run,
    audience: str,
    sums: Mapping[Key, Sequence[GroupSums]],
    shares: Mapping[Key, float | None],
    *,
    plans: Mapping[Key, date | None],
    final: set[Key],
) -> list[Uplift]:
    """Return the uplift of an audience from its first open week on."""
    began = min(week for name, week in sums if name == audience)
    first = min(week for name, week in shares if name == audience)
    share = shares[audience, first]
    if share is None:
        share = 0.0
    rows = list[Uplift]()
    so_far = list[GroupSums]()
    users = 0
    # Figures are of all weeks so far, and final once all of these are.
    is_whole = True
    for name, week in sorted(sums):
        if name != audience:
            continue
        groups = sums[name, week]
        so_far += groups
        users += sum(group.users for group in groups)
        if week < first:
            continue
        is_known = (name, week) in final
        is_whole = is_whole and (is_known or status(run, week) == "final")
        if not users:
            continue
        is_final = is_known or is_whole
        until = plans[name, week]
        progress = progress_at(week, first=began, until=until)
        row = Uplift(
            use_case=run.use_case.name,
            audience=audience,
            week=week,
            week_end=week + run.timeframe.horizon,
            status="final" if is_final else "provisional",
            run_id=run.run_id,
            evaluated_at=run.began_at,
            control_share=share,
            planned_until=until,
            sums=groups,
            figures=figures(
                so_far,
                control_share=share,
                errors=errors_at(progress),
                is_final=is_final,
            ),
        )
        rows.append(row)
    return rows


def sums_of_weeks(run: Run, weeks: Iterable[Key]) -> dict[Key, list[GroupSums]]:
    """Return sums by group of weeks; none where all were members before."""
    groups: dict[Key, list[GroupSums]] = {key: [] for key in weeks}
    as_ofs = sorted({week for _, week in groups})
    window = run.use_case.window(run.settings, as_ofs, today=run.as_of)
    sql = run.use_case.statement("audience_outcomes")
    for row in run.warehouse.rows(sql, window):
        key = row["audience"], row["week"]
        if key in groups:
            groups[key].append(GroupSums.of(dict(row)))
    return groups


def shown_uplifts(rows: Sequence[Uplift]) -> dict[str, object]:
    """Return rows for an answer, without the sums; nothing where there are none."""
    shown = [row.columns() for row in rows]
    for row in shown:
        del row["sums"], row["run_id"]
    return {"audiences": shown} if shown else {}
