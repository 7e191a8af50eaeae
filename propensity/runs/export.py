"""
The export that a run reads: whether its days are there, and whether it may be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from propensity import freshness
from propensity.errors import ExportLate
from propensity.privacy import consent

if TYPE_CHECKING:
    from propensity.runs.run import Run


def wait_for_training_days(run: Run) -> dict[str, Any]:
    """Do as ``wait_for_days`` with the days that a training reads."""
    timeframe, count = run.timeframe, run.settings.training_snapshots
    newest = timeframe.newest_matured(today=run.as_of)
    oldest = newest - (count - 1) * timeframe.horizon
    return wait_for_days(
        run,
        since=oldest - timedelta(days=timeframe.lookback_days),
        until=newest + timeframe.horizon,
    )


def wait_for_days(
    run: Run, *, since: date | None = None, until: date | None = None
) -> dict[str, Any]:
    """
    See that the days of the export are there, or go on with those that are.

    While the newest may still come the run ends here and is called again. Once that
    has lasted as long as it may, or where it will not come any more, the run goes on as
    of the newest date whose days are all there: a missing day would make every user
    less recent.

    Args:
        since: The first day (UTC) that is read; None for the lookback's.
        until: The day after the last; None for the as-of date.

    Returns:
        What the answer says: ``data_until`` and, where there are some, ``late_days``,
        ``missing_days`` and ``streamed_days``. Nothing for a use case without export.

    Raises:
        ExportLate: The newest day is not there, and may come.
        MissingTable, SettingsError, AccessDenied: The export cannot be read at all.
    """
    export = run.settings.export
    if not (run.use_case.reads_export and export):
        return {}
    until = until or run.as_of
    run.warehouse.check_location(export)
    found = freshness.look(
        freshness.Shards.of(run.warehouse.table_names(export)),
        freshness.Window(
            since=since or run.as_of - timedelta(days=run.use_case.lookback_days),
            until=until,
            now=run.now(),
            utc_offset_hours=run.settings.property_utc_offset_hours,
        ),
        rows=lambda day: run.warehouse.row_count(export, f"events_{day:%Y%m%d}"),
    )
    if found.is_awaited and not run.force:
        _wait(run, found)
    run.is_cut_short = found.data_until < until
    run.as_of -= until - found.data_until
    run.data_until = found.data_until
    summary = {
        "data_until": found.data_until,
        **{
            f"{name}_days": list(days)
            for name in ("late", "missing", "streamed")
            if (days := getattr(found, name))
        },
    }
    run.log_fields.update(summary)
    if found.late or found.missing:
        run.log_fields.update(severity="WARNING", message=_described(found, until))
    return summary


def _wait(run: Run, found: freshness.Freshness) -> None:
    """Raise ExportLate, unless this date's runs have waited as long as they may."""
    lease, now = run.lease, run.now()
    since = (lease.waiting_since if lease else None) or now
    wait_s = freshness.retry_after_s(now - since, run.settings)
    if not wait_s:
        return
    if lease is not None:
        lease.waiting_since = since
    ends = since + timedelta(minutes=run.settings.export_wait_minutes)
    days = _listed(found.late or found.streamed[-1:])
    raise ExportLate(
        f"the export {run.settings.export} is not whole yet: {days} is missing, still "
        f"being loaded, or only streamed. Call again in {wait_s} s or later; from "
        f"{ends:%Y-%m-%d %H:%M} UTC on (PROPENSITY_EXPORT_WAIT_MINUTES), or with "
        f"force, the run goes on as of {found.data_until}",
        retry_after_s=wait_s,
        detail={"late_days": [str(day) for day in found.late]},
    )


def _described(found: freshness.Freshness, until: date) -> str:
    parts = []
    if found.late:
        parts.append(
            f"the export lacks {_listed(found.late)}: went on with what happened "
            f"before {found.data_until} instead of {until}"
        )
    if found.missing:
        parts.append(f"days of the export never came: {_listed(found.missing)}")
    return "; ".join(parts)


def _listed(days: Sequence[date], shown: int = 5) -> str:
    more = f" and {len(days) - shown} more" if len(days) > shown else ""
    return ", ".join(map(str, days[:shown])) + more


def check_consent(run: Run) -> None:
    """Raise SettingsError where the export would be read without asked consent."""
    if run.use_case.reads_export:
        consent.check_view(run.warehouse, run.use_case)
