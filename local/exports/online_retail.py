"""
A real shop's purchases: the public "Online Retail" workbook as a GA4 export.

Source: Daqing Chen, "Online Retail", UCI Machine Learning Repository 352, 2015,
https://doi.org/10.24432/C5BW33, CC BY 4.0: every transaction of a UK gift shop from
2010-12-01 to 2011-12-09, one line of an invoice a row, 541,909 rows.

The download is checked three times over: the workbook's SHA-256, its columns, its
number of rows. ``WORKBOOK_SHA256`` is the one that many public projects recorded for
the file as UCI serves it; the archive around it may be packed anew without harm.

How invoices become events
--------------------------
- Lines without a customer are left out: nobody can be predicted from them.
- The lines of one invoice, minute and customer are one event. A few invoices span two
  minutes and are two events.
- An invoice ``C…`` is a ``refund``, any other a ``purchase``.
- ``items`` holds the lines in their order, all of them: postage, discounts, lines of
  price zero, the same line twice. Quantities are positive, also in refunds.
- Revenue, or the refund's value, is the sum of price × quantity, rounded to pennies.
- Invoices carry the shop's clock (Europe/London): ``event_date`` keeps it,
  ``event_timestamp`` is UTC.
- A session is an event: its id is the event's second, its number counts the customer's
  events in order of time and invoice. The first one is the customer's first touch.
- There are no browsing events in it, and none are invented.
"""

from __future__ import annotations

import hashlib
import shutil
import urllib.error
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import orjson
import zstandard

from local.progress import bar as progress_bar

Row = dict[str, Any]


BASE_URL = "https://archive.ics.uci.edu"
ARCHIVE = "/static/public/352/online+retail.zip"
WORKBOOK = "Online Retail.xlsx"
WORKBOOK_SHA256 = "43465a06f2ccf7c8b5bd2892bc7defb52f97487934fe93b16ae4c3936424676d"
WORKBOOK_ROWS = 541_909
COLUMNS = (
    "InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice",
    "CustomerID", "Country",
)  # fmt: skip
CURRENCY = "GBP"
TIME_ZONE = ZoneInfo("Europe/London")
TIMEOUT_S = 30
CHUNK_BYTES = 2**18


class DownloadError(RuntimeError):
    """The workbook could not be had whole; says what to do."""


class WorkbookError(ValueError):
    """The file is not the workbook it should be."""


def download(
    folder: Path,
    *,
    base_url: str = BASE_URL,
    sha256: str = WORKBOOK_SHA256,
    progress: bool = True,
) -> Path:
    """
    Bring the workbook into a folder, unless it is there already and whole.

    What has arrived before a connection broke is kept beside it as ``.part``, and the
    next call goes on from there where the server allows it.

    Args:
        folder: Is created where it is missing.
        base_url: Scheme, host and port of the repository.
        sha256: Of the workbook inside the archive.
        progress: Show a bar on stderr where that is a terminal.

    Returns:
        The workbook's path.

    Raises:
        DownloadError: The server refused, the connection broke, or the file is another.
    """
    workbook = folder / WORKBOOK
    if workbook.exists() and _sha256(workbook) == sha256:
        return workbook
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "online-retail.zip"
    _fetch(base_url + ARCHIVE, archive, progress=progress)
    try:
        _unpack(archive, workbook, sha256=sha256)
    finally:
        archive.unlink()
    return workbook


def _fetch(url: str, target: Path, *, progress: bool) -> None:
    """Download to ``target``, going on from its ``.part`` where there is one."""
    part = target.with_suffix(".part")
    have = part.stat().st_size if part.exists() else 0
    try:
        _append(url, part, have, progress=progress)
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise DownloadError(
                f"{url}: the server answered {error.code} {error.reason}. Try later, "
                "or download it with a browser and pass its rows with DATA=FILE"
            ) from error
        # Nothing is left after what we have: it is whole, or it was another file.
        part.unlink()
        _fetch(url, target, progress=progress)
        return
    except (OSError, HTTPException) as error:
        raise DownloadError(
            f"{url}: the connection failed ({error}). Run the same command again: it "
            "goes on from where it stopped"
        ) from error
    part.replace(target)


def _append(url: str, part: Path, have: int, *, progress: bool) -> None:
    request = urllib.request.Request(
        url, headers={"Range": f"bytes={have}-"} if have else {}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        if answer.status != HTTPStatus.PARTIAL_CONTENT:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            part.open("ab" if have else "wb") as file,
            progress_bar(
                "downloading",
                total=total,
                unit="B",
                is_shown=progress,
                initial=have,
                unit_scale=True,
            ) as bar,
        ):
            while chunk := answer.read(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
            size = file.tell()
    if total is not None and size != total:
        raise ConnectionError(f"{size:,} of {total:,} bytes arrived")


def _unpack(archive: Path, workbook: Path, *, sha256: str) -> None:
    fresh = workbook.with_suffix(".part")
    try:
        with (
            zipfile.ZipFile(archive) as members,
            members.open(WORKBOOK) as source,
            fresh.open("wb") as file,
        ):
            shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, KeyError) as error:
        fresh.unlink(missing_ok=True)
        raise DownloadError(
            f"{archive.name}: wanted an archive with {WORKBOOK!r} in it: {error}. It "
            "was deleted; run the same command again"
        ) from error
    checksum = _sha256(fresh)
    if checksum != sha256:
        fresh.unlink()
        raise DownloadError(
            f"{WORKBOOK}: wanted SHA-256 {sha256}, found {checksum}. It was deleted; "
            "if it stays so, the file at its source has changed"
        )
    fresh.replace(workbook)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class _Line:
    """One line of an invoice that has a customer."""

    invoice: str
    time: datetime
    customer: str
    country: str
    item: Row


