"""Files of postcodes, specified: any table of them is read, and each row once."""

from __future__ import annotations

import gzip
import statistics
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from commands.cli import main
from offline import csv_files, load_postcodes, postcode_files
from propensity import tables
from propensity.errors import SchemaError
from propensity.events.postcodes import normalised, outward
from tests.offline.postcodes import CSV, LOADED, TODAY, written


def batch(rows: list[tuple[Any, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [
            pa.array([code for code, _ in rows], pa.string()),
            pa.array([value for _, value in rows], pa.float64()),
        ],
        names=["postcode", "socioeconomic_idx"],
    )


def read(path: str, **named: str) -> tuple[pa.Table, load_postcodes.Summary]:
    """Return the rows of a file, and their summary."""
    options = {"postcode_column": None, "index_column": None, **named}
    with csv_files.refusals_of(Path(path)):
        columns = postcode_files.columns_of(Path(path), **options)
        batches = postcode_files.batches_of(Path(path), *columns)
        return load_postcodes.table_of(batches, loaded_on=TODAY)


def tupled(rows: pa.Table) -> set[tuple[str, float, bool]]:
    return {
        (row["postcode"], row["socioeconomic_idx"], row["is_outward"])
        for row in rows.to_pylist()
    }


class TestFiles:
    @pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
    def test_may_be_packed(self, tmp_path, pack):
        """Plain, gzip and Zstandard are told by their content."""
        path = written(tmp_path, pack(CSV.encode()), name="postcodes.data")

        assert tupled(read(path)[0]) == LOADED

    @pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
    def test_may_be_separated_otherwise(self, tmp_path, separator):
        """What separates the header separates the rows."""
        path = written(tmp_path, CSV.replace(",", separator))

        assert tupled(read(path)[0]) == LOADED

    @pytest.mark.parametrize("separator", [";", "\t", "|"])
    def test_may_have_decimal_commas(self, tmp_path, separator):
        """Where commas do not separate, the column of numbers is still found."""
        text = "postcode;index\nQA1 2BD;3,25\nQA1 2BE;-0,5\nQA1 2BF;7\nQA1 2BG;\n"
        rows, summary = read(written(tmp_path, text.replace(";", separator)))

        assert {
            row["postcode"]: row["socioeconomic_idx"]
            for row in rows.to_pylist()
            if not row["is_outward"]
        } == {"QA12BD": 3.25, "QA12BE": -0.5, "QA12BF": 7.0}
        assert summary.without_index == 1

    def test_take_no_comma_between_thousands_for_one_of_decimals(self, tmp_path):
        """12,345 may be twelve or twelve thousand: it is refused, not guessed."""
        text = "postcode;index\nQA1 2BD;12,345\nQA1 2BE;1,234\n"

        with pytest.raises(SchemaError, match="row 1: wanted a number.*'12,345'"):
            read(written(tmp_path, text), index_column="index")

    def test_may_be_as_spreadsheets_write_them(self, tmp_path):
        """A mark of UTF-8, quotes, line ends of two characters and lines within a
        value change nothing."""
        text = '\ufeff"Post Code","note","imd"\r\n"qa1 2bd","two\r\nlines","3"\r\n'

        assert tupled(read(written(tmp_path, text))[0]) == {
            ("QA12BD", 3.0, False),
            ("QA1", 3.0, True),
        }

    @pytest.mark.parametrize(
        ("codes", "values"),
        [
            (pa.string(), pa.float64()),
            (pa.large_string(), pa.float32()),
            (pa.dictionary(pa.int32(), pa.string()), pa.decimal128(9, 3)),
            (pa.string(), pa.string()),
            (pa.string(), pa.int64()),
        ],
        ids=str,
    )
    def test_may_be_parquet_of_any_types(self, tmp_path, codes, values):
        """Texts, dictionaries and every kind of number are read; so is text that is
        a number."""
        path = tmp_path / "postcodes.parquet"
        table = pa.table(
            {
                "pcds": pa.array(["QA1 2BD", None, "QA1 2BE"]).cast(codes),
                "imd": pa.array(["3", "4", None]).cast(
                    pa.float64() if values == pa.float32() else values
                ),
            }
        )
        pq.write_table(table, path)
        rows, summary = read(str(path), index_column="imd")

        assert tupled(rows) == {("QA12BD", 3.0, False), ("QA1", 3.0, True)}
        assert (summary.without_postcode, summary.without_index) == (1, 1)

    def test_hold_numbers_for_postcodes(self, tmp_path):
        """Elsewhere a postcode is a number; its leading zeros stay."""
        path = written(tmp_path, "plz,index\n01067,3\n80331,4\n")

        assert tupled(read(path, postcode_column="plz")[0]) == {
            ("01067", 3.0, False),
            ("80331", 4.0, False),
        }

    def test_are_refused_where_decimals_are_of_both_kinds(self, tmp_path):
        """1.234 after megabytes of decimal commas is a thousand, or is not."""
        rows = "".join(f"Z{number};1,5\n" for number in range(9000))
        path = written(tmp_path, f"postcode;index\n{rows}QA1 2BD;1.234\n")

        with pytest.raises(SchemaError, match="row 9001: '1.234' in column 'index'"):
            read(path, index_column="index")

    @pytest.mark.parametrize("code", ["2139.0", "2139,0", "1E+05", "1.21e+04"])
    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    def test_are_refused_where_postcodes_became_numbers(self, tmp_path, code, kind):
        """A data frame writes 02139 as 2139.0 beside a gap: 21390 is elsewhere."""
        path = written(tmp_path, f"zip;index\nA1;3\n{code};4\n")
        if kind == "parquet":
            path = str(tmp_path / "postcodes.parquet")
            pq.write_table(pa.table({"zip": ["A1", code], "index": [3, 4]}), path)

        with pytest.raises(SchemaError, match="row 2: .* is a number and no postcode"):
            read(path)

    @pytest.mark.parametrize("nothing", ["#N/A", "n/a", " NULL ", "nan", "-"])
    def test_may_lack_a_postcode(self, tmp_path, nothing):
        """What stands for none is not a place of that name."""
        path = written(tmp_path, f"postcode,index\nQD3 1AA,3\n{nothing},4\n")
        rows, summary = read(path)

        assert tupled(rows) == {("QD31AA", 3.0, False), ("QD3", 3.0, True)}
        assert summary.without_postcode == 1

    @pytest.mark.parametrize("nothing", ["", " ", "NA", "nan", "NULL", "-"])
    def test_may_lack_an_index(self, tmp_path, nothing):
        """What stands for no number is counted, and the row left out."""
        path = written(tmp_path, f"postcode,index\nQA1 2BD,3\nQA1 2BE,{nothing}\n")
        rows, summary = read(path, index_column="index")

        assert summary.without_index == 1
        assert "QA12BE" not in rows["postcode"].to_pylist()

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("postcode,x\nQA1 2BD,3\nQA1 2BE,much\n", "row 2: wanted a number"),
            ('postcode,x\nQA1 2BD,3\nQA1 2BE,"1,5"\n', "found '1,5'"),
            ("postcode,x\nQA1 2BD,3\nQA1 2BE,inf\n", "row 2: the index"),
            ("postcode,x\n12 Mill Lane Dunmere,3\n", "is no postcode"),
            ("postcode,x\nQA1 2BD,3\nQA1 2BE\n", "Row #3: Expected 2 columns, got 1"),
            ("postcode,x\nQA1 2BD,\n,3\n", "none of 2 rows has both"),
            ("", "Empty CSV file"),
        ],
        ids=["text", "comma", "infinite", "address", "short row", "nothing", "empty"],
    )
    def test_are_refused_with_the_row(self, tmp_path, text, said):
        """What can be neither postcode nor index is named with its row."""
        with pytest.raises(SchemaError, match="postcodes.csv|none of") as refused:
            read(written(tmp_path, text), index_column="x")

        assert said in refused.value.message

    def test_are_refused_where_they_are_cut(self, tmp_path):
        """A packed file that ends before its end is not half a file."""
        packed = gzip.compress(CSV.encode() * 1000)

        with pytest.raises(SchemaError, match="can not be read"):
            read(written(tmp_path, packed[:-10]), index_column="socioeconomic_idx")

    def test_are_refused_where_their_columns_cannot_be_read(self, tmp_path):
        """As the names of a file in an old encoding: there is no trace of it."""
        text = "postcode,index,städte\nQA1 2BD,3,Köln\n".encode("latin-1")

        with pytest.raises(SchemaError, match="not written in UTF-8"):
            read(written(tmp_path, text))

    @pytest.mark.parametrize(
        ("head", "encoding", "said"),
        [
            ("sep=;\r\n", "utf-8", "first line, sep=;, is for Excel"),
            ("sep=;\r\n", "utf-8-sig", "first line, sep=;, is for Excel"),
            ('"sep=;"\r\n', "utf-8", "first line, sep=;, is for Excel"),
            ("", "utf-16", "written in UTF-16"),
            ("", "utf-16-le", "written in UTF-16"),
        ],
    )
    def test_are_refused_as_excel_alone_reads_them(
        self, tmp_path, head, encoding, said
    ):
        """A line that names the separator, and what is not UTF-8."""
        text = f"{head}postcode;index\r\nQA1 2BD;1,5\r\n"

        with pytest.raises(SchemaError, match=said):
            read(written(tmp_path, text.encode(encoding)))

    def test_are_refused_where_there_are_none(self, tmp_path):
        """A file that is not there is named."""
        with pytest.raises(SchemaError, match="gone.csv"):
            read(str(tmp_path / "gone.csv"))


