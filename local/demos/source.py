"""The export that a demo plays: generated, or the user's, checked."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta

from local.errors import UnusableData
from local.exports import ga4_export, sources
from local.exports.ga4_export import ExportError, Summary
from local.generators.export import Shop
from local.play import Choice
from local.progress import say, step
from propensity.errors import SchemaError
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.timeframe import Timeframe, open_weekdays
from propensity.usecases import UseCase

DAY = timedelta(days=1)


def opened(warehouse: Warehouse, options: Choice, use_case: UseCase) -> Shop | Summary:
    """
    Generate or load the export that the options name, and the sources beside it.

    Raises:
        UnusableData: The user's data do not do.
    """
    if options.path is None:
        say("Generating a shop's export …")
        with step("generating"):
            return Shop()
    say(f"Loading {options.data} …")
    settings, path = warehouse.settings, options.path
    try:
        summary = ga4_export.load_export(warehouse.client, settings.ga4_dataset, path)
        folder = path if path.is_dir() else path.parent
        sources.load_folder(warehouse.client, folder, use_case)
    except (ExportError, SchemaError) as error:
        raise UnusableData(str(error)) from error
    first, last = min(summary.dates), max(summary.dates)
    say(
        f"{summary.rows:,} events of {summary.users:,} users on {len(summary.dates)} "
        f"days, {first} to {last}; the last whole day in UTC is {summary.last_full_day}"
    )
    if lacking := gaps(summary.dates):
        say(lacking)
    check(summary, settings, today=datetime.now(UTC).date())
    return summary


def gaps(dates: Collection[date]) -> str:
    """
    Return which days are missing between the first and the last; empty for none.

    A shop that is closed on Saturdays has no table of them, and nothing is wrong.
    """
    first, weekdays = min(dates), open_weekdays(dates)
    days = (first + n * DAY for n in range((max(dates) - first).days))
    missing = [f"{d}" for d in days if d not in dates and d.weekday() in weekdays]
    if not missing:
        return ""
    named = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
    return f"The export lacks {len(missing)} of its days: {named}"


def check(summary: Summary, settings: Settings, *, today: date) -> None:
    """
    Refuse an export from which nothing can be learned.

    Args:
        summary: Of the export.
        settings: Say who a user is, and which event is predicted.
        today: UTC.

    Raises:
        UnusableData: Says what is missing.
    """
    if settings.label_event and settings.label_event not in summary.events:
        raise UnusableData(
            f"no event of the data is a {settings.label_event!r}; LABEL_EVENT can be "
            f"one of {', '.join(sorted(summary.events))}"
        )
    if settings.user_column and settings.user_column not in summary.user_columns:
        others = sorted(summary.user_columns)
        raise UnusableData(
            f"no event of the data has a {settings.user_column}, so there are no users"
            + (f"; USER_COLUMN can be {others[0]}" if others else "")
        )
    # East of Greenwich it is tomorrow already.
    last = max(summary.dates)
    if last > today + DAY:
        raise UnusableData(
            f"the data go on until {last}, which is still to come: "
            "leave the events out whose event_date is wrong"
        )


def chosen_weeks(
    source: Shop | Summary, use_case: UseCase, settings: Settings, *, count: int
) -> list[date]:
    """
    Return the as-of dates to predict on: the last whose outcomes the data hold.

    Raises:
        UnusableData: The data are too short to train before the first of them.
    """
    horizon_days, last = use_case.horizon_days, source.last_full_day
    allowed = weeks_allowed(source.dates, last, use_case)
    # Three snapshots to train, choose and hold out, and the days until they are final.
    needed = 3 + -(-(horizon_days + settings.settle_days) // horizon_days)
    weeks = allowed[needed:][-count:]
    if not weeks:
        days = use_case.lookback_days + horizon_days * (needed + 1)
        oldest = last + DAY - timedelta(days=(needed + 1) * horizon_days)
        raise UnusableData(
            f"the data are from {min(source.dates)} to {last}: too short to train on "
            f"and to evaluate after. About {days} days are needed, "
            f"{use_case.lookback_days} of them before the first snapshot, {oldest}: "
            "a tenth of these may be missing"
        )
    return weeks


def weeks_allowed(dates: Collection[date], last: date, use_case: UseCase) -> list[date]:
    """
    List the as-of dates that a data set can be evaluated at, oldest first.

    One horizon apart, counted back from the last whole day, with which the newest label
    window ends; each has data on nine tenths of its lookback.
    """
    timeframe = Timeframe(
        lookback_days=use_case.lookback_days,
        horizon_days=use_case.horizon_days,
        settle_days=0,
    )
    at_most = 1 + (last - min(dates)).days // use_case.horizon_days
    return [*timeframe.snapshots(today=last + DAY, days=dates, at_most=at_most)]
