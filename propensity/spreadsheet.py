"""
Rows as spreadsheets open them: CSV in UTF-8 without formulas, and workbooks of Excel.

Excel reads a CSV by the country's separator and decimal mark, and takes an id of digits
for a number, of which it keeps fifteen. In a workbook cells have types.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from xml.sax.saxutils import escape

CSV_TYPE = "text/csv; charset=utf-8"
# What separates cells, in any country's spreadsheet, and the signs of a formula, wide
# ones as well. Source: OWASP, "CSV Injection".
_SEPARATED = r"(^|[;,\t\r\n])"
_SIGN = r"[=+\-@\uff1d\uff0b\uff0d\uff20]"
_FORMULA = re.compile(rf"{_SEPARATED}('*)({_SIGN}[^;,\t\r\n]*)")
_MARKED = re.compile(rf"{_SEPARATED}'('*{_SIGN})")
# Numbers, telephone numbers, and ids and addresses with a sign in front call nothing.
_HARMLESS = re.compile(r"[-+]([\d .()/-]*|[\w.@+-]*)")

# Characters that XML can't have.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml"
# All of a workbook but its sheet. The second style is Excel's own format 10: 0.00%.
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_SHEET}.sheet.main+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_SHEET}.styles+xml"/>'
    '<Override PartName="/xl/worksheets/sheet1.xml" '
    f'ContentType="{_SHEET}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship '
    f'Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    "</Relationships>",
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
    '<sheet name="list" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" '
    'Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{_OFFICE}/styles" Target="styles.xml"/>'
    "</Relationships>",
    "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}"><fonts count="1"><font/></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill><fill>'
    '<patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border/></borders><cellStyleXfs count="1"><xf/>'
    '</cellStyleXfs><cellXfs count="2"><xf numFmtId="0" xfId="0"/>'
    '<xf numFmtId="10" xfId="0" applyNumberFormat="1"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/>'
    "</cellStyles></styleSheet>",
}


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


def workbook_of(
    names: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    percent: Collection[str] = (),
) -> bytes:
    """
    Return rows as a workbook (.xlsx) with a header. Texts stay texts, also formulas.

    Args:
        percent: Columns of numbers that are shown in percent.

    Source:
        ECMA-376, "Office Open XML File Formats", part 1, chapters 12 and 18.
    """
    lines = [_line(names, ["text"] * len(names))]
    kinds = ["percent" if name in percent else "number" for name in names]
    for row in rows:
        lines.append(_line(row, kinds))
    data = "".join(lines)
    sheet = f'<worksheet xmlns="{_MAIN}"><sheetData>{data}</sheetData></worksheet>'
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {**_PARTS, "xl/worksheets/sheet1.xml": sheet}.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')
    return file.getvalue()


def _line(values: Sequence[object], kinds: Sequence[str]) -> str:
    cells = []
    for value, kind in zip(values, kinds, strict=True):
        if value is None:
            cells.append("<c/>")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            style = ' s="1"' if kind == "percent" else ""
            cells.append(f"<c{style}><v>{value}</v></c>")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            text = escape(_UNPRINTABLE.sub("", text))
            cells.append(
                f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
            )
    return f"<row>{''.join(cells)}</row>"


def rows_of_csv(content: bytes) -> list[list[str]]:
    """Return the rows of ``csv_of``, the header first, as they were."""
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    return [[_without_mark(cell) for cell in row] for row in csv.reader(text)]


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


def _without_mark(cell: str) -> str:
    return _MARKED.sub(r"\1\2", cell)
