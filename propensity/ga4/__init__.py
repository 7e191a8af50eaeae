"""
The GA4 export: its view ``ga_events``, with what use cases name, and its days.

The export holds the values that a site sends with its events in two lists,
``event_params`` and ``user_properties``. A use case names the ones that its statements
read, with a type, and each becomes a column of the view.

The export also says for every event whether the user had allowed analytics storage and
ads storage at that moment: Yes, No, or nothing if the site has no consent mode. Only a
Yes is consent. The view leaves out events without it, so that no statement can forget.

A run that reads without the newest day would see every user a day less recent. So it
first looks at the names of the tables, which bills nothing, waits for the newest day,
and after the longest wait goes on as of a day earlier.

Source:
    https://support.google.com/analytics/answer/7029846, privacy_info;
    https://support.google.com/analytics/answer/9976101, consent mode;
    https://support.google.com/analytics/answer/9358801 and 9823238: daily and streaming
    export, their limits, late events.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

from propensity import usecases
from propensity.errors import SchemaError, SettingsError
from propensity.schema import Column, Row, columns_of
from propensity.statements import statement
from propensity.timeframe import DAY, midnight, open_weekdays
from propensity.usecases.declaration import VIEW, Value

if TYPE_CHECKING:
    from propensity.gcp.warehouse import Warehouse
    from propensity.usecases import UseCase

# How names of the export's tables begin, by kind. Of a day the first kind counts.
DAILY = "daily"
PREFIXES = {
    DAILY: "events_",
    "fresh": "events_fresh_",
    "intraday": "events_intraday_",
    "fresh_intraday": "events_fresh_intraday_",
}
KINDS = tuple(PREFIXES)

# The table of a day.
SHARD = re.compile(r"(events_(?:fresh_)?(?:intraday_)?)([0-9]{8})")

# A daily table may come for so long after its day.
DAILY_TABLE_DEADLINE = timedelta(hours=72)

# A streamed table is complete so long after its day.
INTRADAY_COMPLETE_AFTER = timedelta(hours=3)

# After so many days without a daily table a property only streams.
STREAMING_ONLY_AFTER_DAYS = 3

# The statement that reads a value as a type.
_READERS = {
    "STRING": "export_string",
    "INT64": "export_int64",
    "NUMERIC": "export_numeric",
}

# Statements with the view's further conditions, by the setting ``require_consent``.
_CONDITIONS = {
    "false": (),
    "true": ("analytics_consent",),
    "analytics_storage": ("analytics_consent",),
    "ads_storage": ("ads_consent",),
    "both": ("analytics_consent", "ads_consent"),
}


class ExportEvent(Row):
    """
    One row per event of the view ``ga_events``, which ga_events.sql makes.

    Nothing here creates it or reads it as instances: any column may be null.
    """

    table_suffix: Annotated[str, "Local day of the table, YYYYMMDD; prunes"]
    event_timestamp: Annotated[int, "Microseconds since 1970, UTC"]
    event_time: Annotated[datetime, "The same as a moment; null beyond year 9999"]
    event_name: Annotated[str, "For example page_view or purchase"]
    user_pseudo_id: Annotated[str, "Browser or device; null without consent"]
    user_id: Annotated[str, "The site's own id; null before a login"]
    user_first_touch_timestamp: Annotated[int, "First visit, as event_timestamp"]
    ga_session_id: Annotated[int, "Session of the browser or device"]
    ga_session_number: Annotated[int, "1 for a browser's first session, and so on"]
    engagement_ms: Annotated[int, "Milliseconds on screen"]
    event_value: Annotated[Decimal, "Parameter value, in the event's currency"]
    event_value_in_usd: Annotated[Decimal, "The same in US dollars"]
    currency: Annotated[str, "Parameter currency, in capitals, such as EUR"]
    purchase_revenue: Annotated[Decimal, "Amount paid, in the event's currency"]
    purchase_revenue_in_usd: Annotated[Decimal, "The same in US dollars"]
    refund_value: Annotated[Decimal, "Amount refunded, in the event's currency"]
    refund_value_in_usd: Annotated[Decimal, "The same in US dollars"]
    ecommerce_transaction_id: Annotated[str, "Id of a purchase or refund, by GA4"]
    transaction_id: Annotated[str, "The same; else the event's own parameter"]
    n_items: Annotated[int, "Sum of the items' quantities; none is 1"]
    n_distinct_items: Annotated[int, "Different items; those without an id each"]
    source: Annotated[str, "Source of the user's first visit; null if streamed"]
    medium: Annotated[str, "Medium of the user's first visit; null if streamed"]
    device_category: Annotated[str, "desktop, mobile or tablet"]
    operating_system: Annotated[str, "For example Android"]
    country: Annotated[str, "By the user's address"]
    event_digest: Annotated[str, "MD5 of what tells an event from every other"]


# A test holds that these are the view's columns.
GA_EVENTS = columns_of(ExportEvent)


def events_view(
    dataset: str,
    *,
    require: str,
    kinds: Sequence[str] = (DAILY,),
    values: Iterable[Value] | None = None,
) -> str:
    """
    Return the text of the view.

    Args:
        dataset: Project and dataset of the export.
        require: The setting ``require_consent``.
        kinds: Of the tables that it has, of KINDS: BigQuery refuses a wildcard that
            matches none.
        values: The columns that use cases name; by default those of all use cases of
            this deploy.

    Raises:
        UseCaseError: A use case is wrong, or two name a column with different types.
    """
    named = usecases.export_values() if values is None else values
    columns = "".join(map(_selected, named))
    conditions = "".join(map(statement, _CONDITIONS[require]))
    tables = f"`{dataset}.INFORMATION_SCHEMA.TABLES`"
    parts: list[str] = []
    for kind in kinds:
        shards = statement("ga_events_shards", shards=f"`{dataset}.{PREFIXES[kind]}2*`")
        earlier = KINDS[: KINDS.index(kind)]
        if earlier:
            names = "|".join(PREFIXES[other] for other in earlier)
            shards += statement("ga_events_earlier", earlier_kinds=names, tables=tables)
        view = statement(VIEW, shards=f"(\n{shards})", columns_of_use_cases=columns)
        parts.append(view + conditions)
    return "UNION ALL\n".join(parts)


def check_view(warehouse: Warehouse, use_case: UseCase) -> None:
    """
    Make sure that the view leaves out events without consent, and has the columns that
    the use case names.

    Raises:
        SettingsError: It is older than the setting: events without consent would be
            read.
        SchemaError: It lacks a column that the use case names.
        MissingTable: There is no view.
    """
    require = warehouse.settings.require_consent
    if not _CONDITIONS[require] and not use_case.export_values:
        return
    text = warehouse.view_text(VIEW)
    if not all(statement(name).strip() in text for name in _CONDITIONS[require]):
        raise SettingsError(
            f"PROPENSITY_REQUIRE_CONSENT is {require}, but the view {VIEW} reads "
            "events without that consent. Nothing was read",
            hint="Run deploy/setup.sh, which replaces the view",
            field="PROPENSITY_REQUIRE_CONSENT",
        )
    values = use_case.export_values
    missing = [value.column for value in values if _selected(value) not in text]
    if missing:
        raise SchemaError(
            f"the view {VIEW} lacks {', '.join(missing)}, which the use case "
            f"{use_case.name} names",
            hint="Run deploy/setup.sh, which replaces the view",
        )


def kinds_of(names: Iterable[str]) -> list[str]:
    """Return the kinds of tables that are there, in the order in which they count."""
    prefixes = {match[1] for match in map(SHARD.fullmatch, names) if match}
    return [kind for kind in KINDS if PREFIXES[kind] in prefixes]


def kinds_read(view: str) -> list[str]:
    return [kind for kind, name in PREFIXES.items() if f".{name}2*`" in view]


def columns(values: Iterable[Value]) -> list[Column]:
    """Return the columns of the view that hold values."""
    return [
        Column(value.column, value.type, f"{value.key} of {value.record}")
        for value in values
    ]


def _selected(value: Value) -> str:
    """Return the SQL of a value's column in the view."""
    return statement(
        "export_value",
        value=statement(_READERS[value.type]).rstrip(),
        record=value.record,
        key=f"'{value.key}'",
        column=value.column,
    )


