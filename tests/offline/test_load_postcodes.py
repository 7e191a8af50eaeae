"""
load_postcodes, specified: any table of postcodes becomes postcode_index, or nothing.
"""

from __future__ import annotations

import gzip
import random
import statistics
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from commands.cli import main
from local.generators.games.towns import postcodes
from offline import load_postcodes, postcode_files
from propensity import tables
from propensity.edges.warehouse import Warehouse
from propensity.errors import SchemaError
from propensity.events.postcodes import PostcodeIndex, normalised, outward
from propensity.settings import Settings
from propensity.statements import statement
from tests.proxy import Proxy

TODAY = date(2026, 11, 20)

CSV = """\
postcode,town,socioeconomic_idx
QA1 2BD,Ambermouth,3
qa1 2be,Ambermouth,5
 QA1  2BF,Ambermouth,9
QA1 2BD,Ambermouth,3.0
QD3 1AA,Dunmere,4
QD3 1AA,Dunmere,2
QD3 1AA,Dunmere,2
D02 X285,Elsewhere,6
QD4 1AA,Dunmere,
,Dunmere,4
"""
LOADED = {
    ("QA12BD", 3.0, False),
    ("QA12BE", 5.0, False),
    ("QA12BF", 9.0, False),
    ("QD31AA", 2.0, False),
    ("D02X285", 6.0, False),
    ("QA1", 5.0, True),
    ("QD3", 2.0, True),
}


def written(folder: Path, content: str | bytes, name: str = "postcodes.csv") -> str:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(file)


