"""The columns of the view of the GA4 export."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from propensity.schema import Row, columns_of


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
    source: Annotated[str, "Where the user first came from; null if streamed"]
    medium: Annotated[str, "How the user first came; null if streamed"]
    device_category: Annotated[str, "desktop, mobile or tablet"]
    operating_system: Annotated[str, "For example Android"]
    country: Annotated[str, "By the user's address"]
    event_digest: Annotated[str, "MD5 of what tells an event from every other"]


# No table: nothing here creates it. A test holds that these are the view's columns.
GA_EVENTS = columns_of(ExportEvent)