# -- days ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The days with a daily table, and those with a fresh or streamed one."""

    daily: frozenset[date] = frozenset()
    intraday: frozenset[date] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str], *, kinds: Collection[str] = KINDS) -> Shards:
        """
        Sort table names; those of no day are left out.

        Of a day only the table of the first kind counts: a view that does not read
        this ``kind`` shows nothing of the day.
        """
        days: dict[date, int] = {}
        order = list(PREFIXES.values())
        for match in filter(None, map(SHARD.fullmatch, names)):
            with contextlib.suppress(ValueError):
                day = date.fromisoformat(match[2])
                rank = order.index(match[1])
                days[day] = min(rank, days.get(day, rank))
        daily = set[date]()
        intraday = set[date]()
        for day, rank in days.items():
            if KINDS[rank] in kinds:
                (daily if KINDS[rank] == DAILY else intraday).add(day)
        return cls(daily=frozenset(daily), intraday=frozenset(intraday))

    @property
    def days(self) -> frozenset[date]:
        """The days with a table of either kind."""
        return self.daily | self.intraday

    def expected(self, first: date, last: date) -> list[date]:
        """
        Return the days of a span that have a table or should have one.

        Nothing is usual yet in an export of less than a week.
        """
        is_new = max(self.days) - min(self.days) < 7 * DAY
        weekdays = set() if is_new else open_weekdays(self.days)
        span = (first + n * DAY for n in range((last - first).days + 1))
        return [day for day in span if day in self.days or day.weekday() in weekdays]


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """
    How far the export can be read.

    Attributes:
        data_until: The newest as-of date, at most the requested, with all days before.
        late: Days from it on without a complete table.
        missing: Earlier days of the window without a table.
        streamed: Days with only a streamed table.
        is_awaited: Whether a late day, or more of a streamed one, may still come.
    """

    data_until: date
    late: tuple[date, ...] = ()
    missing: tuple[date, ...] = ()
    streamed: tuple[date, ...] = ()
    is_awaited: bool = False


