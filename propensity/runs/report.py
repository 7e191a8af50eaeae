"""
What follows the metrics of an evaluation: the lift of audiences, and a page a week.

The lift compares treated users with those held out, week by week. A report never stops
a run: if it cannot be made or written, the log says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from propensity.audience.lift import figures
from propensity.learning.report import week_page
from propensity.registry.versions import HTML
from propensity.runs.evaluate import CATCH_UP
from propensity.runs.export import missing_label_days, status
from propensity.schema import columns_of
from propensity.tables.audiences import AUDIENCE_LIFT, GroupSums, Lift
from propensity.tables.models import Evaluation

if TYPE_CHECKING:
    from propensity.runs.run import Run

# Weeks (or days) that a report shows before its own.
LOOK_BACK = 12


def report_name(use_case: str, week: date) -> str:
    """Return the object with the report of a week, by the first day of its outcomes."""
    return f"reports/{use_case}/{week.isoformat()}.html"


def write_reports(run: Run, rows: Sequence[Evaluation]) -> dict[str, object]:
    """
    Write a page for each evaluated week, after all else is published.

    Args:
        rows: Weeks without predictions get no page, and neither do days without
            truths.

    Returns:
        For the answer: ``reports``, the objects that were written.
    """
    weeks = sorted({row.week for row in rows if row.metrics and row.metrics.users})
    use_case, names = run.use_case.name, list[str]()
    try:
        for week, page in pages_of_weeks(run, weeks, rows) if weeks else ():
            run.check_lease()
            name = report_name(use_case, week)
            run.artifacts.overwrite(name, page.encode(), content_type=HTML)
            names.append(name)
    except Exception as error:  # an evaluation is worth more than its page
        why = f"reports not written: {type(error).__name__}: {error}"
        run.log("WARNING", why, weeks=weeks[len(names) :])
    return {"reports": names} if names else {}


def _shown(row: Evaluation | Lift) -> dict[str, object]:
    """Return a row for a page, with null where it has no value."""
    nulls = dict.fromkeys(column.name for column in columns_of(type(row)))
    return {**nulls, **row.columns()}


def up_to(week: date, rows: Sequence[Evaluation], *, first: date) -> list[Evaluation]:
    """
    Return the rows of a week and of those before it, oldest first.

    Longer outcomes are evaluated each week as well, and a page shows no more of them.
    """
    weeks = sorted({row.week for row in rows if first <= row.week <= week})
    shown = weeks[-LOOK_BACK - 1 :]
    return [row for row in rows if row.week in shown]


def pages_of_weeks(
    run: Run, weeks: Sequence[date], rows: Sequence[Evaluation]
) -> Iterator[tuple[date, str]]:
    """Yield weeks with their pages, in which is nothing from after the week."""
    use_case, horizon = run.use_case, run.timeframe.horizon
    first, last = weeks[0], weeks[-1]
    back = LOOK_BACK * (timedelta(days=1) if use_case.scores_events else horizon)
    evaluated = run.read(Evaluation, "evaluations", since=first - back, until=last)
    known = [row for row in evaluated if row.model_version >= 0]
    versions = sorted({row.model_version for row in known}) or [-1]
    trained = run.rows("trained_versions", model_versions=versions)
    alarms: Sequence[Any] = ()
    lifts: Sequence[Lift] = ()
    if not use_case.scores_events:
        # Alarms of a publication within the week are of its own report.
        alarms = run.rows("alarms_to_report", since=first, until=last)
        lifts = run.read(Lift, "audience_lifts", since=first, until=last + horizon)
    final = {(row.week, row.model_version) for row in known if row.status == "final"}
    for week in weeks:
        own = [row for row in rows if row.week == week]
        # A run of a newer date has made the week final: its page stays.
        provisional = {
            (row.week, row.model_version) for row in own if row.status != "final"
        }
        if provisional & final:
            continue
        page = week_page(
            use_case,
            week,
            rows=[*map(_shown, own)],
            weeks=[*map(_shown, up_to(week, known, first=week - back))],
            trained={row["model_version"]: row for row in trained},
            alarms=[row for row in alarms if row["as_of"] == week],
            lifts=[_shown(row) for row in lifts if week <= row.week < week + horizon],
            lacked=missing_label_days(run, week),
        )
        yield week, page


# -- the lift of audiences ------------------------------------------------------------

Key = tuple[str, date]


def publish_lifts(run: Run) -> list[Lift]:
    """
    Append and return the lift of weeks without final metrics, audience by audience.

    Nothing where the use case has no audience, or scores events. Only the users who
    became members in these weeks are read; of earlier weeks there are sums. Figures are
    of all users so far: those after an open week change with it.
    """
    if run.use_case.scores_events:
        return []
    newest = run.as_of - run.timeframe.horizon
    found = run.rows("audience_weeks", since=newest - CATCH_UP, until=newest)
    shares = {(row["audience"], row["week"]): row["control_share"] for row in found}
    if not shares:
        return []
    ever = {"since": date(1970, 1, 1), "until": date(9999, 1, 1)}
    # Outcomes that were mature once are so in a run for an earlier date, too.
    final, sums = set[Key](), dict[Key, Sequence[GroupSums]]()
    for row in run.read(Lift, "audience_lifts", **ever):
        sums[row.audience, row.week] = row.sums
        if row.status == "final":
            final.add((row.audience, row.week))
    sums |= sums_of_weeks(run, shares)
    rows = list[Lift]()
    for audience in sorted({name for name, _ in shares}):
        rows += _of_audience(run, audience, sums, shares, final=final)
    run.append(AUDIENCE_LIFT, rows)
    return rows


def _of_audience(
    run: Run,
    audience: str,
    sums: Mapping[Key, Sequence[GroupSums]],
    shares: Mapping[Key, float | None],
    *,
    final: set[Key],
) -> list[Lift]:
    """Return the lift of an audience from its first open week on."""
    first = min(week for name, week in shares if name == audience)
    share, rows = shares[audience, first] or 0.0, list[Lift]()
    so_far, users = list[GroupSums](), 0
    for name, week in sorted(sums):
        if name != audience:
            continue
        groups = sums[name, week]
        so_far += groups
        users += sum(group.users for group in groups)
        if week < first or not users:
            continue
        is_final = (name, week) in final or status(run, week) == "final"
        row = Lift(
            use_case=run.use_case.name,
            audience=audience,
            week=week,
            week_end=week + run.timeframe.horizon,
            status="final" if is_final else "provisional",
            run_id=run.run_id,
            evaluated_at=run.began_at,
            control_share=share,
            sums=groups,
            figures=figures(so_far, control_share=share, is_final=is_final),
        )
        rows.append(row)
    return rows


def sums_of_weeks(run: Run, weeks: Iterable[Key]) -> dict[Key, Sequence[GroupSums]]:
    """Return sums by group of weeks; none where all were members before."""
    groups: dict[Key, Sequence[GroupSums]] = dict.fromkeys(weeks, ())
    as_ofs = sorted({week for _, week in groups})
    window = run.use_case.window(run.settings, as_ofs, today=run.as_of)
    sql = run.use_case.statement("audience_outcomes")
    for row in run.warehouse.rows(sql, window):
        where = row["audience"], row["week"]
        if where in groups:
            groups[where] = [*groups[where], GroupSums.of(dict(row))]
    return groups


def shown_lifts(rows: Sequence[Lift]) -> dict[str, object]:
    """Return rows for an answer, without the sums; nothing where there are none."""
    shown = [row.columns() for row in rows]
    for row in shown:
        del row["sums"], row["run_id"]
    return {"audiences": shown} if shown else {}