def _lines(workbook: Path, *, rows: int | None, progress: bool) -> Iterator[_Line]:
    """Read the sheet a row at a time; check its columns and number of rows."""
    try:
        book = openpyxl.load_workbook(workbook, read_only=True, data_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise WorkbookError(f"{workbook}: wanted an .xlsx workbook: {error}") from error
    try:
        sheet = iter(book.worksheets[0].iter_rows(values_only=True))
        header = tuple(next(sheet, ()))[: len(COLUMNS)]
        if header != COLUMNS:
            raise WorkbookError(
                f"{workbook}: wanted the columns {', '.join(COLUMNS)}, found "
                f"{', '.join(map(str, header)) or 'none'}"
            )
        number = 0
        with progress_bar(
            "converting", total=rows, unit=" rows", is_shown=progress
        ) as bar:
            for number, cells in enumerate(sheet, start=1):
                bar.update()
                # Empty cells at a row's end may be left out.
                whole = (*cells, *[None] * len(COLUMNS))[: len(COLUMNS)]
                if whole[COLUMNS.index("CustomerID")] is not None:
                    yield _line(whole, f"{workbook}, row {number + 1}")
        if rows is not None and number != rows:
            raise WorkbookError(f"{workbook}: wanted {rows:,} rows, found {number:,}")
    finally:
        book.close()


def _line(cells: tuple[Any, ...], where: str) -> _Line:
    invoice, code, name, quantity, time, price, customer, country = cells
    try:
        item: Row = {"item_id": str(code)}
        if name is not None:
            item["item_name"] = str(name)
        item |= {"price": float(price), "quantity": abs(int(quantity))}
        # Excel keeps minutes as fractions of a day, a hair before or after them.
        minute = (time + timedelta(seconds=30)).replace(second=0, microsecond=0)
        local = minute.replace(tzinfo=TIME_ZONE)
        return _Line(str(invoice), local, str(int(customer)), str(country), item)
    except (AttributeError, TypeError, ValueError) as error:
        raise WorkbookError(f"{where}: found {cells!r}: {error}") from error


def events(
    workbook: Path, *, rows: int | None = WORKBOOK_ROWS, progress: bool = True
) -> Iterator[Row]:
    """
    Convert the workbook into rows of a GA4 export, in order of time and invoice.

    Args:
        workbook: Has ``COLUMNS`` in the first row of its first sheet.
        rows: Rows that it must have below them; None for any number.
        progress: Show a bar on stderr where that is a terminal.

    Raises:
        WorkbookError: The file is not that workbook.
    """
    invoices: dict[tuple[datetime, str, str], list[_Line]] = {}
    for line in _lines(workbook, rows=rows, progress=progress):
        key = (line.time.astimezone(UTC), line.invoice, line.customer)
        invoices.setdefault(key, []).append(line)
    numbers: Counter[str] = Counter()
    first_touch: dict[str, int] = {}
    for time, invoice, customer in sorted(invoices):
        lines = invoices.pop((time, invoice, customer))
        second = int(time.timestamp())
        numbers[customer] += 1
        yield _event(
            lines,
            second=second,
            first=first_touch.setdefault(customer, second),
            number=numbers[customer],
        )


def _event(lines: list[_Line], *, second: int, first: int, number: int) -> Row:
    head, items = lines[0], [line.item for line in lines]
    is_refund = head.invoice.startswith("C")
    value = round(sum(item["price"] * item["quantity"] for item in items), 2)
    return {
        "event_date": f"{head.time:%Y%m%d}",
        "event_timestamp": second * 1_000_000,
        "event_name": "refund" if is_refund else "purchase",
        "event_params": [
            {"key": "ga_session_id", "value": {"int_value": second}},
            {"key": "ga_session_number", "value": {"int_value": number}},
            {"key": "transaction_id", "value": {"string_value": head.invoice}},
            {"key": "currency", "value": {"string_value": CURRENCY}},
            {"key": "value", "value": {"double_value": value}},
        ],
        "user_id": head.customer,
        "user_pseudo_id": f"{head.customer}.{first}",
        "user_first_touch_timestamp": first * 1_000_000,
        "geo": {"country": head.country},
        "platform": "WEB",
        "stream_id": 1,
        "ecommerce": {
            "transaction_id": head.invoice,
            "total_item_quantity": sum(item["quantity"] for item in items),
            "unique_items": len({item["item_id"] for item in items}),
            "refund_value" if is_refund else "purchase_revenue": value,
        },
        "items": items,
    }


def fetch(
    folder: Path,
    *,
    base_url: str = BASE_URL,
    sha256: str = WORKBOOK_SHA256,
    rows: int | None = WORKBOOK_ROWS,
    progress: bool = True,
) -> Path:
    """
    Download and convert the data set, once; what is there already is used.

    Args:
        folder: Keeps the workbook and its rows.
        sha256: Of the workbook; its rows are kept under a name that holds it.
        base_url, rows, progress: As of ``download`` and ``events``.

    Returns:
        An NDJSON file, compressed, that ``ga4_export.load_export`` takes.

    Raises:
        DownloadError: It could not be had.
        WorkbookError: It is not that workbook.
    """
    converted = folder / f"online_retail_ga4-{sha256[:12]}.ndjson.zst"
    if converted.exists():
        return converted
    workbook = download(folder, base_url=base_url, sha256=sha256, progress=progress)
    part = converted.with_suffix(".part")
    with (
        part.open("wb") as file,
        zstandard.ZstdCompressor(level=6).stream_writer(file) as writer,
    ):
        for row in events(workbook, rows=rows, progress=progress):
            writer.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    part.replace(converted)
    return converted