def local_days(since: date, until: date, *, utc_offset_hours: int) -> tuple[date, date]:
    """Return the first and the last local day with events of ``[since, until)``."""
    first = since - DAY if utc_offset_hours < 0 else since
    return first, until if utc_offset_hours > 0 else until - DAY


def check_days(
    shards: Shards, since: date, until: date, *, now: datetime, utc_offset_hours: int
) -> Freshness:
    """
    Return how far the export can be read for events of ``[since, until)`` in UTC.

    A window without any day is left to the statements that read it.
    """

    def ends(day: date) -> datetime:
        return midnight(day + DAY) - timedelta(hours=utc_offset_hours)

    def is_there(day: date) -> bool:
        # The window needs the last local day only up to its own end.
        is_over = now >= min(ends(day), midnight(until)) + INTRADAY_COMPLETE_AFTER
        return day in shards.daily or (day in shards.intraday and is_over)

    first, last = local_days(since, until, utc_offset_hours=utc_offset_hours)
    if not any(first <= day <= last for day in shards.days):
        return Freshness(data_until=until)
    read = shards.expected(max(first, min(shards.days)), last)
    late: list[date] = []
    while read and not is_there(read[-1]):
        late.insert(0, read.pop())
    streamed = [day for day in read if day in shards.intraday - shards.daily]
    # A daily table that is still to come has more than the streamed one.
    awaited = list(late)
    for day in streamed:
        if any(
            day - n * DAY in shards.daily
            for n in range(1, STREAMING_ONLY_AFTER_DAYS + 1)
        ):
            awaited.append(day)
    return Freshness(
        data_until=until - (last - late[0] + DAY if late else 0 * DAY),
        late=tuple(late),
        missing=tuple(day for day in read if day not in shards.days),
        streamed=tuple(streamed),
        is_awaited=any(
            ends(day) <= now < ends(day) + DAILY_TABLE_DEADLINE for day in awaited
        ),
    )
