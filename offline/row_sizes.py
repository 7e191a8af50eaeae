"""Bytes of a row of every table, by its columns and the size of a deployment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from offline.partitions import EXPORT, Size, players
from propensity import tables
from propensity.schema import Column, Table

# https://cloud.google.com/bigquery/docs/estimate-costs; a null has none.
SIZES = {"INT64": 8, "FLOAT64": 8, "NUMERIC": 16, "DATE": 8, "TIMESTAMP": 8, "BOOL": 1}

# Means over rows of the GA4 export, of all in ga4_sample (471 rows of a real shop);
# tests/offline/test_row_sizes.py measures them. A text has 2 bytes beside its own.
EXPORTED = {
    "event_timestamp": 8.0,
    "event_name": 13.4,
    "user_pseudo_id": 20.1,
    # Empty there. Where users log in:
    "user_id": 22.0,
    "user_first_touch_timestamp": 8.0,
    "event_params": 306.0,
    "event_value_in_usd": 0.1,
    "ecommerce.purchase_revenue": 0.1,
    "ecommerce.purchase_revenue_in_usd": 0.1,
    "ecommerce.refund_value": 0.1,
    "ecommerce.refund_value_in_usd": 0.1,
    "ecommerce.transaction_id": 1.2,
    "items.quantity": 0.1,
    "items.item_id": 11.3,
    "traffic_source.source": 10.2,
    "traffic_source.medium": 9.0,
    "device.category": 8.6,
    "device.operating_system": 6.6,
    "geo.country": 12.0,
}

# Texts, by column; where a table has others, by table and column. Ids of the stream are
# UUIDs, of the export "1234567890.1234567890".
TEXTS = {
    "use_case": 17,
    "user_id": 38,
    "ma_predictions_table.user_id": 23,
    "ma_predictions_history.user_id": 23,
    "ma_predictions_staging.user_id": 23,
    "ma_audience_members.user_id": 23,
    "audience": 12,
    "control_group": 12,
    "selection": 10,
    "status": 7,
    "verdict": 6,
    "run_id": 34,
    "event_id": 38,
    "message_id": 24,
    "inference_id": 66,
    "event_type": 10,
    "source": 8,
    "best_threshold_source": 13,
    "budget": 5,
    "postcode": 9,
}

# Of the sums of a user's day; a null has no bytes, and few days have a charge.
USER_DAY = {
    f"export_user_days.{name}": bytes_
    for name, bytes_ in {
        "user_id": EXPORTED["user_pseudo_id"],
        "sessions": 13.0,
        "visit": sum(
            EXPORTED[name]
            for name in (
                "traffic_source.source",
                "traffic_source.medium",
                "device.category",
                "device.operating_system",
                "geo.country",
            )
        ),
        "charges": 4.0,
        "source": 0.0,
        "definition": 0.0,
        "summed_at": 0.0,
    }.items()
}

# Of a registration, which one event in ten is taken to be.
REGISTERED = {
    "age": 8,
    "city": 10,
    "country": 9,
    "postcode": 9,
    "affiliate_url": 24,
    "campaign": 12,
    "socioeconomic_idx": 8,
    "label": 8,
}

REGISTRATIONS = 0.1

# JSON of a transaction's fields, with the event and with the score.
FIELDS = 770.0

# A JSON of few rows: features, candidates, parameters.
OTHER_JSON = 2_000.0

# Empty where personal fields are not kept.
PERSONAL = (
    "stream_events.name",
    "stream_events.street_address",
    "stream_events.date_of_birth",
)

# Of an evaluation; and about so many dates of a training.
DECILES = 10


@cache
def row_bytes(table: str, columns: tuple[str, ...], size: Size) -> float:
    """Return the mean bytes of columns of a table's row, of all of them without any."""
    if table == EXPORT:
        return sum(EXPORTED[name] for name in columns)
    declared = {column.name: column for column in _declared(table).columns}
    if not columns:
        return sum(_column_bytes(table, column, size) for column in declared.values())
    total = 0.0
    for path in columns:
        name, _, part = path.partition(".")
        column = declared[name]
        if part:
            only = tuple(field for field in column.fields if field.name == part)
            column = replace(column, fields=only)
        total += _column_bytes(table, column, size)
    return total


def _declared(name: str) -> Table:
    [declared] = [table for table in tables.TABLES if table.name == name]
    return declared


def _column_bytes(table: str, column: Column, size: Size) -> float:
    own = _of_size(size).get(f"{table}.{column.name}")
    if own is not None:
        return own
    if column.fields:
        # Deciles of an evaluation; or the one registration of a tile.
        many = DECILES if column.repeated else REGISTRATIONS
        return many * sum(_column_bytes(table, field, size) for field in column.fields)
    if column.type in SIZES:
        return float(SIZES[column.type] * (DECILES if column.repeated else 1))
    texts = {**REGISTERED, **TEXTS}
    return texts.get(f"{table}.{column.name}", texts.get(column.name, OTHER_JSON))


_REASONS = tuple(
    f"{table}.{column}"
    for table in ("ma_predictions_table", "ma_predictions_staging")
    for column in ("base_log_odds", "reasons")
)


def _thresholds(size: Size) -> float:
    """
    Return the bytes of an evaluation's counts by threshold, of 24 bytes each.

    All up to 100 rows; from there on one each time that they are a fiftieth more.
    """
    rows = max(size.users, size.stream_events_a_day)
    return 24.0 * (min(rows, 100) + math.log(max(rows, 100) / 100) / math.log(1.02))


@cache
def _of_size(size: Size) -> Mapping[str, float]:
    """Return bytes that depend on what a deployment streams, by table and column."""
    registered = {
        f"stream_events.{name}": bytes_ * REGISTRATIONS * size.scores_users
        for name, bytes_ in REGISTERED.items()
    }
    tile = size.stream_events_a_day / max(1, players(size))
    return {
        **registered,
        **dict.fromkeys(PERSONAL, 0.0),
        "stream_events.amount": 16.0 * size.scores_users,
        "stream_events.attributes": 0.0 if size.scores_users else FIELDS,
        "stream_features_daily.event_ids": TEXTS["event_id"] * tile,
        "inference_log.features": FIELDS,
        **USER_DAY,
        # Some sixty buckets or values, of about ten bytes and a count each.
        "ma_drift.counts": 60 * (2 + 10 + 8.0),
        "ma_model_evaluation.thresholds": _thresholds(size),
        "ma_model_evaluation_staging.thresholds": _thresholds(size),
        # Without reasons, as by default.
        **dict.fromkeys(_REASONS, 0.0),
        # One of the two.
        "inference_log.probability": 4.0,
        "inference_log.anomaly_score": 4.0,
    }
