"""
The public retail workbook, specified: how it is had, and how it becomes events.

The download is tested against a server on 127.0.0.1 that can cut, refuse and resume;
the conversion on workbooks written here, and on the real rows where they are at hand.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import zipfile
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import openpyxl
import orjson
import pytest
import zstandard

from local.exports import online_retail
from local.exports.online_retail import COLUMNS, WORKBOOK, DownloadError, WorkbookError

# A workbook has no time zones.
MORNING = datetime.fromisoformat("2011-06-01T08:30")


def line(**changed: Any) -> tuple[Any, ...]:
    """Return a line of an invoice; a test says only what differs."""
    usual = (536365, "85123A", "HEART HOLDER ", 6, MORNING, 2.55, 17850.0)
    return *({**dict(zip(COLUMNS, usual, strict=False)), **changed}.values()), "UK"


LINES = [
    line(),
    line(StockCode="POST", Description="POSTAGE", Quantity=1, UnitPrice=18),
    line(InvoiceNo=536366, Description=None, UnitPrice=0.0, CustomerID=None),
    line(
        InvoiceNo="C536370",
        StockCode=71053,
        Quantity=-3,
        InvoiceDate=MORNING.replace(day=2),
        UnitPrice=3.39,
    ),
]


def workbook(folder: Path, *lines: tuple[Any, ...], header: Any = COLUMNS) -> Path:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Online Retail")
    sheet.append(header)
    for line in lines:
        sheet.append(line)
    path = folder / WORKBOOK
    book.save(path)
    return path


def convert(folder: Path, *lines: tuple[Any, ...]) -> list[dict[str, Any]]:
    path = workbook(folder, *lines)
    return list(online_retail.events(path, rows=len(lines), progress=False))


class TestConversion:
    def test_an_invoice_is_a_purchase_with_its_lines_as_items(self, tmp_path):
        """All lines of an invoice are one event, whose revenue is their sum."""
        purchase, _ = convert(tmp_path, *LINES)

        assert purchase["event_name"] == "purchase"
        assert purchase["ecommerce"] == {
            "transaction_id": "536365",
            "total_item_quantity": 7,
            "unique_items": 2,
            "purchase_revenue": 33.3,
        }
        assert purchase["items"][0] == {
            "item_id": "85123A",
            "item_name": "HEART HOLDER ",
            "price": 2.55,
            "quantity": 6,
        }

    def test_a_cancelled_invoice_is_a_refund_of_positive_quantities(self, tmp_path):
        """An invoice C... is a refund; its value and quantities are positive."""
        _, refund = convert(tmp_path, *LINES)

        assert refund["event_name"] == "refund"
        assert refund["ecommerce"]["refund_value"] == 10.17
        assert refund["items"][0]["quantity"] == 3

    def test_lines_without_a_customer_are_left_out(self, tmp_path):
        """Nobody can be predicted from an invoice that names no customer."""
        assert convert(tmp_path, LINES[2]) == []

    def test_a_price_of_zero_and_a_repeated_line_are_kept(self, tmp_path):
        """Every line of a customer is an item: gifts and repetitions too."""
        (event,) = convert(tmp_path, *[line(UnitPrice=0)] * 2)

        assert len(event["items"]) == 2
        assert event["ecommerce"]["purchase_revenue"] == 0
        assert event["ecommerce"]["unique_items"] == 1

    def test_an_invoice_of_two_minutes_is_two_events(self, tmp_path):
        """Lines of one invoice at different minutes are events of their own."""
        later = line(InvoiceDate=MORNING.replace(minute=31))

        assert len(convert(tmp_path, line(), later)) == 2

    def test_sessions_count_a_customers_events_in_order_of_time(self, tmp_path):
        """The number grows with time, whatever the order of the rows."""
        numbers = [
            event["event_params"][1]["value"]["int_value"]
            for event in convert(tmp_path, LINES[3], LINES[0])
        ]

        assert numbers == [1, 2]

    def test_the_shops_clock_is_london(self, tmp_path):
        """08:30 in June is 07:30 UTC; half past midnight keeps its local date."""
        night = line(InvoiceDate=MORNING.replace(hour=0))
        first, second = convert(tmp_path, night, line())

        assert first["event_date"] == "20110601"
        assert first["event_timestamp"] == 1306884600 * 1_000_000
        assert second["event_timestamp"] == 1306913400 * 1_000_000

    def test_a_seconds_fraction_of_excel_does_not_move_the_minute(self, tmp_path):
        """A time a hair before its minute is that minute."""
        early = line(InvoiceDate=datetime.fromisoformat("2011-06-01T08:29:59.999"))

        assert len(convert(tmp_path, line(), early)) == 1

    @pytest.mark.parametrize(
        ("header", "rows", "message"),
        [
            (("Invoice", *COLUMNS[1:]), 4, "wanted the columns InvoiceNo"),
            (COLUMNS, 541_909, "wanted 541,909 rows, found 4"),
        ],
    )
    def test_another_workbook_is_refused(self, tmp_path, header, rows, message):
        """Other columns or another number of rows are another data set."""
        path = workbook(tmp_path, *LINES, header=header)

        with pytest.raises(WorkbookError, match=message):
            list(online_retail.events(path, rows=rows, progress=False))

    def test_a_cell_of_the_wrong_kind_is_named(self, tmp_path):
        """A price that is no number stops the conversion at its row."""
        with pytest.raises(WorkbookError, match="row 3: .*free"):
            convert(tmp_path, line(), line(UnitPrice="free"))

    def test_a_file_that_is_no_workbook_is_refused(self, tmp_path):
        """Bytes that openpyxl cannot open are refused with the file's name."""
        path = tmp_path / WORKBOOK
        path.write_bytes(b"<html>not found</html>")

        with pytest.raises(WorkbookError, match=r"wanted an \.xlsx workbook"):
            list(online_retail.events(path, progress=False))

    def test_the_real_invoices_become_the_real_rows(self, tmp_path, data_folder):
        """The first 300 events, turned back into lines, convert to themselves."""
        stored = data_folder / "online_retail_ga4.ndjson.zst"
        with zstandard.open(stored, "rt", encoding="utf-8") as rows:
            expected = [orjson.loads(row) for row in itertools.islice(rows, 300)]

        assert convert(tmp_path, *itertools.chain(*map(lines_of, expected))) == expected