def batch(rows: list[tuple[Any, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [
            pa.array([code for code, _ in rows], pa.string()),
            pa.array([value for _, value in rows], pa.float64()),
        ],
        names=["postcode", "socioeconomic_idx"],
    )


def read(path: str, **named: str) -> tuple[pa.Table, load_postcodes.Summary]:
    """The rows that a file gives."""
    columns = {"postcode_column": None, "index_column": None, **named}
    with postcode_files.opened(Path(path), **columns) as file:
        return load_postcodes.table_of(file.batches(), loaded_on=TODAY)


def tupled(rows: pa.Table) -> set[tuple[str, float, bool]]:
    return {
        (row["postcode"], row["socioeconomic_idx"], row["is_outward"])
        for row in rows.to_pylist()
    }


@pytest.fixture
def warehouse(environment) -> Iterator[Warehouse]:
    opened = Warehouse.open(Settings.from_environment())
    opened.create(tables.POSTCODE_INDEX)
    yield opened
    opened.close()


def stored(warehouse: Warehouse) -> pa.Table:
    return warehouse.table(statement("postcodes"))


class TestTheCommand:
    def test_loads_a_file(self, tmp_path, warehouse, capsys):
        """Postcodes in capitals without spaces, and outward codes with the median of
        their postcodes, are in the table; what became of every row is told."""
        status = main(["load-postcodes", written(tmp_path, CSV)])

        told = capsys.readouterr().out
        assert status == 0
        assert {tuple(row.values()) for row in stored(warehouse).to_pylist()} == {
            (code, value) for code, value, _ in LOADED
        }
        assert "10 rows read: 5 postcodes and 2 outward codes" in told
        assert "1 rows without a postcode, 1 without an index, 2 repeated" in told
        assert "1 postcodes with several values" in told

    def test_makes_the_table_where_there_is_none(self, tmp_path, environment):
        """The command may come before the set-up."""
        assert main(["load-postcodes", written(tmp_path, CSV)]) == 0

    def test_replaces_the_table_as_a_whole(self, tmp_path, warehouse):
        """Nothing of what was loaded before is left, and twice equals once."""
        main(["load-postcodes", written(tmp_path, CSV)])
        for _ in range(2):
            main(["load-postcodes", written(tmp_path, "postcode,index\nQA12BD,7\n")])

        assert stored(warehouse).to_pylist() == [
            {"postcode": "QA12BD", "socioeconomic_idx": 7.0},
            {"postcode": "QA1", "socioeconomic_idx": 7.0},
        ]

    def test_keeps_partitions_and_clusters(self, tmp_path, warehouse):
        """The table that was replaced is still laid out as the tables are declared."""
        main(["load-postcodes", written(tmp_path, CSV)])

        settings = warehouse.settings
        found = warehouse.client.get_table(
            f"{settings.project}.{settings.dataset}.postcode_index"
        )
        assert found.time_partitioning.field == "loaded_on"
        assert found.clustering_fields == ["postcode"]

    def test_leaves_the_old_table_where_it_fails(
        self, tmp_path, warehouse, monkeypatch, capsys
    ):
        """A load that BigQuery refuses changes nothing."""
        main(["load-postcodes", written(tmp_path, CSV)])
        before = stored(warehouse)

        def refuse_uploads(asked: Any) -> int | None:
            return 400 if asked.path.startswith("/upload") else None

        with Proxy(warehouse.settings.bigquery_endpoint, refuse_uploads) as proxy:
            monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", proxy.url)
            status = main(
                ["load-postcodes", written(tmp_path, "postcode,x\nQA12BD,7\n")]
            )
            assert any(asked.path.startswith("/upload") for asked in proxy.asked)

        assert status == 1
        assert "BigQuery refuses" in capsys.readouterr().err
        assert stored(warehouse).equals(before)

    def test_loads_nothing_on_a_dry_run(self, tmp_path, warehouse, capsys):
        """A dry run reads, tells, and leaves the table alone."""
        status = main(["load-postcodes", written(tmp_path, CSV), "--dry-run"])

        assert status == 0
        assert "Nothing was loaded" in capsys.readouterr().out
        assert stored(warehouse).num_rows == 0

    def test_needs_no_project_for_a_dry_run(self, tmp_path, monkeypatch):
        """A file can be checked where nothing is deployed."""
        monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)

        assert main(["load-postcodes", written(tmp_path, CSV), "--dry-run"]) == 0

    def test_names_a_missing_setting(self, tmp_path, monkeypatch, capsys):
        """Without a project nothing is read, and the variable is named."""
        monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)

        assert main(["load-postcodes", written(tmp_path, CSV)]) == 1
        assert "GOOGLE_CLOUD_PROJECT" in capsys.readouterr().err

    def test_leaves_with_2_for_a_wrong_command_line(self, capsys):
        """As any command does."""
        assert main(["load-postcodes", "one.csv", "two.csv"]) == 2


class TestLoad:
    def test_takes_a_table_in_memory(self, warehouse):
        """Local mode loads the postcodes of the generator of events as they are, and
        every one is then found, those that the table lacks by their outward code."""
        summary = load_postcodes.load(warehouse, postcodes(), loaded_on=TODAY)

        index = PostcodeIndex.of(stored(warehouse))
        assert summary.postcodes == postcodes().num_rows
        assert len(index) == summary.postcodes + summary.outward_codes
        for row in random.Random(1).sample(postcodes().to_pylist(), 200):
            assert index.find(row["postcode"].lower()) == row["socioeconomic_idx"]
        assert index.find("QA1 9ZZ") is not None
        assert index.find("ZZ1 9ZZ") is None

    def test_says_when_it_was_loaded(self, warehouse):
        """Every row has the day, which is the table's one partition."""
        load_postcodes.load(warehouse, postcodes(), loaded_on=TODAY)

        rows = warehouse.client.list_rows(
            f"{warehouse.settings.project}.{warehouse.settings.dataset}.postcode_index"
        )
        assert {row["loaded_on"] for row in rows} == {TODAY}


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
        row = ",".join(values).replace("rank", "4")
        if header.endswith("rank"):
            row = "QA1 2BD,3,4"
        path = written(tmp_path, f"{header}\n{row}\n")

        with postcode_files.opened(
            Path(path), postcode_column=None, index_column=None
        ) as file:
            assert (file.postcode_column, file.index_column) == columns

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

        status = main(
            [
                "load-postcodes",
                *(path, "--dry-run"),
                *("--postcode-column", "pcds", "--index-column", "rank"),
            ]
        )

        assert status == 0
        assert "pcds, rank" in capsys.readouterr().out


