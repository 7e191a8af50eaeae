"""Tables in files, specified: one form of CSV, Parquet, and what is refused."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pytest
import zstandard

from offline import table_files
from propensity.errors import SchemaError

CSV = b"id,amount\n007,1.5\n"


@pytest.fixture
def read(tmp_path):
    def reading(content: bytes, name: str = "x.csv") -> pa.Table:
        path = tmp_path / name
        path.write_bytes(content)
        return table_files.read(path, ["id", "amount"], texts=["id"])

    return reading


@pytest.mark.parametrize(
    ("pack", "ending"),
    [(bytes, ""), (gzip.compress, ".gz"), (zstandard.compress, ".zst")],
)
def test_csv_is_read_however_it_is_packed(read, pack, ending):
    """Texts are as they are written; Windows marks the first line."""
    expected = [{"id": "007", "amount": 1.5}]
    marked = b"\xef\xbb\xbf" + CSV.replace(b"\n", b"\r\n")

    assert read(pack(CSV), f"x.csv{ending}").to_pylist() == expected
    assert read(pack(marked), f"x.csv{ending}").to_pylist() == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id;amount\n7;1,5\n", "can not be read"),
        (b"id;amount\n", "lacks the columns id, amount; it has id;amount"),
        (b"", "can not be read"),
        (b"id,amount,id\n", "several columns id"),
        ("id,amount\n\u00f6,1\n".encode("latin-1"), "can not be read"),
    ],
    ids=str,
)
def test_csv_of_another_form_is_refused(read, content, message):
    """With the file, what was found and what is expected."""
    with pytest.raises(SchemaError, match=message) as refused:
        read(content)
    assert "x.csv" in refused.value.message


def test_a_file_that_is_cut_off_or_not_there_is_refused(read, tmp_path):
    for content, name in (
        (gzip.compress(CSV * 9000, mtime=0)[:-9], "x.csv.gz"),
        (b"PAR1 and no more", "x.parquet"),
    ):
        with pytest.raises(SchemaError, match=f"{name} can not be read"):
            read(content, name)
    with pytest.raises(SchemaError, match="gone.csv can not be read"):
        table_files.read(tmp_path / "gone.csv", ["id"])


@pytest.mark.parametrize(
    ("column", "wrong"),
    [
        ([1067, None, 2**53 - 1], ""),
        ([1067, 2**53], "row 2"),
        (["01067", "1E+05"], "row 2"),
        (["2139.0"], "row 1"),
        ([None, 2139.0], "row 2"),
    ],
)
def test_an_id_that_may_have_lost_digits_is_refused(column, wrong):
    """As data frames and spreadsheets write what they took for numbers."""
    ids = pa.chunked_array([column])
    if wrong:
        with pytest.raises(SchemaError, match=f"{wrong}: x is the number"):
            table_files.identities(ids, "x")
    else:
        texts = [None if one is None else str(one) for one in column]
        assert table_files.identities(ids, "x").to_pylist() == texts
