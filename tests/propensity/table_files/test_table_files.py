"""Tables in files, specified: one form of CSV, Parquet, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from propensity.errors import SchemaError
from propensity.table_files import files as table_files

CSV = b"id,amount\n007,1.5\n"


@pytest.fixture
def read(tmp_path):
    def reading(content: bytes, name: str = "x.csv") -> pa.Table:
        path = tmp_path / name
        path.write_bytes(content)
        return table_files.read_file(path, ["id", "amount"])

    return reading


def zipped(content: bytes, *others: str) -> bytes:
    """Return an archive of a file, and of others beside it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("x.csv", "__MACOSX/._x.csv", *others):
            file.writestr(name, content)
    return archive.getvalue()


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, bz2.compress, zstandard.compress, zipped]
)
def test_csv_may_be_packed(read, pack):
    """Texts are as they are written; Windows marks the first line."""
    expected = [{"id": "007", "amount": "1.5"}]
    marked = b"\xef\xbb\xbf" + CSV.replace(b"\n", b"\r\n")

    assert read(pack(CSV), "x.CSV").to_pylist() == expected
    assert read(pack(marked), "x").to_pylist() == expected


@pytest.mark.parametrize(
    "content",
    [
        b"id;amount\nb;1,5\nc;2,5\n",
        b"sep=;\nid;amount\nb;1,5\nc;2,5\n",
        b"Orders, 2026\n\nid;amount\nb;1,5\nc;2,5\n",
        b' id ,amount\nb,"1,5"\nc,"2,5"\n',
        "id|amount\nb|1,5\nc|2,5\n".encode("utf-16"),
    ],
    ids=str,
)
def test_csv_is_read_as_spreadsheets_of_any_country_write_it(read, content):
    """With semicolons, and with a title above the header."""
    assert read(content).to_pylist() == [
        {"id": "b", "amount": "1,5"},
        {"id": "c", "amount": "2,5"},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (
            "id,amount\n\u00f6,1\n".encode("latin-1"),
            "is not in UTF-8, as line 2 shows. Save it as CSV",
        ),
        (b"id,amount\n1,2\n3\0,4\n", "line 3 has a NUL byte"),
        (zipped(CSV, "y.csv"), "has 2 files: x.csv, y.csv. Unpack it"),
        (zipped(CSV, "xl/workbook.xml"), "is a spreadsheet, .* save its table as CSV"),
        (b'[{"id": 1}]', "neither Parquet nor CSV"),
        (b"id,amount\n1,2\n3\n", "row 2 has 1 columns instead of 2"),
        (b'id,amount\n1,"2\n3,4\n', "row 1 has a quotation mark that is not closed"),
    ],
)
def test_csv_of_another_form_is_refused(read, content, message):
    """With the file, what was found and what is expected."""
    with pytest.raises(SchemaError, match=message) as refused:
        read(content)
    assert "x.csv" in refused.value.message


def parquet(amount: pa.Array) -> bytes:
    content = io.BytesIO()
    ids = pa.array(["a"]).take(pa.array([0] * len(amount)))
    pq.write_table(pa.table({"id": ids, "amount": amount}), content)
    return content.getvalue()


LONG = pa.array(["x" * 1_000_000])
SAME = pa.array([0] * 300)


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(CSV * 20_000) * 1_000,
        parquet(LONG.take(SAME)),
        parquet(pa.ListArray.from_arrays(list(range(301)), LONG.take(SAME))),
    ],
    ids=["csv", "text", "list"],
)
def test_a_small_file_that_unpacks_to_a_large_one_is_refused(read, content):
    """Defects: 2 MB of CSV were unpacked to 2 GB in memory, and 9 kB of Parquet, whose
    rows all had one long text, to 3 GB."""
    assert len(content) < 3_000_000
    with pytest.raises(SchemaError, match="unpacks to more than 268 MB"):
        read(content)


@pytest.mark.parametrize(
    ("texts", "end"),
    [
        (["NA", "null", "NaN", "n/a", "#N/A", "", " "], "\n"),
        (["007", "1e5", "true", "2026-01-05", "first\nsecond", '"'], "\r\n"),
    ],
)
def test_texts_of_csv_are_as_they_are_written(tmp_path, texts, end):
    """Whatever they look like, and whatever an editor puts around the rows."""
    lines = ['"{}",x'.format(text.replace('"', '""')) for text in texts]
    content = end.join([f"{end}id,amount", *lines, "", "  ", ""])
    path = tmp_path / "texts.csv"
    path.write_bytes(("\ufeff" + content.removeprefix(end)).encode())

    found = table_files.read_file(path, ["id", "amount"])["id"].to_pylist()
    assert found == [text or None for text in texts]


@pytest.mark.parametrize(
    ("column", "wrong"),
    [
        ([1067, None, 2**53 - 1], ""),
        ([1067, 2**53], "row 2"),
        (["01067", "1E+05"], "row 2"),
        ([None, 2139.0], "row 2"),
    ],
)
def test_an_id_that_may_have_lost_digits_is_refused(column, wrong):
    """As data frames and spreadsheets write what they took for numbers."""
    ids = pa.chunked_array([column])
    if wrong:
        with pytest.raises(
            SchemaError, match=f"column x, {wrong}: .* is a number, which"
        ):
            table_files.identities(ids, "x")
    else:
        texts = [None if one is None else str(one) for one in column]
        assert table_files.identities(ids, "x").to_pylist() == texts
