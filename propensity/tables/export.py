"""
The digest of the GA4 export: what statements read of its events, a day at a time.

Partitions are days of the export, by the names of its tables: a day that changes is
replaced whole, with its row of ``ga_digested_days``.

Another property's export has a view and a digest of its own, whose names end with the
name of its dataset. Statements say the plain names: ``gcp.queries`` writes the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated

from propensity.schema import Count, Money, Row, Table

Text = str | None

ExportDay = Annotated[date, "Local day of the export's table"]
Browser = Annotated[Text, "Browser or device; null without consent"]
Login = Annotated[Text, "The site's own id; null before a login"]


class UserDay(Row):
    """One row per table of the export, browser, user id and UTC day."""

    export_day: ExportDay
    user_pseudo_id: Browser
    user_id: Login
    day: Annotated[date, "UTC day of the events"]
    first_event: Annotated[int, "Microseconds since 1970, UTC"]
    last_event: Annotated[int, "Microseconds since 1970, UTC"]
    first_touch: Annotated[Count, "First visit, as event_timestamp"]
    n_events: Annotated[int, "Events, each once"]
    session_number: Annotated[Count, "Highest number of a session"]
    engagement_ms: Annotated[Count, "Milliseconds on screen"]
    n_page_views: Annotated[int, "Events of this name"]
    n_view_items: Annotated[int, "Events of this name"]
    n_add_to_carts: Annotated[int, "Events of this name"]
    n_begin_checkouts: Annotated[int, "Events of this name"]
    session_ids: Annotated[Sequence[int], "Sessions, each once"]
    source: Annotated[Text, "As of the day's last event"]
    medium: Annotated[Text, "As of the day's last event"]
    device_category: Annotated[Text, "As of the day's last event"]
    operating_system: Annotated[Text, "As of the day's last event"]
    country: Annotated[Text, "As of the day's last event"]


USER_DAYS = Table(
    name="ga_user_days",
    row=UserDay,
    key=("export_day", "user_pseudo_id", "user_id", "day"),
    partition="export_day",
    clustering=("user_pseudo_id", "user_id"),
)


class Conversion(Row):
    """One row per purchase, refund or event that a use case predicts."""

    export_day: ExportDay
    event_name: Annotated[str, "For example purchase"]
    user_pseudo_id: Browser
    user_id: Login
    event_timestamp: Annotated[int, "Microseconds since 1970, UTC"]
    event_time: Annotated[datetime, "The same as a moment"]
    transaction_id: Annotated[Text, "Of GA4; else the event's own parameter"]
    event_value: Annotated[Money, "Parameter value"]
    event_value_in_usd: Annotated[Money, "The same in US dollars"]
    purchase_revenue: Annotated[Money, "Amount paid"]
    purchase_revenue_in_usd: Annotated[Money, "The same in US dollars"]
    refund_value: Annotated[Money, "Amount refunded"]
    refund_value_in_usd: Annotated[Money, "The same in US dollars"]
    n_items: Annotated[Count, "Quantities of the items; none is 1"]
    n_distinct_items: Annotated[Count, "Different items; those without an id each"]
    item_ids: Annotated[Sequence[str], "Ids of the items, each once"]
    event_digest: Annotated[str, "MD5 of what tells an event from every other"]


CONVERSIONS = Table(
    name="ga_conversions",
    row=Conversion,
    key=("export_day", "event_digest"),
    partition="export_day",
    clustering=("event_name", "user_pseudo_id"),
)


class Refusal(Row):
    """One row per table of the export, browser, user id and UTC day ending in a No."""

    export_day: ExportDay
    user_pseudo_id: Annotated[Text, "Browser or device"]
    user_id: Annotated[Text, "The site's own id"]
    day: Annotated[date, "UTC day on which the newest word on consent was No"]


REFUSALS = Table(
    name="ga_refusals",
    row=Refusal,
    key=("export_day", "user_pseudo_id", "user_id", "day"),
    partition="export_day",
    clustering=("user_pseudo_id", "user_id"),
)


class DigestedDay(Row):
    """One row per day of the export that is in the digest."""

    export_day: ExportDay
    source_modified: Annotated[datetime, "When the export's table was last changed"]
    statement: Annotated[str, "SHA-256 of the statement that digested it"]
    consent: Annotated[str, "Consent that its events had; empty where not asked"]
    event_names: Annotated[Sequence[str], "Events that ga_conversions has of it"]
    n_events: Annotated[int, "Events of the table, those of nobody known too"]
    size_bytes: Annotated[int, "Size of the export's table"]
    row_count: Annotated[Count, "Rows of the export's table"]
    run_id: Annotated[str, "The run that digested it"]
    digested_at: Annotated[datetime, "When"]


DIGESTED_DAYS = Table(
    name="ga_digested_days",
    row=DigestedDay,
    key=("export_day",),
    partition="export_day",
    clustering=("statement",),
)

# All that is known of a day of the export; its rows change together.
DIGEST = (USER_DAYS, CONVERSIONS, REFUSALS, DIGESTED_DAYS)
