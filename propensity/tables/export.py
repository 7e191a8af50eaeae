"""The columns of the view of the GA4 export."""

from __future__ import annotations

from propensity.schema import Column

# Columns of the view ga_events, which ga_events.sql makes of the export; a test holds
# that. No table: nothing here creates it.
GA_EVENTS = (
    Column("table_suffix", "STRING", "Local day of the table, YYYYMMDD; prunes"),
    Column("event_timestamp", "INT64", "Microseconds since 1970, UTC"),
    Column("event_time", "TIMESTAMP", "The same as a moment; null beyond year 9999"),
    Column("event_name", "STRING", "For example page_view or purchase"),
    Column("user_pseudo_id", "STRING", "Browser or device; null without consent"),
    Column("user_id", "STRING", "The site's own id; null before a login"),
    Column("user_first_touch_timestamp", "INT64", "First visit, as event_timestamp"),
    Column("ga_session_id", "INT64", "Session of the browser or device"),
    Column("ga_session_number", "INT64", "1 for a browser's first session, and so on"),
    Column("engagement_ms", "INT64", "Milliseconds on screen"),
    Column("event_value", "NUMERIC", "Parameter value, in the event's currency"),
    Column("event_value_in_usd", "NUMERIC", "The same in US dollars"),
    Column("currency", "STRING", "Parameter currency, in capitals, such as EUR"),
    Column("purchase_revenue", "NUMERIC", "Amount paid, in the event's currency"),
    Column("purchase_revenue_in_usd", "NUMERIC", "The same in US dollars"),
    Column("refund_value", "NUMERIC", "Amount refunded, in the event's currency"),
    Column("refund_value_in_usd", "NUMERIC", "The same in US dollars"),
    Column("ecommerce_transaction_id", "STRING", "Id of a purchase or refund, by GA4"),
    Column("transaction_id", "STRING", "The same; else the event's own parameter"),
    Column("n_items", "INT64", "Sum of the items' quantities; none is 1"),
    Column(
        "n_distinct_items",
        "INT64",
        "Different items; one without an id is one of its own",
    ),
    Column("source", "STRING", "Where the user first came from; null if streamed"),
    Column("medium", "STRING", "How the user first came; null if streamed"),
    Column("device_category", "STRING", "desktop, mobile or tablet"),
    Column("operating_system", "STRING", "For example Android"),
    Column("country", "STRING", "By the user's address"),
    Column("event_digest", "STRING", "MD5 of what tells an event from every other"),
)
