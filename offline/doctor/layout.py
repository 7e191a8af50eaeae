"""Tables and views: whether they are there, and laid out as they should be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from google.cloud import bigquery

from offline.doctor.examination import (
    DATA,
    READERS,
    SET_UP,
    STANDARD_TYPES,
    Examination,
)
from offline.doctor.report import WARNING
from propensity import tables
from propensity.errors import AccessDenied, MissingTable
from propensity.freshness import Shards
from propensity.privacy import consent
from propensity.runs import compact
from propensity.schema import Column, Table
from propensity.settings import Settings


def check_tables(exam: Examination) -> None:
    """Whether every table is there, with columns and layout of ``tables``."""
    every = tables.retained(exam.settings.retention_days)
    with ThreadPoolExecutor(READERS) as pool:
        deployed = list(pool.map(exam.table, [table.stored for table in every]))
    missing = [
        table.stored
        for table, there in zip(every, deployed, strict=True)
        if there is None
    ]
    if missing:
        exam.error(f"missing in {exam.settings.dataset}: {', '.join(missing)}", SET_UP)
    for table, there in zip(every, deployed, strict=True):
        if there is not None:
            _compare(exam, table, there)
            if table.name == tables.POSTCODE_INDEX.name and not there.num_rows:
                _lack_postcodes(exam)
    if exam.is_emulated:
        exam.skip("how long partitions are kept: an emulator keeps them for ever")


def _lack_postcodes(exam: Examination) -> None:
    index = "socioeconomic_idx"
    reading = [
        use_case.name for use_case in exam.use_cases if index in use_case.features
    ]
    if reading:
        load = "propensity load-postcodes FILE"
        exam.lack(
            f"{tables.POSTCODE_INDEX.name} is empty: {index}, which "
            f"{', '.join(reading)} reads, is null in every event",
            f"load the postcodes: {load}",
            locally=load,
            severity=WARNING,
        )


def _compare(exam: Examination, table: Table, there: bigquery.Table) -> None:
    required = {column.name for column in table.columns if column.required}
    rebuild = (
        f"copy the rows of {table.stored} elsewhere, drop it, {SET_UP}, and load "
        "the rows again"
    )
    # Another order of columns is no fault: whatever writes or reads names them.
    for place, expected, actual in differing(table.columns, there.schema):
        if actual is None:
            exam.error(
                f"{table.stored} lacks the column {place} ({expected})",
                f"{rebuild} with values in {place}: it is required, and BigQuery adds "
                "no such column to a table that is there"
                if place in required
                else f"{SET_UP}: it adds the column, empty, to the rows that are there",
            )
        else:
            exam.error(
                f"{table.stored}.{place} is {actual}, and {expected} is written to it",
                f"{SET_UP}: it casts the column, and keeps the rows"
                if "." in place and (actual, expected) == ("INT64", "FLOAT64")
                else f"{rebuild}: BigQuery changes no column to another type",
            )
    unwanted = [
        column.name
        for column in there.schema
        if column.mode == "REQUIRED"
        and column.name not in {c.name for c in table.columns}
    ]
    if unwanted:
        exam.error(
            f"{table.stored} requires {', '.join(unwanted)}, which nothing writes: "
            "every row would be refused",
            "relax the column to NULLABLE, or drop it",
        )
    laid_out = (_partitioning(there), tuple(there.clustering_fields or ()))
    if laid_out != (table.partition, table.clustering):
        exam.error(
            f"{table.stored} is {_layout(*laid_out)}, and not "
            f"{_layout(table.partition, table.clustering)}: queries read all of it",
            f"copy it into a table of another name, drop it, {SET_UP}, and copy back",
        )
        return
    partition: Any = there.time_partitioning
    days = (partition.expiration_ms or 0) / (24 * 3600 * 1000) if partition else 0
    # The emulator keeps everything, and forgets what was wished.
    if days != table.expiration_days and not exam.is_emulated:
        exam.warn(
            f"partitions of {table.stored} are kept {_kept(days)}, and not "
            f"{_kept(table.expiration_days)}",
            SET_UP,
        )
    if table.requires_filter and not there.require_partition_filter:
        exam.warn(
            f"{table.stored} can be queried without saying which days are meant: one "
            "such query bills all of it",
            SET_UP,
        )


def _partitioning(there: bigquery.Table) -> str | None:
    """Return a table's partitioning as DDL spells it, or None."""
    by_time: Any = there.time_partitioning
    return by_time.field if by_time else None


