"""
The page on use cases, followed: its commands end with a probability.

They are run in a copy of the project, word for word, but for where things are: ports of
their own, and the environment that the tests run in. The data are those that
``make demo`` generates, loaded and not played.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from local.processes import HOST
from local.stack.state import ROOT
from tests.support.programs import execute

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

BASE = 9500
PAGE = ROOT / "docs" / "use-cases.md"
NAME = "shop_checkout"

# `make demo` has this before it plays the weeks, but not its first months.
LOAD = """
from local.exports import ga4_export
from local.generators.shop import Shop
from local.stack.stack import Stack
from local.stack.state import State
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from datetime import date

with Stack(State(), functions=()) as stack:
    warehouse = Warehouse.open(Settings.from_environment(stack.environment))
    dataset = warehouse.settings.ga4_dataset
    shop = Shop()
    days = [day for day in shop.dates if day >= date(2025, 2, 1)]
    shards = {f"events_{day:%Y%m%d}": shop.shard(day) for day in days}
    ga4_export.load_tables(warehouse.client, dataset, shards)
    warehouse.close()
"""


def commands() -> list[str]:
    """The commands of the page's first block, in their order."""
    block, *_ = re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return [line.removeprefix("$ ") for line in block.splitlines()]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project, as somebody has it who has cloned it and played the demo."""
    folder = tmp_path_factory.mktemp("clone")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = execute(listed).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    run(folder, [sys.executable, "-c", LOAD])
    yield folder
    run(folder, [sys.executable, "-m", "propensity", "down"])


def run(folder: Path, command: list[str]) -> str:
    """Run a command in the copy, and return what it printed; it must succeed."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = execute(
        command, cwd=folder, env={**kept, "PROPENSITY_PORT_BASE": str(BASE)}
    )
    return process.stdout


def here(command: str) -> list[str]:
    """A command of the page, for the copy's ports and the tests' environment."""
    words = shlex.split(command)
    if words[0] == "make" or words[0].endswith("/propensity"):
        return [sys.executable, "-m", "propensity", *words[1:]]
    assert words[0] == "curl"
    return [re.sub(rf"{re.escape(HOST)}:80(\d\d)", _port, word) for word in words]


def _port(match: re.Match[str]) -> str:
    return f"{HOST}:{BASE - 80 + int(match[1])}"


class TestPage:
    def test_the_page_ends_with_a_probability(self, copy):
        """A use case of its own is written, checked, trained, and looked up."""
        outputs = {command: run(copy, here(command)) for command in commands()}
        written, checked, _, trained, predicted, looked_up = outputs.values()

        assert (copy / "usecases" / NAME / "features.sql").is_file()
        assert "features.sql" in written
        assert "Nothing is wrong." in checked
        assert orjson.loads(trained)["promoted"], trained
        assert orjson.loads(predicted)["users"] > 1_000
        answer = orjson.loads(looked_up)
        assert 0 < answer["probability"] < 1
        assert answer["prediction_date"] == "2025-07-01"
