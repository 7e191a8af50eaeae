"""Rows as spreadsheets open them: CSV in UTF-8 without formulas."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from propensity.errors import RequestError

WORKBOOK = ".xlsx"
CSV_TYPE = "text/csv; charset=utf-8"
# What separates cells, in any country's spreadsheet, and the signs of a formula, wide
# ones as well. Source: OWASP, "CSV Injection".
_SEPARATED = r"(^|[;,\t\r\n])"
_SIGN = r"[=+\-@\uff1d\uff0b\uff0d\uff20]"
_FORMULA = re.compile(rf"{_SEPARATED}('*)({_SIGN}[^;,\t\r\n]*)")
_MARKED = re.compile(rf"{_SEPARATED}'('*{_SIGN})")
# How a spreadsheet keeps a text from becoming a number: ="00029".
_KEPT = re.compile(r'="(.*)"', re.DOTALL)
# Excel keeps fifteen digits: a longer number, such as an id, is a text.
_INEXACT = 10**15
# Numbers, telephone numbers, and ids and addresses with a sign in front call nothing.
_HARMLESS = re.compile(r"[-+]([\d .()/-]*|[\w.@+-]*)")


def csv_of(names: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """
    Return rows as CSV; an apostrophe is before what would be a formula.

    Texts are quoted, so that what separates cells elsewhere separates none here.

    Args:
        rows: None is an empty cell, and what is no text or number is JSON.
    """
    return b"".join(csv_parts(names, [rows]))


def csv_parts(
    names: Sequence[str], pages: Iterable[Iterable[Sequence[object]]]
) -> Iterator[bytes]:
    """Yield the header of ``csv_of``, then its rows, page by page."""
    # Excel takes UTF-8 for another encoding, unless the file begins with its mark.
    yield _lines([names]).encode("utf-8-sig")
    for rows in pages:
        yield _lines(rows).encode()


def _lines(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def workbook_of(names: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """
    Return rows as a workbook of Excel; texts, such as ids, stay as they are.

    Args:
        rows: As of ``csv_of``; a probability is shown in percent.
    """
    # Who writes no workbook needs no library for it.
    import xlsxwriter

    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"constant_memory": True}) as book:
        percent = book.add_format({"num_format": "0.00%"})
        sheet = book.add_worksheet("list")
        sheet.write_row(0, 0, names)
        for line, row in enumerate(rows, 1):
            for index, value in enumerate(row):
                is_number = isinstance(value, int | float) and abs(value) < _INEXACT
                if is_number and not isinstance(value, bool):
                    style = percent if names[index] == "probability" else None
                    sheet.write_number(line, index, value, style)
                elif value is not None:
                    is_text = isinstance(value, str | Decimal)
                    text = str(value) if is_text else json.dumps(value, default=str)
                    sheet.write_string(line, index, text)
    return file.getvalue()


def list_of(
    file: Path, names: Sequence[str], rows: Iterable[Sequence[object]]
) -> bytes:
    """Return rows as the name of a file asks: a workbook, or CSV."""
    if file.suffix.lower() != WORKBOOK:
        return csv_of(names, rows)
    try:
        return workbook_of(names, rows)
    except ModuleNotFoundError as error:
        raise RequestError(
            f"{file} is a workbook, for which xlsxwriter is missing",
            hint="Name a .csv file, or install xlsxwriter",
            field="scores",
        ) from error


def rows_of_csv(content: bytes) -> list[list[str]]:
    """Return the rows of ``csv_of``, the header first, as they were."""
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    return [[unmarked(cell) for cell in row] for row in csv.reader(text)]


def _cell(value: object) -> object:
    if isinstance(value, bool | list | dict):
        value = json.dumps(value, default=str)
    return _FORMULA.sub(_marked, value) if isinstance(value, str) else value


def _marked(match: re.Match[str]) -> str:
    """Return a formula with an apostrophe, and one more where it has some."""
    separator, apostrophes, formula = match.groups()
    if not apostrophes and _HARMLESS.fullmatch(formula):
        return match[0]
    return f"{separator}'{apostrophes}{formula}"


def unmarked(cell: str) -> str:
    """Return what a cell of ``csv_of`` was before it was marked."""
    return _MARKED.sub(r"\1\2", cell)


def id_of_cell(cell: str) -> str:
    """Return the id that a cell of ``csv_of`` has, which may be kept as ="…" by now."""
    # What csv_of writes never begins so: it marks formulas.
    kept = _KEPT.fullmatch(cell)
    return kept[1] if kept else unmarked(cell)


def id_meant(cell: str, known: Collection[str]) -> str | None:
    """
    Return which known id a cell means; None if none.

    It is read as ``csv_of`` writes it, as it stands, and without what spreadsheets add:
    blanks, ="…" and an apostrophe. Case and digits are never changed.
    """
    bare = cell.strip()
    kept = _KEPT.fullmatch(bare)
    if kept:
        bare = kept[1]
    readings = [unmarked(cell), cell, cell.removeprefix("'")]
    readings += [unmarked(bare), bare, bare.removeprefix("'")]
    for text in readings:
        if text in known:
            return text
    return None