class TestColumns:
    @pytest.mark.parametrize(
        ("header", "columns"),
        [
            ("postcode,socioeconomic_idx,rank", ("postcode", "socioeconomic_idx")),
            ("Postcode,imd", ("Postcode", "imd")),
            ("POST_CODE,imd", ("POST_CODE", "imd")),
            ("imd,pcds", ("pcds", "imd")),
            ("postcode,pcd,imd", ("postcode", "imd")),
        ],
    )
    def test_are_guessed_where_they_are_plain(self, tmp_path, header, columns):
        """The column that is called postcode, or is the only one that may be; and the
        index by its name, or as the only number."""
        values = ("Z1" if "p" in name.lower() else "3" for name in header.split(","))
        path = written(tmp_path, f"{header}\n{','.join(values)}\n")

        assert postcode_files.columns_of(Path(path), None, None) == columns

    @pytest.mark.parametrize(
        ("header", "named", "said"),
        [
            ("pcd,pcds,imd", {}, "postcode may be any of pcd, pcds"),
            ("place,imd", {}, "no column looks like the postcode"),
            ("postcode,score,rank", {}, "index may be any of score, rank"),
            ("postcode,town", {}, "no column looks like the index"),
            ("postcode,imd", {"index_column": "IMD"}, "is no column 'IMD'"),
            ("postcode,imd,imd", {"index_column": "imd"}, "are several column 'imd'"),
            ("postcode,imd", {"index_column": "postcode"}, "both the postcode and"),
        ],
    )
    def test_are_asked_for_where_they_are_not(self, tmp_path, header, named, said):
        """What can not be told is refused, with the names of the columns."""
        values = {"town": "Dunmere", "place": "Dunmere"}
        row = ",".join(values.get(name, "3") for name in header.split(","))

        with pytest.raises(SchemaError) as refused:
            read(written(tmp_path, f"{header}\n{row}\n"), **named)

        assert said in refused.value.message
        if "both" not in said:
            assert ", ".join(header.split(",")) in refused.value.message

    def test_are_named_by_the_command_line(self, tmp_path, capsys):
        """The options say which columns to take."""
        path = written(tmp_path, "pcd,pcds,score,rank\nQ,QA1 2BD,3,4\n")
        options = ["--postcode-column", "pcds", "--index-column", "rank"]

        assert main(["load-postcodes", path, "--dry-run", *options]) == 0
        assert "pcds, rank" in capsys.readouterr().out