CODES = st.one_of(
    st.text(max_size=12),
    st.from_regex(r"[A-Za-z]{1,2}[0-9][A-Za-z0-9]? ?[0-9][A-Za-z]{2}", fullmatch=True),
)
FEW_CODES = st.sampled_from(
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
    @given(st.lists(CODES, max_size=30))
    def test_are_normalised_as_the_stream_does(self, codes):
        """A column at a time gives what the stream gives one postcode."""
        found = postcode_files.typed(
            [batch([(code, 1.0) for code in codes])], "postcode", "socioeconomic_idx"
        )
        wanted = [normalised(code) for code in codes]
        if any(len(code) > postcode_files.MAXIMUM_CHARACTERS for code in wanted):
            with pytest.raises(SchemaError):
                list(found)
        else:
            assert next(found).column("postcode").to_pylist() == [
                code or None for code in wanted
            ]

    @given(st.lists(st.tuples(FEW_CODES, INDICES), max_size=40), st.randoms())
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


@pytest.mark.long
class TestRealPostcodes:
    def test_are_loaded(self, data_folder, warehouse, capsys):
        """Every real postcode with an index is found by it, the others by the median
        of their outward code."""
        path = data_folder / "postcode_imd.parquet"
        real = pq.read_table(path).to_pylist()
        known = {
            row["postcode"]: row["UK_IMD_E_score"]
            for row in real
            if row["UK_IMD_E_score"] is not None
        }

        status = main(["load-postcodes", str(path), "--index-column", "UK_IMD_E_score"])

        told = capsys.readouterr().out
        loaded = stored(warehouse)
        index = PostcodeIndex.of(loaded)
        parts = {outward(code) for code in known} - {None}
        assert status == 0
        assert f"{len(real):,} rows read: {len(known):,} postcodes" in told
        assert f"{len(real) - len(known):,} without an index" in told
        assert loaded.num_rows == len(known) + len(parts)
        assert all(index.find(code) == value for code, value in known.items())
        assert index.find("b61 8sl") == known["B618SL"]
        for row in real:
            if row["postcode"] not in known:
                peers = [
                    value
                    for code, value in known.items()
                    if outward(code) == outward(row["postcode"])
                ]
                part = outward(row["postcode"])
                wanted = statistics.median_low(peers) if part and peers else None
                assert index.find(row["postcode"]) == wanted

    def test_have_outward_codes_as_the_file_says(self, data_folder):
        """What is taken for the outward code is what the real table calls so. Only
        the postcodes of Newport before 1984 (NPT 4JZ) are of another form."""
        real = pq.read_table(data_folder / "postcode_imd.parquet")

        assert {
            row["outward"]
            for row in real.select(["postcode", "outward"]).to_pylist()
            if outward(normalised(row["postcode"])) != row["outward"]
        } == {"NPT"}

    def test_are_asked_for_by_column(self, data_folder, capsys):
        """There are four numbers, of which nobody can guess one."""
        status = main(
            ["load-postcodes", str(data_folder / "postcode_imd.parquet"), "--dry-run"]
        )

        assert status == 1
        assert "UK_IMD_E_score, UK_IMD_E_rank" in capsys.readouterr().err


def test_today_is_a_day_in_utc(tmp_path, warehouse):
    """The command writes the day that it is in UTC."""
    before = datetime.now(UTC).date()
    main(["load-postcodes", written(tmp_path, CSV)])
    name = f"{warehouse.settings.project}.{warehouse.settings.dataset}.postcode_index"

    (day,) = {row["loaded_on"] for row in warehouse.client.list_rows(name)}
    assert before <= day <= datetime.now(UTC).date()
