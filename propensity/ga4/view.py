"""The view ``ga_events`` of the export, with the columns that use cases name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

from propensity.errors import SchemaError, SettingsError
from propensity.ga4.shards import DAILY, KINDS, PREFIXES
from propensity.schema import Column, Row, columns_of
from propensity.statements import statement
from propensity.tables.export_names import VIEW, with_suffix
from propensity.usecases.declaration import Value
from propensity.usecases.exports import export_values

if TYPE_CHECKING:
    from propensity.gcp.warehouse import Warehouse
    from propensity.settings import Settings
    from propensity.usecases import UseCase

# Columns that tables of some years or kinds lack, in the types that the view reads.
# https://support.google.com/analytics/answer/7029846 says since when there are which.
LATER_COLUMNS = {
    "batch_event_index": "INT64",
    "batch_ordering_id": "INT64",
    "batch_page_id": "INT64",
    "traffic_source": "STRUCT<source STRING, medium STRING>",
}

# The statement that reads a value as a type.
_READERS = {
    "STRING": "export_string",
    "INT64": "export_int64",
    "NUMERIC": "export_numeric",
}

# The statement with the condition on a kind of consent, by its name in the export.
_CONSENTS = {"analytics_storage": "analytics_consent", "ads_storage": "ads_consent"}
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

    table_suffix: Annotated[str, "Local day of the table, YYYYMMDD"]
    event_timestamp: Annotated[int, "Microseconds since 1970, UTC"]
    event_time: Annotated[datetime, "The same as a moment"]
    event_name: Annotated[str, "For example purchase"]
    has_consent: Annotated[bool, "True: others are left out"]
    user_pseudo_id: Annotated[str, "Browser or device; null without consent"]
    user_id: Annotated[str, "The site's own id; null before a login"]
    user_first_touch_timestamp: Annotated[int, "First visit, as event_timestamp"]
    ga_session_id: Annotated[int, "Session of the browser or device"]
    ga_session_number: Annotated[int, "1 for the first session"]
    engagement_ms: Annotated[int, "Milliseconds on screen"]
    event_value: Annotated[Decimal, "Parameter value"]
    event_value_in_usd: Annotated[Decimal, "The same in US dollars"]
    currency: Annotated[str, "Such as EUR"]
    purchase_revenue: Annotated[Decimal, "Amount paid"]
    purchase_revenue_in_usd: Annotated[Decimal, "The same in US dollars"]
    refund_value: Annotated[Decimal, "Amount refunded"]
    refund_value_in_usd: Annotated[Decimal, "The same in US dollars"]
    ecommerce_transaction_id: Annotated[str, "Id of a purchase or refund, by GA4"]
    transaction_id: Annotated[str, "Of GA4; else the event's own parameter"]
    n_items: Annotated[int, "Quantities of the items; none is 1"]
    n_distinct_items: Annotated[int, "Different items; those without an id each"]
    item_ids: Annotated[Sequence[str], "Ids of the items, each once"]
    source: Annotated[str, "Of the first visit; null if streamed"]
    medium: Annotated[str, "Of the first visit; null if streamed"]
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
    lacking: Mapping[str, Collection[str]] = {},
) -> str:
    """
    Return the text of the view.

    Args:
        kinds: Of the tables that it has, of KINDS: BigQuery refuses a wildcard that
            matches none.
        values: The columns that use cases name; by default those of all use cases of
            this deploy.
        lacking: Of ``LATER_COLUMNS`` those that a kind's tables lack, by kind.
    """
    values_of_use_cases = export_values() if values is None else values
    columns = "".join(map(_selected, values_of_use_cases))
    required = _CONDITIONS[require]
    conditions = "".join(map(statement, required))
    words = dict.fromkeys(_CONSENTS, "'Yes'")
    for consent, condition in _CONSENTS.items():
        if condition in required:
            words[consent] = f"privacy_info.{consent}"
    tables = f"`{dataset}.INFORMATION_SCHEMA.TABLES`"
    parts: list[str] = []
    for kind in kinds:
        nulls = ""
        for column in lacking.get(kind, ()):
            nulls += f",\n  CAST(NULL AS {LATER_COLUMNS[column]}) AS {column}"
        shards = statement(
            "ga_events_shards",
            shards=f"`{dataset}.{PREFIXES[kind]}2*`",
            lacking_columns=nulls,
        )
        earlier = KINDS[: KINDS.index(kind)]
        if earlier:
            names = "|".join(PREFIXES[other] for other in earlier)
            shards += statement("ga_events_earlier", earlier_kinds=names, tables=tables)
        view = statement(
            VIEW, shards=f"(\n{shards})", columns_of_use_cases=columns, **words
        )
        parts.append(view + conditions)
    return "UNION ALL\n".join(parts)


def check_view(warehouse: Warehouse, use_case: UseCase) -> None:
    """
    Make sure of the view, where the settings or the use case ask for something of it.
    """
    if _CONDITIONS[warehouse.settings.require_consent] or use_case.export_values:
        check_view_text(warehouse.view_text(VIEW), use_case, warehouse.settings)


def check_view_text(view: str, use_case: UseCase, settings: Settings) -> None:
    """
    Make sure that the view leaves out events without consent, and has the columns that
    the use case names.

    Raises:
        SettingsError: It is older than the setting: events without consent would be
            read.
        SchemaError: It lacks a column that the use case names.
    """
    shown = with_suffix(VIEW, settings.export_suffix)
    require = settings.require_consent
    if not all(statement(name).strip() in view for name in _CONDITIONS[require]):
        raise SettingsError(
            f"PROPENSITY_REQUIRE_CONSENT is {require}, but the view {shown} reads "
            "events without that consent. Nothing was read",
            hint="Run deploy/setup.sh, which replaces the view",
            field="PROPENSITY_REQUIRE_CONSENT",
        )
    values = use_case.export_values
    missing = [value.column for value in values if _selected(value) not in view]
    if missing:
        raise SchemaError(
            f"the view {shown} lacks {', '.join(missing)}, which the use case "
            f"{use_case.name} names",
            hint="Run deploy/setup.sh, which replaces the view",
        )


def consent_of(view: str) -> frozenset[str]:
    """Return the conditions on consent in the text of the view, by statement."""
    names = set[str]()
    for name in _CONSENTS.values():
        if statement(name).strip() in view:
            names.add(name)
    return frozenset(names)


def with_refusals(view: str) -> str:
    """Return what stands for the view where events of a No are wanted as well."""
    conditions = consent_of(view)
    if not conditions:
        return VIEW
    for name in conditions:
        view = view.replace(statement(name).strip(), "")
    return f"(\n{view})"


def columns_of_values(values: Iterable[Value]) -> list[Column]:
    """Return the columns of the view that hold values."""
    return [
        Column(value.column, value.type, f"{value.key} of {value.record}")
        for value in values
    ]


def _selected(value: Value) -> str:
    return statement(
        "export_value",
        value=statement(_READERS[value.type]).rstrip(),
        record=value.record,
        key=f"'{value.key}'",
        column=value.column,
    )
