"""Tables in files, specified: one form of CSV, Parquet, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from offline import table_files
from propensity.errors import SchemaError

CSV = b"id,amount\n007,1.5\n"


def read(path: Path, content: bytes) -> pa.Table:
    path.write_bytes(content)
    return table_files.read(path, ["id", "amount"], texts=["id"])


class TestTables:
    @pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
    def test_are_read_from_csv_however_it_is_packed(self, tmp_path, pack):
        """Texts are as they are written; Windows marks the first line."""
        wanted = [{"id": "007", "amount": 1.5}]

        assert read(tmp_path / "x", pack(CSV)).to_pylist() == wanted
        marked = b"\xef\xbb\xbf" + CSV.replace(b"\n", b"\r\n")
        assert read(tmp_path / "x", pack(marked)).to_pylist() == wanted

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"id;amount\n7;1,5\n", "first line is 'id;amount': it lacks id, amount"),
            (b"", "first line is '': it lacks id, amount. Expected"),
            (b"sep=,\nid,amount\n", "first line is 'sep=,'"),
            (b"id,amount,id\n", "several columns id"),
            (CSV.decode().encode("utf-16"), "written in UTF-16"),
            (CSV.decode().encode("utf-16-le"), "written in UTF-16"),
            ("id,gr\u00f6\u00dfe\n".encode("latin-1"), "no text in UTF-8"),
            (gzip.compress(CSV * 9000, mtime=0)[:-9], "can not be read"),
            (b"PAR1 and no more", "can not be read"),
        ],
        ids=str,
    )
    def test_of_another_form_are_refused(self, tmp_path, content, said):
        """By the first line, with the file, what was found and what is expected."""
        with pytest.raises(SchemaError, match=said) as refused:
            read(tmp_path / "x.csv", content)
        assert str(tmp_path / "x.csv") in refused.value.message

    def test_of_parquet_name_the_columns_that_are_there(self, tmp_path):
        """So that the one that is missing is easily found."""
        pq.write_table(pa.table({"ID": [1], "amount": [2]}), tmp_path / "x")

        with pytest.raises(SchemaError, match="columns are ID, amount: it lacks id"):
            table_files.read(tmp_path / "x", ["id"])

    def test_that_are_not_there_are_named(self, tmp_path):
        """With the path that was given."""
        with pytest.raises(SchemaError, match="gone.csv can not be read"):
            table_files.read(tmp_path / "gone.csv", ["id"])
