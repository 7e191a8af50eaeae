"""
Loading postcodes, specified: a table of them becomes postcode_index, or nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands.cli import main
from offline import load_postcodes
from propensity.errors import SchemaError
from propensity.statements import statement

CSV = """\
postcode,town,socioeconomic_idx
QA1 2BD,Ambermouth,3
qa1 2be,Ambermouth,5
 QA1  2BF,Ambermouth,9
QA1,Ambermouth,7
QD3 1AA,Dunmere,4
QD3 1AA,Dunmere,2
QD3 1AA,Dunmere,4
QD3 1AB,Dunmere,8
,Dunmere,4
"""
LOADED = {
    "QA12BD": 3.0,
    "QA12BE": 5.0,
    "QA12BF": 9.0,
    "QD31AA": 2.0,
    "QD31AB": 8.0,
    # The file itself has it.
    "QA1": 7.0,
    "QD3": 2.0,
}
ONE = "postcode,socioeconomic_idx\nQA12BD,7\n"


def written(folder: Path, content: str) -> str:
    file = folder / "postcodes.csv"
    file.write_text(content)
    return str(file)


def test_the_command_replaces_the_table_by_a_file(tmp_path, prepared, capsys):
    """Postcodes in capitals without spaces, and outward codes with the median of
    their postcodes, are in the table; nothing of what was loaded before is left,
    and twice equals once. The output counts every row."""
    for text in (ONE, CSV, CSV):
        command = ("load", "postcodes", written(tmp_path, text), "--json")
        assert prepared.command(*command) == 0
        answer = json.loads(capsys.readouterr().out)

    counted = ("rows", "postcodes", "outward_codes", "skipped", "conflicts")
    assert [answer[name] for name in counted] == [9, 6, 1, 1, 1]
    rows = prepared.warehouse.table(statement("postcodes")).to_pylist()
    assert {row["postcode"]: row["socioeconomic_idx"] for row in rows} == LOADED


def test_a_dry_run_checks_a_file_where_nothing_is_deployed(
    tmp_path, monkeypatch, capsys
):
    """A dry run loads nothing; without one the missing setting is named."""
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    load = ("load", "postcodes", written(tmp_path, ONE))
    assert main([*load, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["highest"] == 7
    assert main([*load]) == 1
    assert "GOOGLE_CLOUD_PROJECT" in capsys.readouterr().err


def test_a_file_is_refused_with_the_row(tmp_path):
    """What can be neither postcode nor index is named."""
    wrong = {
        "QA1 2BD,3\nQA1 2BE,much\n": "socioeconomic_idx, row 2: 'much' is not",
        "12 Mill Lane Dunmere,3\n": "is longer than a postcode",
    }
    for rows, message in wrong.items():
        path = Path(written(tmp_path, f"postcode,socioeconomic_idx\n{rows}"))
        with pytest.raises(SchemaError, match=message):
            load_postcodes.run(path, is_dry=True)
