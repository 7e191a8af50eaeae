"""
Destinations that are files in the deployment's bucket, and the CSV of an audience.

A file is ``audiences/<use case>/<audience>/<as of>/<key>``. It has treated users only,
and is written once: a delivery that is repeated finds its own bytes. ``propensity
forget`` removes users from it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from propensity.audience.declared import BUCKET, CSV
from propensity.audience.destinations.destination import Destination, Request, Sent
from propensity.audience.members import Member, Sums
from propensity.errors import Conflict
from propensity.gcp.artifacts import Artifacts
from propensity.registry.versions import parquet_of
from propensity.spreadsheet import CSV_TYPE, csv_parts, workbook_of


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


def column(values: Sequence[object]) -> pa.Array:
    """
    Return a column; values without a type in common are texts of JSON.

    Fractions are floats, as the columns of all files need one type.
    """
    values = [float(v) if isinstance(v, Decimal) else v for v in values]
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([json.dumps(value, default=float) for value in values])


class CsvFiles(Destination):
    """CSV, for people: one file, the best user first, written page by page."""

    name = CSV
    # A page; a spreadsheet shows a million rows.
    batch = 10_000
    requests_of_a_file = 100

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def send(self, request: Request) -> Sent:
        self.write(request, [request.members])
        return Sent()

    def write(self, first: Request, pages: Iterable[Sequence[Member]]) -> None:
        """Write a file, unless there is one of these requests."""
        audience = first.audience
        name = f"{_folder(first)}/{first.key}.csv"
        parts = csv_of_members(pages, audience.sums, audience.columns, audience.order)
        with (
            contextlib.suppress(Conflict),
            self._artifacts.writing(name, content_type=CSV_TYPE) as file,
        ):
            for part in parts:
                file.write(part)


def csv_of_members(
    pages: Iterable[Sequence[Member]], sums: Sums, columns: Sequence[str], order: str
) -> Iterator[bytes]:
    """Yield members, of whom the best come first, as parts of a CSV file."""
    names = _names(sums, columns, order)
    return csv_parts(names, _rows(names, pages, is_text=True))


def workbook_of_members(
    members: Sequence[Member], sums: Sums, columns: Sequence[str], order: str
) -> bytes:
    """
    Return ``csv_of_members`` as a workbook, in which cells have types.

    Excel reads a CSV by the country's separator and decimal mark, and takes an id of
    digits for a number, of which it keeps fifteen.
    """
    names = _names(sums, columns, order)
    [rows] = _rows(names, [members], is_text=False)
    return workbook_of(names, rows)


def _names(sums: Sums, columns: Sequence[str], order: str) -> list[str]:
    """Return the columns of a list for people."""
    names = ["rank", "user_id", "probability"]
    if sums.valued:
        names.append("expected_value")
    return names + list(columns)


def _rows(
    names: Sequence[str], pages: Iterable[Sequence[Member]], *, is_text: bool
) -> Iterator[list[list[Any]]]:
    """Yield the rows of a list for people, page by page; shares as a text or number."""
    rank = 0
    for page in pages:
        rows = []
        for member in page:
            rank += 1
            values = {**member.values, "rank": rank}
            if member.expected_value is not None:
                values["expected_value"] = round(member.expected_value, 2)
            if is_text and member.probability is not None:
                values["probability"] = f"{100 * member.probability:.2f}%"
            rows.append([values.get(name) for name in names])
        yield rows
