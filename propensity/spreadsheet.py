"""Rows as CSV that spreadsheets open: in UTF-8, with a header, and without formulas."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence

CSV_TYPE = "text/csv; charset=utf-8"
# Spreadsheets run what begins so. Numbers call nothing, and neither do telephone
# numbers. Source: OWASP, "CSV Injection".
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[-+][\d .,()/-]+")


def csv_of(names: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """
    Return rows as CSV; what would be a formula begins with an apostrophe.

    Args:
        rows: None is an empty cell, and what is no text or number is JSON.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([_cell(name) for name in names])
    writer.writerows([_cell(value) for value in row] for row in rows)
    # Excel takes UTF-8 for another encoding, unless the file begins with its mark.
    return text.getvalue().encode("utf-8-sig")


def rows_of_csv(content: bytes) -> list[list[str]]:
    """Return the rows of ``csv_of``, the header first, as they were."""
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    return [[_without_mark(cell) for cell in row] for row in csv.reader(text)]


def _cell(value: object) -> object:
    if isinstance(value, bool | list | dict):
        return json.dumps(value, default=str)
    if not isinstance(value, str) or not _FORMULA.match(value):
        return value
    return value if _NUMBER.fullmatch(value) else f"'{value}"


def _without_mark(cell: str) -> str:
    if cell.startswith("'") and _FORMULA.match(cell):
        return cell[1:]
    return cell
