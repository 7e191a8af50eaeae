"""The GA4 export: its view's columns, and the sums of its days."""

from __future__ import annotations

from propensity.schema import Column, Table

_VISIT = (
    Column("source", "STRING", "Where the user first came from"),
    Column("medium", "STRING", "How the user first came"),
    Column("device_category", "STRING", "desktop, mobile or tablet"),
    Column("operating_system", "STRING", "Such as Android"),
    Column("country", "STRING", "By the user's address"),
)

# Longer than a lookback of sixty days by four weeks, so that reruns find their days.
EXPORT_USER_DAYS = Table(
    name="export_user_days",
    description="One row per use case, day of the GA4 export, user and UTC day: its "
    "sums; and one without a user for each day of the export: what it is the sums of",
    key=("use_case", "shard", "user_id", "day"),
    partition="shard",
    clustering=("use_case", "user_id"),
    expiration_days=90,
    columns=(
        Column("use_case", "STRING", "Use case", required=True),
        Column("shard", "DATE", "Local day of the export's table", required=True),
        Column("user_id", "STRING", "The user; null in the row about the table"),
        Column("day", "DATE", "UTC day of the events"),
        Column("last_event", "INT64", "Newest event_timestamp"),
        Column("first_event", "INT64", "Oldest event_timestamp"),
        Column("first_touch", "INT64", "Oldest user_first_touch_timestamp"),
        Column("n_events", "INT64", "Events, each once"),
        Column("session_number", "INT64", "Highest number of a session"),
        Column("engagement_ms", "INT64", "Milliseconds on screen"),
        Column("n_page_views", "INT64", "Events: page_view"),
        Column("n_view_items", "INT64", "Events: view_item"),
        Column("n_add_to_carts", "INT64", "Events: add_to_cart"),
        Column("n_begin_checkouts", "INT64", "Events: begin_checkout"),
        Column("sessions", "STRING", "Its sessions, each once", repeated=True),
        Column("visit", "STRUCT", "What the newest event says", fields=_VISIT),
        Column(
            "charges",
            "STRUCT",
            "Purchases and refunds; equal ones, as of a page loaded again, are one",
            repeated=True,
            fields=(
                Column("event_name", "STRING", "purchase or refund"),
                Column("transaction_id", "STRING", "The shop's, or the event's time"),
                Column("same_charge", "NUMERIC", "Amount in the event's currency"),
                Column("n_items", "INT64", "Sum of the items' quantities"),
                Column("n_distinct_items", "INT64", "Different item ids"),
                Column("amount", "NUMERIC", "Of the first of them, in US dollars"),
                Column("first_event", "INT64", "event_timestamp of the first of them"),
            ),
        ),
        Column("source", "STRING", "The export's table: name, last change and rows"),
        Column("definition", "STRING", "Use case, and SHA-256 of what makes the sums"),
        Column("summed_at", "TIMESTAMP", "When the table was summed up"),
    ),
)

# Columns of the view ga_events, which ga_events.sql makes of the export; a test holds
# that. No table: nothing here creates it.
GA_EVENTS = (
    Column("table_suffix", "STRING", "Local day of the table, YYYYMMDD; prunes"),
    Column("event_timestamp", "INT64", "Microseconds since 1970, UTC"),
    Column("event_time", "TIMESTAMP", "The same as a moment; null beyond year 9999"),
    Column("event_name", "STRING", "Such as page_view or purchase"),
    Column("user_pseudo_id", "STRING", "Browser or device; null without consent"),
    Column("user_id", "STRING", "The site's own id; null before a login"),
    Column("user_first_touch_timestamp", "INT64", "First visit, as event_timestamp"),
    Column("ga_session_id", "INT64", "Session of the browser or device"),
    Column("ga_session_number", "INT64", "1 for a browser's first session, and so on"),
    Column("engagement_ms", "INT64", "Milliseconds on screen"),
    Column("event_value", "NUMERIC", "Parameter value, in the event's currency"),
    Column("event_value_in_usd", "NUMERIC", "The same in US dollars"),
    Column("currency", "STRING", "Parameter currency, in capitals, such as EUR"),
    Column("purchase_revenue", "NUMERIC", "Of a purchase, in the event's currency"),
    Column("purchase_revenue_in_usd", "NUMERIC", "The same in US dollars"),
    Column("refund_value", "NUMERIC", "Of a refund, in the event's currency"),
    Column("refund_value_in_usd", "NUMERIC", "The same in US dollars"),
    Column("transaction_id", "STRING", "Of a purchase or refund, as the shop sends it"),
    Column("n_items", "INT64", "Sum of the items' quantities; null without items"),
    Column("n_distinct_items", "INT64", "Different item ids among the items"),
    Column("source", "STRING", "Where the user first came from; null if streamed"),
    Column("medium", "STRING", "How the user first came; null if streamed"),
    Column("device_category", "STRING", "desktop, mobile or tablet"),
    Column("operating_system", "STRING", "Such as Android"),
    Column("country", "STRING", "By the user's address"),
    Column(
        "params_digest", "STRING", "MD5 of all parameters: tells equal events apart"
    ),
)
