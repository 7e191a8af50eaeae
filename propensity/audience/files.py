"""
Destinations that are files in the deployment's bucket, and the CSV of an audience.

A file is ``audiences/<use case>/<audience>/<as of>/<key>``. It has treated users only,
and is written once: a delivery that is repeated finds its own bytes. ``propensity
forget`` removes users from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from propensity.audience.declared import BUCKET, CSV
from propensity.audience.destination import Destination, Request, Sent
from propensity.audience.members import EFFECT, Member, further_columns, order_of
from propensity.audience.values import column
from propensity.gcp.artifacts import Artifacts
from propensity.registry.versions import parquet_of
from propensity.spreadsheet import CSV_TYPE, csv_of, workbook_of

# Columns that people read in percent.
PERCENT = ("probability", EFFECT)


def _folder(request: Request) -> str:
    audience = request.audience
    return f"audiences/{audience.use_case}/{audience.name}/{audience.as_of}"


class ParquetFiles(Destination):
    """Parquet, for programs: values keep their types."""

    name = BUCKET
    batch = 100_000

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def send(self, request: Request) -> Sent:
        audience = request.audience
        key = {"audience": audience.name, "as_of": audience.as_of}
        rows = [member.values | key for member in request.members]
        table = {name: column([row[name] for row in rows]) for name in rows[0]}
        name = f"{_folder(request)}/{request.key}.parquet"
        self._artifacts.create(name, parquet_of(pa.table(table)))
        return Sent()


class CsvFiles(Destination):
    """
    CSV, for people: one file, the best user first.

    Args:
        order: As of ``csv_of_members``.
    """

    name = CSV
    # A spreadsheet shows so many rows.
    batch = 1_000_000

    def __init__(self, artifacts: Artifacts, order: str) -> None:
        self._artifacts = artifacts
        self._order = order

    def send(self, request: Request) -> Sent:
        content = csv_of_members(request.members, self._order)
        name = f"{_folder(request)}/{request.key}.csv"
        self._artifacts.create(name, content, content_type=CSV_TYPE)
        return Sent()


def csv_of_members(members: Sequence[Member], order: str) -> bytes:
    """
    Return members as CSV, the best first.

    Args:
        order: By which they are chosen, as declared.
    """
    names, rows = table_of(members, order)
    for row in rows:
        for place, name in enumerate(names):
            if name in PERCENT and row[place] is not None:
                row[place] = f"{100 * row[place]:.2f}%"
    return csv_of(names, rows)


def workbook_of_members(members: Sequence[Member], order: str) -> bytes:
    """Return ``csv_of_members`` as a workbook of Excel."""
    names, rows = table_of(members, order)
    return workbook_of(names, rows, percent=PERCENT)


def table_of(
    members: Sequence[Member], order: str
) -> tuple[list[str], list[list[Any]]]:
    """Return the columns and rows of a list for people, the best member first."""
    order = order_of(members, order)
    names = ["rank", "user_id", "probability"]
    if any(member.expected_value is not None for member in members):
        names.append("expected_value")
    if order == EFFECT:
        names.append(EFFECT)
    names += further_columns(members)
    by_id = sorted(members, key=lambda member: member.user_id)
    best_first = sorted(by_id, key=lambda member: member.score(order), reverse=True)
    rows = []
    for rank, member in enumerate(best_first, start=1):
        values = {**member.values, "rank": rank, EFFECT: member.effect}
        if member.expected_value is not None:
            values["expected_value"] = round(member.expected_value, 2)
        rows.append([values.get(name) for name in names])
    return names, rows