def _layout(partition: str | None, clustering: Sequence[str]) -> str:
    by = f"partitioned by {partition}" if partition else "not partitioned"
    return f"{by} and clustered by {', '.join(clustering)}" if clustering else by


def _kept(days: float) -> str:
    return f"{days:g} days" if days else "for ever"


def differing(
    columns: Iterable[Column], schema: Iterable[bigquery.SchemaField], within: str = ""
) -> Iterator[tuple[str, str, str | None]]:
    """
    Yield the columns that are missing or of another type.

    Each by name, expected type and actual type; None for a missing column.
    """
    there = {field.name: field for field in schema}
    for column in columns:
        place = within + column.name
        deployed = there.get(column.name)
        kind = "STRUCT" if column.fields else column.type
        expected = f"ARRAY<{kind}>" if column.repeated else kind
        if deployed is None:
            yield place, expected, None
            continue
        if (actual := _type_of(deployed)) != expected:
            yield place, expected, actual
        elif column.fields:
            yield from differing(column.fields, deployed.fields, f"{place}.")


def _type_of(field_: bigquery.SchemaField) -> str:
    kind = STANDARD_TYPES.get(field_.field_type, field_.field_type)
    return f"ARRAY<{kind}>" if field_.mode == "REPEATED" else kind


def check_views(exam: Examination) -> None:
    """Whether the views are there, and are those of this version."""
    settings = exam.settings
    dataset = f"{settings.project}.{settings.dataset}"
    for name, sql in tables.views(dataset).items():
        there = exam.table(name)
        if there is None or there.view_query is None:
            exam.error(f"the view {name} is missing", SET_UP)
        elif _text(settings, sql) != _text(settings, there.view_query):
            exam.error(f"the view {name} is not that of this version", SET_UP)
    view = exam.table(compact.VIEW)
    if view is None or view.view_query is None:
        exam.error(f"the view {compact.VIEW} is missing", SET_UP)
    else:
        expected = _text(settings, compact.view_of(settings))
        if expected != _text(settings, view.view_query):
            exam.error(f"the view {compact.VIEW} is not that of this version", SET_UP)
    if not settings.ga4_dataset:
        return
    events = exam.table(consent.VIEW)
    kinds = _kinds(exam)
    expected = consent.events_view(
        settings.export, require=settings.require_consent, kinds=kinds
    )
    if events is None or events.view_query is None:
        what = f"the view {consent.VIEW} is missing"
        if kinds:
            exam.error(what, SET_UP)
        else:
            exam.lack(what, f"once the export began, {SET_UP}", locally=DATA)
    elif _text(settings, expected) != _text(settings, events.view_query):
        exam.error(
            "the view ga_events is not that of this version, or not of the kinds of "
            f"tables that the export has now: {' and '.join(kinds) or 'none'}",
            SET_UP,
        )


def _kinds(exam: Examination) -> list[str]:
    """Return the kinds of tables that the export has; where it is missing, another
    check says so."""
    try:
        return Shards.of(exam.warehouse.table_names(exam.settings.export)).kinds
    except (MissingTable, AccessDenied):
        return []


def _text(settings: Settings, query: str) -> str:
    """Return a view's text as it is wherever its project is named or not."""
    return query.replace(f"`{settings.project}.", "`").strip()
