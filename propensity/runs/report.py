"""
The page of each evaluated week.

A report never stops a run: if it cannot be made or written, the log says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from propensity.audience.result import result, sentence
from propensity.registry.versions import HTML
from propensity.runs.export import missing_label_days
from propensity.schema import columns_of
from propensity.tables.models import Evaluation
from propensity.weeks.evaluations import report_name
from propensity.weeks.week_report import week_page

if TYPE_CHECKING:
    from propensity.runs.run import Run

# Weeks (or days) that a report shows before its own.
LOOK_BACK = 12


def write_reports(run: Run, rows: Sequence[Evaluation]) -> dict[str, object]:
    """
    Write a page for each evaluated week, after all else is published.

    Args:
        rows: Weeks without predictions get no page, and neither do days without
            truths.
    """
    weeks = sorted({row.week for row in rows if row.metrics and row.metrics.users})
    use_case = run.use_case.name
    names = list[str]()
    try:
        for week, page in pages_of_weeks(run, weeks, rows):
            run.check_lease()
            name = report_name(use_case, week)
            run.artifacts.overwrite(name, page.encode(), content_type=HTML)
            names.append(name)
    except Exception as error:  # an evaluation is worth more than its page
        why = f"reports not written: {type(error).__name__}: {error}"
        run.log("WARNING", why, weeks=weeks[len(names) :])
    return {"reports": names} if names else {}


def _shown(row: Evaluation) -> dict[str, object]:
    """Return a row for a page, with null where it has no value."""
    nulls = dict.fromkeys(column.name for column in columns_of(Evaluation))
    return {**nulls, **row.columns()}


def up_to(week: date, rows: Sequence[Evaluation], *, first: date) -> list[Evaluation]:
    """
    Return the rows of a week and of those before it, oldest first.

    Longer outcomes are evaluated each week as well, and a page shows no more of them.
    """
    weeks = sorted({row.week for row in rows if first <= row.week <= week})
    newest_weeks = weeks[-LOOK_BACK - 1 :]
    return [row for row in rows if row.week in newest_weeks]


def pages_of_weeks(
    run: Run, weeks: Sequence[date], rows: Sequence[Evaluation]
) -> Iterator[tuple[date, str]]:
    """Yield weeks with their pages, in which is nothing from after the week."""
    if not weeks:
        return
    use_case = run.use_case
    horizon = run.timeframe.horizon
    first = weeks[0]
    last = weeks[-1]
    kind = use_case.kind
    days = kind.evaluated_days or use_case.horizon_days
    back = LOOK_BACK * timedelta(days=days)
    evaluated = run.read(Evaluation, "evaluations", since=first - back, until=last)
    with_version = [row for row in evaluated if row.model_version >= 0]
    versions = sorted({row.model_version for row in with_version})
    trained = run.rows("trained_versions", model_versions=versions)
    alarms: Sequence[Any] = ()
    uplifts = list[Mapping[str, Any]]()
    if kind.is_published:
        # Alarms of a publication within the week are of its own report.
        alarms = run.rows("alarms_to_report", since=first, until=last)
        for row in run.rows("audience_lifts", until=last + horizon):
            brought = result(row)
            uplifts.append({**row, "brought": sentence(brought, use_case.currency)})
    final = {
        (row.week, row.model_version) for row in with_version if row.status == "final"
    }
    for week in weeks:
        evaluations = [row for row in rows if row.week == week]
        # A run of a newer date has made the week final: its page stays.
        provisional = {
            (row.week, row.model_version)
            for row in evaluations
            if row.status != "final"
        }
        if provisional & final:
            continue
        page = week_page(
            use_case,
            week,
            days=days,
            rows=list(map(_shown, evaluations)),
            weeks=list(map(_shown, up_to(week, with_version, first=week - back))),
            trained={row["model_version"]: row for row in trained},
            alarms=[row for row in alarms if row["as_of"] == week],
            uplifts=[row for row in uplifts if week <= row["week"] < week + horizon],
            lacked=missing_label_days(run, week, run.missing_days),
        )
        yield week, page
