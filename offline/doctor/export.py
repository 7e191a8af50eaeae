"""The GA4 export: whether it comes, whole, and with the columns that are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

from google.cloud import bigquery

from offline.doctor.examination import (
    DATA,
    DAY,
    READERS,
    STANDARD_TYPES,
    Examination,
    reaching,
)
from propensity import usecases
from propensity.errors import AccessDenied, MissingTable, SettingsError
from propensity.freshness import Shards, is_expected
from propensity.runs.export import listed
from propensity.timeframe import first_shard, midnight
from propensity.usecases import export as exported

# A day's table of the export is there about noon of the next day, in the property's
# time zone, and a day later at times.
EXPORT_LATE = timedelta(hours=36)

# Columns of the export that ga_events.sql reads, by their types.
EXPORT_COLUMNS: Mapping[str, str] = {
    "event_timestamp": "INT64",
    "event_name": "STRING",
    "user_pseudo_id": "STRING",
    "user_id": "STRING",
    "user_first_touch_timestamp": "INT64",
    "event_value_in_usd": "FLOAT64",
    "event_params.key": "STRING",
    "event_params.value.string_value": "STRING",
    "event_params.value.int_value": "INT64",
    "event_params.value.float_value": "FLOAT64",
    "event_params.value.double_value": "FLOAT64",
    "ecommerce.purchase_revenue": "FLOAT64",
    "ecommerce.purchase_revenue_in_usd": "FLOAT64",
    "ecommerce.refund_value": "FLOAT64",
    "ecommerce.refund_value_in_usd": "FLOAT64",
    "ecommerce.transaction_id": "STRING",
    "items.quantity": "INT64",
    "items.item_id": "STRING",
    "traffic_source.source": "STRING",
    "traffic_source.medium": "STRING",
    "device.category": "STRING",
    "device.operating_system": "STRING",
    "geo.country": "STRING",
}


def check_export(exam: Examination) -> None:
    """Whether the GA4 export goes on, is whole, and has the columns that are read."""
    settings = exam.settings
    if not settings.ga4_dataset:
        exam.skip("PROPENSITY_GA4_DATASET is not set: there is no export")
        return
    with reaching("BigQuery"):
        try:
            exam.warehouse.check_location(settings.export)
            there = exam.warehouse.table_list(settings.export)
            shards = Shards.of(one["tableReference"]["tableId"] for one in there)
        except MissingTable:
            exam.error(
                f"there is no dataset {settings.ga4_dataset}",
                "correct PROPENSITY_GA4_DATASET, or link GA4 to BigQuery (Admin, "
                "BigQuery links)",
            )
            return
        except SettingsError as error:
            exam.error(error.message, "correct PROPENSITY_LOCATION, or move one of two")
            return
        except AccessDenied as error:
            exam.error(error.message, "have its owner grant the role on the dataset")
            return
    for what in exported.obstacles(there):
        exam.error(
            f"in {settings.ga4_dataset}, {what}",
            "move it to another dataset: it begins as the days of the export do, and "
            "BigQuery's wildcards take all of one kind or fail",
        )
    days = sorted(shards.days)
    if not days:
        exam.lack(
            f"{settings.ga4_dataset} has no table events_YYYYMMDD",
            "switch on the daily export in GA4 (Admin, BigQuery links), or streaming "
            "for a property of over a million events a day",
            locally=DATA,
        )
        return
    begun, newest = shards.first_and_last
    _check_newest(exam, newest)
    # How far other use cases look back is no matter of the export.
    reading = [
        use_case for use_case in exam.use_cases if use_case.reads_export
    ] or exam.use_cases
    lookback = max((use_case.lookback_days for use_case in reading), default=60)
    # What the next run will read: from the lookback's first shard on.
    first = max(begun, first_shard(exam.now.date(), days=lookback))
    missing = [
        first + n * DAY
        for n in range((newest - first).days)
        if first + n * DAY not in shards.days and is_expected(first + n * DAY, shards)
    ]
    if missing:
        exam.error(
            f"days of the export are missing: {len(missing)} within the lookback of "
            f"{lookback} days: {listed(missing)}",
            "GA4 fills no gap by itself: see whether the tables were deleted, and "
            "restore them (BigQuery keeps deleted tables for 7 days); features of "
            "these days are wrong until the lookback has passed them",
        )
    _check_shards(exam, shards, [day for day in days if day >= first])


def _check_newest(exam: Examination, newest: date) -> None:
    # The table of the day that follows has been awaited since that day ended.
    late = exam.now - midnight(newest + 2 * DAY)
    if late > EXPORT_LATE:
        days = (exam.now.date() - newest).days - 1
        exam.error(
            f"the newest day of the export is {newest}: {days} days are late",
            "see in GA4 (Admin, BigQuery links) whether the export was stopped, as it "
            "is above its daily limit; predictions go on with what is there",
        )


def _check_shards(exam: Examination, shards: Shards, days: Sequence[date]) -> None:
    """Look at the columns and the rows of the tables that are read of days."""

    def read(day: date) -> bigquery.Table | None:
        kind = "" if day in shards.daily else "intraday_"
        return exam.table(f"events_{kind}{day:%Y%m%d}", exam.settings.export)

    with ThreadPoolExecutor(READERS) as pool:
        deployed = list(pool.map(read, days))
    lacking: dict[str, list[date]] = {}
    empty, slow = [], []
    settled = timedelta(days=1 + exam.settings.settle_days)
    for day, there in zip(days, deployed, strict=True):
        if there is None:
            continue
        for change in _changes(there.schema):
            lacking.setdefault(change, []).append(day)
        if not there.num_rows:
            empty.append(day)
        created = there.created
        if created and created.date() > day + settled:
            slow.append(day)
    for change, on in lacking.items():
        exam.error(
            f"the export's schema has changed: {change} in the tables of {listed(on)}",
            "ga_events.sql reads that column: if GA4 has renamed it change the "
            "statement, if a table was written by hand write it again",
        )
    if empty:
        exam.warn(
            f"tables of the export are empty: {listed(empty)}",
            "see whether the site sent events on these days, and consent mode and "
            "filters in GA4",
        )
    if exam.is_emulated:
        exam.skip("whether tables came late: here all are as old as the load")
    elif slow:
        exam.warn(
            f"tables of the export came later than {exam.settings.settle_days} days "
            f"after their day: {listed(slow)}",
            "figures of those weeks were final before the data were: run "
            "03-ModelEvaluation for them again",
        )


def _changes(schema: Sequence[bigquery.SchemaField]) -> Iterator[str]:
    """Yield the columns that statements read and the export lacks."""
    there: dict[str, str] = {}

    def walk(fields: Iterable[bigquery.SchemaField], within: str) -> None:
        for field in fields:
            there[within + field.name] = STANDARD_TYPES.get(
                field.field_type, field.field_type
            )
            walk(field.fields, f"{within}{field.name}.")

    walk(schema, "")
    named = exported.read_columns(usecases.export_values())
    for name, kind in {**EXPORT_COLUMNS, **named}.items():
        if name not in there:
            yield f"{name} is missing"
        elif there[name] != kind:
            yield f"{name} is {there[name]} instead of {kind}"
