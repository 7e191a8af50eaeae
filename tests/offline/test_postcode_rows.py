"""Files of postcodes, specified: any table of them is read, and each row once."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.cli import main
from offline import load_postcodes, table_files
from propensity import tables
from propensity.errors import SchemaError
from propensity.events.enrichment import normalised, outward
from tests.offline.postcodes import TODAY, written


def read(path: str, *columns: str) -> tuple[pa.Table, load_postcodes.Summary]:
    """Return the rows of a file, and their summary."""
    named = columns or (load_postcodes.POSTCODE, load_postcodes.INDEX)
    table = table_files.read(Path(path), named, texts=named[:1])
    return load_postcodes.table_of(table, *named, loaded_on=TODAY)


def table_of(rows: list[tuple[Any, Any]]) -> pa.Table:
    codes, values = zip(*rows, strict=True) if rows else ((), ())
    schema = pa.schema([("postcode", pa.string()), ("socioeconomic_idx", pa.float64())])
    return pa.table([list(codes), list(values)], schema=schema)


def tupled(rows: pa.Table) -> set[tuple[str, float, bool]]:
    return {
        (row["postcode"], row["socioeconomic_idx"], row["is_outward"])
        for row in rows.to_pylist()
    }


class TestFiles:
    @pytest.mark.parametrize(
        ("codes", "values"),
        [
            (pa.string(), pa.float64()),
            (pa.dictionary(pa.int32(), pa.string()), pa.decimal128(9, 3)),
            (pa.large_string(), pa.string()),
        ],
        ids=str,
    )
    def test_may_be_parquet_of_any_types(self, tmp_path, codes, values):
        """Texts, dictionaries and every kind of number are read."""
        path = tmp_path / "postcodes.parquet"
        table = pa.table(
            {
                "pcds": pa.array(["QA1 2BD", None, "QA1 2BE"]).cast(codes),
                "imd": pa.array(["3", "4", None]).cast(values),
            }
        )
        pq.write_table(table, path)
        rows, summary = read(str(path), "pcds", "imd")

        assert tupled(rows) == {("QA12BD", 3.0, False), ("QA1", 3.0, True)}
        assert (summary.without_postcode, summary.without_index) == (1, 1)

    @pytest.mark.parametrize("ending", ["csv", "parquet"])
    def test_hold_whole_numbers_for_postcodes(self, tmp_path, ending):
        """As they are written; the leading zeros of CSV stay."""
        if ending == "csv":
            path = written(tmp_path, "plz,index\n01067,3\n80331,4\n")
        else:
            path = str(tmp_path / "postcodes.parquet")
            pq.write_table(pa.table({"plz": [1067, 80331], "index": [3, 4]}), path)

        assert tupled(read(path, "plz", "index")[0]) == {
            ("01067" if ending == "csv" else "1067", 3.0, False),
            ("80331", 4.0, False),
        }

    @pytest.mark.parametrize("code", ["2139.0", "1E+05", "1.21e+04", 2139.0])
    @pytest.mark.parametrize("ending", ["csv", "parquet"])
    def test_are_refused_where_postcodes_became_numbers(self, tmp_path, code, ending):
        """A data frame writes 02139 as 2139.0 beside a gap: 21390 is elsewhere."""
        path = written(tmp_path, f"postcode,socioeconomic_idx\n,3\n{code},4\n")
        if ending == "parquet":
            path = str(tmp_path / "postcodes.parquet")
            table = {"postcode": [None, code], "socioeconomic_idx": [3, 4]}
            pq.write_table(pa.table(table), path)

        with pytest.raises(SchemaError, match="row 2: postcode is the number"):
            read(path)

    @pytest.mark.parametrize("nothing", ["", "#N/A", "n/a", "NULL", "nan"])
    def test_may_lack_either(self, tmp_path, nothing):
        """What stands for nothing is counted, and the row left out."""
        text = f"postcode,socioeconomic_idx\nA1,3\n{nothing},4\nA2,{nothing}\n"
        rows, summary = read(written(tmp_path, text))

        assert tupled(rows) == {("A1", 3.0, False)}
        assert (summary.without_postcode, summary.without_index) == (1, 1)

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            ("QA1 2BD,3\nQA1 2BE,much\n", "'socioeconomic_idx' holds no numbers"),
            ("QA1 2BD,3\nQA1 2BE,inf\n", "row 2: the index"),
            ("12 Mill Lane Dunmere,3\n", "is no postcode"),
            ("QA1 2BD,3\nQA1 2BE\n", "Row #3: Expected 2 columns, got 1"),
            ("QA1 2BD,\n,3\n", "none of 2 rows has both"),
        ],
        ids=["text", "infinite", "address", "short row", "nothing"],
    )
    def test_are_refused_with_the_row(self, tmp_path, rows, said):
        """What can be neither postcode nor index is named."""
        with pytest.raises(SchemaError, match=said):
            read(written(tmp_path, f"postcode,socioeconomic_idx\n{rows}"))

    def test_have_columns_that_the_command_line_names(self, tmp_path, capsys):
        """The options say which columns to take."""
        path = written(tmp_path, "pcd,pcds,score,rank\nQ,QA1 2BD,3,4\n")
        options = ["--postcode-column", "pcds", "--index-column", "rank"]

        assert main(["load-postcodes", path, "--dry-run", *options]) == 0
        assert "pcds, rank" in capsys.readouterr().out
        assert main(["load-postcodes", path, "--dry-run"]) == 1
        assert "first line is 'pcd,pcds,score,rank'" in capsys.readouterr().err


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
        read = table_of(rows)
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
        rows = load_postcodes.table_of(table_of([("QA12BD", 1.0)]), loaded_on=TODAY)[0]

        assert rows.cast(tables.POSTCODE_INDEX.arrow_schema()).num_rows == 2