def lines_of(event: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Turn an event back into lines, as the workbook writes them."""
    sign = -1 if event["event_name"] == "refund" else 1
    second = event["event_timestamp"] / 1_000_000
    time = datetime.fromtimestamp(second, online_retail.TIME_ZONE).replace(tzinfo=None)
    invoice = event["ecommerce"]["transaction_id"]
    for item in event["items"]:
        yield (
            int(invoice) if invoice.isdigit() else invoice,
            int(item["item_id"]) if item["item_id"].isdigit() else item["item_id"],
            item["item_name"],
            sign * item["quantity"],
            time,
            item["price"],
            float(event["user_id"]),
            event["geo"]["country"],
        )


class Repository(ThreadingHTTPServer):
    """Serves one archive, whole or cut, with or without ranges; remembers requests."""

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.status = 200
        self.cut_after: int | None = None
        self.knows_ranges = True
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        range_ = self.headers.get("Range")
        self.server.ranges.append(range_)
        if self.server.status != 200 or self.path != online_retail.ARCHIVE:
            self.send_error(self.server.status if self.server.status != 200 else 404)
            return
        start = 0
        if range_ and self.server.knows_ranges:
            start = int(range_.removeprefix("bytes=").removesuffix("-"))
        body = self.server.body[start:]
        if start and not body:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut_after])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def content(tmp_path) -> bytes:
    folder = tmp_path / "source"
    folder.mkdir()
    return workbook(folder, *LINES).read_bytes()


@pytest.fixture
def repository(content) -> Iterator[Repository]:
    with Repository(archive_of(content)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def archive_of(content: bytes, name: str = WORKBOOK) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, content)
    return packed.getvalue()


class TestDownload:
    @pytest.fixture
    def download(self, tmp_path, content, repository):
        def call(sha256: str = hashlib.sha256(content).hexdigest()) -> Path:
            return online_retail.download(
                tmp_path / "to", base_url=repository.url, sha256=sha256, progress=False
            )

        return call

    def test_brings_the_workbook_once_and_nothing_else(
        self, download, content, repository
    ):
        """The archive is unpacked, verified and deleted; one that is there is used."""
        path = download()

        assert download() == path
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]
        assert len(repository.ranges) == 1

    def test_replaces_a_workbook_that_has_been_altered(self, download, content):
        """A file of another checksum is fetched anew."""
        download().write_bytes(b"altered")

        assert download().read_bytes() == content

    def test_goes_on_after_a_cut(self, download, repository, content):
        """A connection that ends early is an error; the next call asks for the rest."""
        repository.cut_after = 1000
        with pytest.raises(DownloadError, match="goes on from where it stopped"):
            download()
        repository.cut_after = None

        assert download().read_bytes() == content
        assert repository.ranges == [None, "bytes=1000-"]

    def test_starts_again_where_the_server_knows_no_ranges(
        self, download, repository, content
    ):
        """An answer that begins at the beginning replaces what was there."""
        repository.cut_after = 1000
        with pytest.raises(DownloadError):
            download()
        repository.cut_after, repository.knows_ranges = None, False

        assert download().read_bytes() == content

    def test_starts_again_where_nothing_is_left(self, download, tmp_path, content):
        """A part at least as long as the archive cannot be gone on with."""
        part = tmp_path / "to" / "online-retail.part"
        part.parent.mkdir()
        part.write_bytes(b"x" * 10**6)

        assert download().read_bytes() == content

    def test_refuses_another_file_and_deletes_it(self, download, tmp_path):
        """A wrong checksum names both; nothing is left that could be taken for it."""
        with pytest.raises(DownloadError, match="wanted SHA-256 00ff, found [0-9a-f]+"):
            download(sha256="00ff")

        assert list((tmp_path / "to").iterdir()) == []

    @pytest.mark.parametrize("status", [404, 503])
    def test_says_what_the_server_answered(self, download, repository, status):
        """A refusal is passed on with its number."""
        repository.status = status

        with pytest.raises(DownloadError, match=f"answered {status}"):
            download()

    @pytest.mark.parametrize("body", [b"<html>", archive_of(b"", name="else.txt")])
    def test_refuses_what_is_no_such_archive(self, download, repository, body):
        """A page instead of an archive, or an archive of something else."""
        repository.body = body

        with pytest.raises(DownloadError, match="wanted an archive with"):
            download()

    def test_says_when_nobody_answers(self, tmp_path):
        """A port that nobody listens at is an error that can be tried again."""
        with pytest.raises(DownloadError, match="connection failed"):
            online_retail.download(
                tmp_path, base_url="http://127.0.0.1:9", progress=False
            )

    def test_keeps_the_converted_rows(self, tmp_path, repository, content):
        """The second demo neither downloads nor converts."""
        fetched = [
            online_retail.fetch(
                tmp_path / "to",
                base_url=repository.url,
                sha256=hashlib.sha256(content).hexdigest(),
                rows=len(LINES),
                progress=False,
            )
            for _ in range(2)
        ]

        assert len(repository.ranges) == 1
        with zstandard.open(fetched[1], "rt") as rows:
            assert len(rows.readlines()) == 2
