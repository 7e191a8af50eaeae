"""Every benchmark runs to its table; short, so that its figures say nothing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.__main__ import NAMES
from local.generators.shop.export import Shop
from tests.programs import execute

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

SHORT = {
    "drift": ["--shops", "1", "--weeks", "10", "--calm", "2"],
    "features": ["--repeats", "1"],
    "index": ["--rounds", "1", "--seconds", "0.3", "--users", "100000"],
    "half_space_trees": ["--rows", "300", "--rounds", "1"],
    "ingest": ["--rounds", "1", "--seconds", "0.3", "--client", "python"],
    "lookup": ["--rounds", "1", "--seconds", "0.3", "--client", "python"],
    "online": [
        *("--rounds", "1", "--seconds", "0.3", "--client", "python"),
        *("--only", "one at a time", "--model", "logistic_regression"),
    ],
    "predictions": ["--rows", "1000", "--repeats", "1"],
    "lift": ["--campaigns", "50"],
    "quality": ["--weeks", "1"],
    "reasons": ["--rows", "1000", "--repeats", "1"],
    "season": ["--seeds", "1"],
    "scoring": ["--rows", "2000", "--repeats", "1", "--only", "lr"],
    "value": ["--weeks", "1"],
    "training": [
        *("--rows", "1000", "--repeats", "1"),
        *("--memory", "2000", "--candidates", "logistic_regression"),
    ],
}
# These play a shop: a small one of their own, in place of the year that they bring. Of
# so many days and users, with which a model is trained and promoted, or drift watched.
PLAYING = {"drift": (171, 800), "quality": (100, 2_000), "value": (100, 2_000)}

# Its peers have an environment of their own, from the package index.
INSTALLING = {"stream": ["--events", "2000", "--rounds", "1"]}


def small_shop(folder: Path, *, days: int, users: int) -> Path:
    """Write a file of a shop's export rows."""
    shop = Shop(users=users, days=days)
    file = folder / "shop.parquet"
    pq.write_table(pa.concat_tables(rows for _, rows in shop.shards()), file)
    return file


def printed_by(name: str, options: list[str]) -> str:
    """Run a benchmark, and return its report; a missed target is no failure here."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    process = execute(command, cwd=BENCHMARKS.parent, status=None)
    assert process.returncode in (0, 1), process.stderr
    assert "Traceback" not in process.stderr, process.stderr
    return process.stdout


def test_all_are_here() -> None:
    programs = BENCHMARKS.glob("*.py")
    names = {path.stem for path in programs if "\ndef main(" in path.read_text()}
    names -= {"__main__"}

    assert {*SHORT, *INSTALLING} == names == {*NAMES}
    page = (BENCHMARKS.parent / "docs" / "benchmarks.md").read_text("utf-8")
    assert [name for name in NAMES if f"-m benchmarks.{name}" not in page] == []


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SHORT)
def test_prints_a_table(name: str, tmp_path: Path) -> None:
    """Each of its lines has a cell for each heading."""
    options = list(SHORT[name])
    if played := PLAYING.get(name):
        days, users = played
        options += ["--data", str(small_shop(tmp_path, days=days, users=users))]
    output = printed_by(name, options)
    tables = re.findall(r"(?:^\|.*\n)+", output, re.MULTILINE)

    assert tables
    for table in tables:
        lines = table.splitlines()
        assert all(line.endswith("|") for line in lines), table
        assert len({line.count("|") for line in lines}) == 1, table


@pytest.mark.installs
@pytest.mark.parametrize("name", INSTALLING)
def test_prints_a_table_beside_its_peers(name: str) -> None:
    assert "\n|" in "\n" + printed_by(name, INSTALLING[name])
