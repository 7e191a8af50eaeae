"""
Loading postcodes, specified: a table of them becomes postcode_index, or nothing.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.cli import main
from offline import load_postcodes
from propensity.errors import SchemaError
from propensity.statements import statement
from propensity.tables.stream import POSTCODE_INDEX

CSV = """\
postcode,town,socioeconomic_idx
QA1 2BD,Ambermouth,3
qa1 2be,Ambermouth,5
 QA1  2BF,Ambermouth,9
QA1,Ambermouth,7
QA1 2BD,Ambermouth,3.0
QD3 1AA,Dunmere,4
QD3 1AA,Dunmere,2
QD3 1AA,Dunmere,4
QD3 1AB,Dunmere,8
D02 X285,Elsewhere,6
QD4 1AA,Dunmere,
,Dunmere,4
"""
LOADED = {
    "QA12BD": 3.0,
    "QA12BE": 5.0,
    "QA12BF": 9.0,
    "QD31AA": 2.0,
    "QD31AB": 8.0,
    "D02X285": 6.0,
    # The file itself has it.
    "QA1": 7.0,
    "QD3": 2.0,
}
ONE = "postcode,socioeconomic_idx\nQA12BD,7\n"


@pytest.fixture
def written(tmp_path):
    def write(content: str) -> str:
        file = tmp_path / "postcodes.csv"
        file.write_text(content)
        return str(file)

    return write


class TestTheCommand:
    def test_the_command_replaces_the_table_by_a_file(self, written, prepared, capsys):
        """Postcodes in capitals without spaces, and outward codes with the median of
        their postcodes, are in the table; nothing of what was loaded before is left,
        and twice equals once. The output counts every row."""
        for text in (ONE, CSV, CSV):
            command = ("load", "postcodes", written(text), "--json")
            assert prepared.command(*command) == 0
            answer = json.loads(capsys.readouterr().out)

        counted = ("rows", "postcodes", "outward_codes", "skipped", "conflicts")
        assert [answer[name] for name in counted] == [12, 7, 1, 2, 1]
        rows = prepared.warehouse.table(statement("postcodes")).to_pylist()
        assert {row["postcode"]: row["socioeconomic_idx"] for row in rows} == LOADED
        name = f"{prepared.settings.dataset}.postcode_index"
        table = prepared.warehouse.client.get_table(name)
        # Still laid out as the tables are declared.
        assert table.time_partitioning.field == "loaded_on"

    def test_a_dry_run_checks_a_file_where_nothing_is_deployed(
        self, written, monkeypatch, capsys
    ):
        """A dry run loads nothing; without one the missing setting is named."""
        monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
        load = ("load", "postcodes")
        assert main([*load, written(ONE), "--dry-run", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["highest"] == 7
        assert main([*load, written(ONE)]) == 1
        assert "GOOGLE_CLOUD_PROJECT" in capsys.readouterr().err
        assert main([*load, written("pcds,rank\nQA1 2BD,3\n"), "--dry-run"]) == 1
        assert "lacks the columns postcode" in capsys.readouterr().err


class TestFiles:
    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            (
                "QA1 2BD,3\nQA1 2BE,much\n",
                "postcodes.csv, column socioeconomic_idx, row 2: 'much' is not",
            ),
            ("12 Mill Lane Dunmere,3\n", "is longer than a postcode"),
            ("QA1 2BD,\n,3\n", "none of 2 rows has"),
        ],
        ids=["text", "address", "nothing"],
    )
    def test_files_are_refused_with_the_row(self, written, rows, message):
        """What can be neither postcode nor index is named."""
        path = Path(written(f"postcode,socioeconomic_idx\n{rows}"))
        with pytest.raises(SchemaError, match=message):
            load_postcodes.run(path, is_dry=True)


@given(st.permutations(CSV.splitlines()[1:]))
def test_rows_give_the_same_in_any_order(lines):
    """Each postcode has the lower median of its different values, each outward code
    the lower median of its postcodes."""
    columns = zip(*(line.split(",") for line in lines), strict=True)
    table = pa.table([*columns], ["postcode", "town", "socioeconomic_idx"])
    values = [float(one) if one else None for one in table[2].to_pylist()]
    table = table.set_column(2, "socioeconomic_idx", [values])
    made, _ = load_postcodes.table_of(table, loaded_on=date(2026, 11, 20))

    rows = made.cast(POSTCODE_INDEX.arrow_schema()).to_pylist()
    assert {row["postcode"]: row["socioeconomic_idx"] for row in rows} == LOADED
    assert {row["postcode"] for row in rows if row["is_outward"]} == {"QD3"}
