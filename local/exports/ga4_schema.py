"""The GA4 export's columns, for BigQuery and for Arrow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from google.cloud import bigquery


@dataclass(frozen=True)
class Column:
    """A column, as BigQuery's client describes it, which takes seconds to import."""

    name: str
    field_type: str
    mode: str = "NULLABLE"
    fields: tuple[Column, ...] = ()


def _leaves(kind: str, names: str) -> tuple[Column, ...]:
    """Return columns of one type, whose names stand between blanks."""
    return tuple(Column(name, kind) for name in names.split())


def _record(name: str, *fields: Column, mode: str = "NULLABLE") -> Column:
    return Column(name, "RECORD", mode=mode, fields=fields)


def _keyed(name: str, *extra: Column) -> Column:
    """Return GA4's list of ``{key, value{one of four types}}``."""
    value = (
        *_leaves("STRING", "string_value"),
        *_leaves("INTEGER", "int_value"),
        *_leaves("FLOAT", "float_value double_value"),
        *extra,
    )
    return _record(
        name, Column("key", "STRING"), _record("value", *value), mode="REPEATED"
    )


# Left out: session_traffic_source_last_click (some seventy columns of ad platforms)
# and publisher (ad revenue of apps). The emulator's every shard pays for each column.
SCHEMA: tuple[Column, ...] = (
    *_leaves("STRING", "event_date"),
    *_leaves("INTEGER", "event_timestamp"),
    *_leaves("STRING", "event_name"),
    _keyed("event_params"),
    *_leaves("INTEGER", "event_previous_timestamp"),
    *_leaves("FLOAT", "event_value_in_usd"),
    *_leaves("INTEGER", "event_bundle_sequence_id event_server_timestamp_offset"),
    *_leaves("STRING", "user_id user_pseudo_id"),
    _record(
        "privacy_info",
        *_leaves("STRING", "analytics_storage ads_storage uses_transient_token"),
    ),
    _keyed("user_properties", Column("set_timestamp_micros", "INTEGER")),
    *_leaves("INTEGER", "user_first_touch_timestamp"),
    _record("user_ltv", Column("revenue", "FLOAT"), Column("currency", "STRING")),
    _record(
        "device",
        *_leaves(
            "STRING",
            "category mobile_brand_name mobile_model_name mobile_marketing_name "
            "mobile_os_hardware_model operating_system operating_system_version "
            "vendor_id advertising_id language is_limited_ad_tracking",
        ),
        Column("time_zone_offset_seconds", "INTEGER"),
        *_leaves("STRING", "browser browser_version"),
        _record("web_info", *_leaves("STRING", "browser browser_version hostname")),
    ),
    _record(
        "geo",
        *_leaves("STRING", "city country continent region sub_continent metro"),
    ),
    _record(
        "app_info",
        *_leaves("STRING", "id version install_store firebase_app_id install_source"),
    ),
    _record("traffic_source", *_leaves("STRING", "name medium source")),
    *_leaves("STRING", "stream_id platform"),
    _record("event_dimensions", Column("hostname", "STRING")),
    _record(
        "ecommerce",
        Column("total_item_quantity", "INTEGER"),
        *_leaves(
            "FLOAT",
            "purchase_revenue_in_usd purchase_revenue refund_value_in_usd refund_value "
            "shipping_value_in_usd shipping_value tax_value_in_usd tax_value",
        ),
        Column("unique_items", "INTEGER"),
        Column("transaction_id", "STRING"),
    ),
    _record(
        "items",
        *_leaves(
            "STRING",
            "item_id item_name item_brand item_variant item_category item_category2 "
            "item_category3 item_category4 item_category5",
        ),
        *_leaves("FLOAT", "price_in_usd price"),
        Column("quantity", "INTEGER"),
        *_leaves(
            "FLOAT",
            "item_revenue_in_usd item_revenue item_refund_in_usd item_refund",
        ),
        *_leaves(
            "STRING",
            "coupon affiliation location_id item_list_id item_list_name "
            "item_list_index promotion_id promotion_name creative_name creative_slot",
        ),
        _keyed("item_params"),
        mode="REPEATED",
    ),
    _record(
        "collected_traffic_source",
        *_leaves(
            "STRING",
            "manual_campaign_id manual_campaign_name manual_source manual_medium "
            "manual_term manual_content manual_source_platform manual_creative_format "
            "manual_marketing_tactic gclid dclid srsltid",
        ),
    ),
    Column("is_active_user", "BOOLEAN"),
    *_leaves("INTEGER", "batch_event_index batch_page_id batch_ordering_id"),
)


_DUCKDB_LEAF = {
    "STRING": "VARCHAR",
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
}
_ARROW_LEAF = {
    "STRING": pa.string(),
    "INTEGER": pa.int64(),
    "FLOAT": pa.float64(),
    "BOOLEAN": pa.bool_(),
}


def _arrow_type(column: Column) -> pa.DataType:
    if column.field_type == "RECORD":
        kind = pa.struct([(inner.name, _arrow_type(inner)) for inner in column.fields])
    else:
        kind = _ARROW_LEAF[column.field_type]
    return pa.list_(kind) if column.mode == "REPEATED" else kind


def duckdb_type(column: Column) -> str:
    """Return the type of a column in DuckDB."""
    if column.field_type == "RECORD":
        fields = (f'"{inner.name}" {duckdb_type(inner)}' for inner in column.fields)
        kind = f"STRUCT({', '.join(fields)})"
    else:
        kind = _DUCKDB_LEAF[column.field_type]
    return f"{kind}[]" if column.mode == "REPEATED" else kind


def bigquery_schema(columns: Iterable[Column] = SCHEMA) -> list[bigquery.SchemaField]:
    """Return the export's columns for BigQuery's client."""
    from google.cloud.bigquery import SchemaField

    return [
        SchemaField(
            column.name,
            column.field_type,
            mode=column.mode,
            fields=bigquery_schema(column.fields),
        )
        for column in columns
    ]


ARROW_SCHEMA = pa.schema([(column.name, _arrow_type(column)) for column in SCHEMA])
