"""The export that a demo plays: generated, or the user's, checked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import date

from local.demos import Choice
from local.errors import LocalError
from local.exports import ga4_export, sources
from local.exports.sources import Summary
from local.generators.shop import Shop
from propensity.cli.progress import say, step
from propensity.errors import SchemaError
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.timeframe import DAY, Timeframe
from propensity.usecases import UseCase

# Days of the generated export, and of these before the first week; more if the use case
# and the weeks need them.
DAYS = 365
HISTORY_DAYS = 262


def opened(warehouse: Warehouse, options: Choice, use_case: UseCase) -> Shop | Summary:
    """
    Generate the export of a demo, or load the user's; raise LocalError if it can't.
    """
    path = options.events if options.data is None else options.data
    events = use_case.own_events
    if bool(options.events) != bool(events):
        reads = (
            f"events of its own, {events.table}" if events else "no events of its own"
        )
        raise LocalError(
            f"{use_case.name} reads {reads}, by its usecase.toml",
            hint="Use EVENTS=… with a USE_CASE that has [events], and no other",
        )
    if path is None:
        say("Generating a shop's export …")
        frame = use_case.timeframe(warehouse.settings)
        history = max(HISTORY_DAYS, needed_days(frame))
        with step("generating"):
            return Shop(days=max(DAYS, history + options.weeks * frame.horizon_days))
    say(f"Loading {path} …")
    client = warehouse.client
    settings = warehouse.settings
    try:
        if events:
            summary = sources.load_events(client, path, events)
        else:
            summary = ga4_export.load_export(client, settings.ga4_dataset, path)
        sources.load_folder(client, path if path.is_dir() else path.parent, use_case)
    except SchemaError as error:
        raise LocalError(error.problem, hint=error.hint) from error
    for remark in summary.remarks:
        say(remark)
    say(
        f"{summary.rows:,} events of {summary.users:,} users on {len(summary.dates)} "
        f"days, {min(summary.dates)} to {max(summary.dates)}; the last whole day in "
        f"UTC is {summary.last_full_day}"
    )
    if events:
        event = use_case.parameters.get("converting_event", "") if events.name else ""
        settings = replace(settings, label_event=str(event), user_column="")
    check(summary, settings)
    return summary


def check(summary: Summary, settings: Settings) -> None:
    """Refuse an export without users, or without the event that is predicted."""
    for variable, wanted, choices in (
        ("LABEL_EVENT", settings.label_event, summary.events),
        ("USER_COLUMN", settings.user_column, summary.user_columns),
    ):
        if wanted and wanted not in choices:
            hint = f"Set {variable} to one of {', '.join(sorted(choices))}"
            if not choices:
                hint = (
                    "No row has a user and an event: name a file whose rows have both"
                )
            raise LocalError(f"the data have no {wanted!r}", hint=hint)


def chosen_weeks(
    source: Shop | Summary, use_case: UseCase, settings: Settings, *, count: int
) -> list[date]:
    """Return the as-of dates to predict on: the last whose outcomes the data hold."""
    last = source.last_full_day
    frame = use_case.timeframe(settings)
    weeks = []
    for week in weeks_allowed(source.dates, last, use_case):
        snapshots = frame.snapshots(
            today=week, days=source.dates, at_most=settings.training_snapshots
        )
        if frame.are_enough(snapshots):
            weeks.append(week)
    if not weeks:
        raise LocalError(
            f"not enough data: a demo needs about {needed_days(frame)} days, and yours "
            f"are from {min(source.dates)} to {last}",
            hint="Use a longer export",
        )
    return weeks[-count:]


def needed_days(timeframe: Timeframe) -> int:
    """Return about how many days a first training needs, and an outcome after it."""
    spacing = max(timeframe.stride, timeframe.horizon) + timeframe.stride
    outcomes = 2 * timeframe.horizon_days + timeframe.settle_days
    return timeframe.lookback_days + spacing.days + outcomes


def weeks_allowed(dates: Collection[date], last: date, use_case: UseCase) -> list[date]:
    """
    List the as-of dates that a data set can be evaluated at, oldest first.

    One horizon apart, counted back from the last whole day, with which the newest label
    window ends; each has data on nine tenths of its lookback.
    """
    lookback = use_case.lookback_days
    horizon = use_case.horizon_days
    frame = Timeframe(lookback_days=lookback, horizon_days=horizon, settle_days=0)
    at_most = 1 + (last - min(dates)).days // horizon
    return list(frame.snapshots(today=last + DAY, days=dates, at_most=at_most))