CODES = st.sampled_from(
    [
        "QA1 2BD",
        "qa12bd",
        "QA1 2BE",
        "QA12 1AA",
        "QA1",
        "QD3 1AA",
        "D02 X285",
        "-",
        None,
    ]
)
INDICES = st.one_of(st.none(), st.integers(-3, 3).map(float), st.floats(-1e9, 1e9))


class TestRows:
    @given(st.lists(st.tuples(CODES, INDICES), max_size=40), st.randoms())
    def test_are_the_same_for_any_order(self, rows, order):
        """Each postcode has the lower median of its different values, each outward
        code the lower median of its postcodes, however the rows come."""
        values: dict[str, set[float]] = {}
        for code, value in rows:
            if normalised(code or "") and value is not None:
                values.setdefault(normalised(code), set()).add(value)
        wanted = {code: statistics.median_low(said) for code, said in values.items()}
        parts: dict[str, list[float]] = {}
        for code, value in wanted.items():
            if (part := outward(code)) is not None:
                parts.setdefault(part, []).append(value)
        medians = {part: statistics.median_low(said) for part, said in parts.items()}
        order.shuffle(rows)
        batches = [batch(rows[:7]), batch(rows[7:20]), batch(rows[20:])]
        read = postcode_files.typed(batches, "postcode", "socioeconomic_idx")
        if not wanted:
            with pytest.raises(SchemaError):
                load_postcodes.table_of(read, loaded_on=TODAY)
            return

        table, summary = load_postcodes.table_of(read, loaded_on=TODAY)

        assert tupled(table) == {
            *((code, value, False) for code, value in wanted.items()),
            *(
                (part, value, True)
                for part, value in medians.items()
                if part not in wanted
            ),
        }
        assert table.num_rows == summary.postcodes + summary.outward_codes
        said = sum(map(len, values.values()))
        left_out = summary.without_postcode + summary.without_index + summary.repeated
        assert summary.rows == len(rows) == said + left_out
        assert summary.conflicts == sum(len(one) > 1 for one in values.values())

    def test_conform_to_the_table(self):
        """What is loaded has the columns that the table declares."""
        rows = load_postcodes.table_of([batch([("QA12BD", 1.0)])], loaded_on=TODAY)[0]

        assert rows.cast(tables.POSTCODE_INDEX.arrow_schema()).num_rows == 2
