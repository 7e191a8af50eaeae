"""How old the GA4 export is, for runs that digest its days, and for the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propensity.errors import PropensityError
from propensity.ga4.shards import Shards, age_days
from propensity.runs.late import EXPORT_STOPPED_DAYS
from propensity.timeframe import DAY

if TYPE_CHECKING:
    from propensity.runs.run import Run


def age_of_export(run: Run) -> dict[str, object]:
    """
    Return ``export_age_days`` for the answer of a run that reads no day itself.

    Nothing of a use case without an export, nor where the export can't be read: a log
    line says so, and the run goes on.
    """
    if not run.use_case.reads_export or not run.settings.ga4_dataset:
        return {}
    try:
        names = run.warehouse.tables_of(run.settings.export)
    except PropensityError as error:
        run.log("WARNING", f"nobody knows how old the export is: {error.message}")
        return {}
    shards = Shards.of(names)
    # One that has just been linked has no age.
    return {"export_age_days": days_of_age(run, shards)} if shards.days else {}


def days_of_age(run: Run, shards: Shards) -> int:
    """Return how many days before the run's date the export ends; log if it stopped."""
    days = age_days(shards, run.as_of, now=run.now())
    if days > EXPORT_STOPPED_DAYS:
        # The alert of this name mails the line.
        run.log(
            "WARNING",
            f"the GA4 export {run.settings.export} has stopped: its last whole day is "
            f"{run.as_of - (days + 1) * DAY}",
            export_age_days=days,
        )
    return days
