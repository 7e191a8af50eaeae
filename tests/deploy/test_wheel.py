"""The wheel, specified: what people install is enough to try, and nothing more."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from local.exports import ga4_export
from local.stack.state import ROOT
from local.venvs import REQUIREMENTS, uv
from propensity.ga4.view import LATER_COLUMNS
from tests.docs.pages import blocks, text
from tests.functions.test_trying_exports import LONG_AGO
from tests.support import shop
from tests.support.compiled import link_compiled
from tests.support.programs import execute
from tests.support.proxy import Asked, Proxy

PAGE = "docs/notebook.ipynb"
TYPED = re.compile(r"^(?:!|(?:\$ )?\.venv/bin/)propensity (.*)$", re.MULTILINE)
RUNNER = """
import json, sys
names = {}
for cell in json.loads(sys.argv[1]):
    exec(cell, names)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built without a network."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--wheel", "--offline", "--out-dir", str(folder), str(ROOT))
    [file] = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """An environment with the wheel and what it asks for, from what set-up has had."""
    folder = tmp_path_factory.mktemp("installed")
    python = folder / "bin" / "python"
    uv("venv", "--python", sys.executable, str(folder))
    install = ("pip", "install", "--offline", "--python", str(python))
    uv(*install, "--constraint", str(REQUIREMENTS), str(wheel))
    [packages] = folder.glob("lib/*/site-packages")
    link_compiled(Path(sysconfig.get_path("purelib")), packages)
    return folder / "bin"


@pytest.fixture
def propensity(installed, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the program in an empty home, as a person who has installed it."""

    def run(*words: str, status: int = 0, **variables: str) -> Any:
        environment = {"HOME": str(tmp_path), "PATH": f"{installed}:/usr/bin:/bin"}
        return execute(
            [installed / "propensity", *words],
            status=status,
            cwd=tmp_path,
            env={**environment, **variables},
        )

    return run


def test_a_use_case_is_written_in_an_empty_home(propensity, tmp_path):
    """What a wheel lacks is said with where it is."""
    propensity("usecase", "new", "shop_signup")
    tried = propensity("try", "ga4_purchase", status=1).stderr

    assert (tmp_path / "usecases" / "shop_signup" / "usecase.toml").exists()
    assert "in a clone after `make setup`" in tried


@pytest.mark.installs
def test_the_cells_of_the_notebooks_page_run_in_an_empty_environment(wheel, tmp_path):
    """As they are written, from the package index: pip, then three cells."""
    uv("venv", "--seed", "--python", sys.executable, str(tmp_path / "empty"))
    python = tmp_path / "empty" / "bin" / "python"
    shutil.copy(wheel, tmp_path)
    [pip] = re.findall(r"^%(pip install .*)$", text(PAGE), re.MULTILINE)
    execute([python, "-m", *pip.split()], cwd=tmp_path)
    cells = [*blocks(PAGE, "python"), "print(look)"]
    looked = execute([python, "-c", RUNNER, json.dumps(cells)], cwd=tmp_path).stdout

    assert looked.startswith("Table    1,080 rows")


@pytest.fixture
def tried(propensity, emulated) -> Callable[..., tuple[str, list[list[str]]]]:
    """Try a shop with the columns and days of Google's sample, with read rights: what
    is not a reading or a job is refused, and nothing is. Return what was printed, and
    of each job that read the export the first and last day."""

    def run(words: list[str], *, first: date) -> tuple[str, list[list[str]]]:
        target = words[1]
        rows = shop.shards(shop.weekly(first, 13))
        tables = {name: of.drop_columns([*LATER_COLUMNS]) for name, of in rows.items()}
        ga4_export.load_tables(emulated.warehouse.client, target, tables)
        refused = list[str]()
        read = list[list[str]]()

        def rule(asked: Asked) -> Any:
            path = asked.path.partition("?")[0]
            is_job = path.endswith(("/jobs", "/queries"))
            is_dry = b'"dryRun": true' in asked.body
            if is_job and not is_dry and f"{target}.events_2*".encode() in asked.body:
                read.append(re.findall(r'"value": "(\d{8})"', asked.body.decode()))
            if asked.method == "GET" or is_job:
                return None
            refused.append(f"{asked.method} {path}")
            return 403, b'{"error": {"message": "read rights alone"}}'

        storage = emulated.environment["BIGQUERY_STORAGE_EMULATOR_HOST"]
        with Proxy(emulated.stack.url("bigquery"), rule) as proxy:
            done = propensity(
                *words,
                BIGQUERY_EMULATOR_HOST=proxy.url,
                BIGQUERY_STORAGE_EMULATOR_HOST=storage,
            )
        assert refused == []
        assert f"13 days of {target} to read" in done.stderr
        return done.stdout, read

    return run


def days(first: date) -> list[str]:
    return [f"{first:%Y%m%d}", f"{first + 12 * shop.WEEK:%Y%m%d}"]


@pytest.mark.parametrize(
    "page", ["docs/try-your-export.md", pytest.param(PAGE, marks=pytest.mark.long)]
)
def test_an_export_is_tried_with_read_rights(tried, tmp_path, page):
    """By the page's first command, where nothing names a project beside it. Each column
    of the export is read by one job."""
    words = TYPED.findall(text(page))[0].split()
    printed, read = tried([*words, "--control=10%"], first=LONG_AGO)

    assert read == [days(LONG_AGO)]
    assert "times the average" in printed
    assert (tmp_path / "best.csv").exists()


def test_a_folder_of_weeks_begins_with_read_rights(tried, emulated, tmp_path):
    """Of the newest day a second job reads the currency, which the features lack."""
    today = datetime.now(UTC).date()
    first = today - 12 * shop.WEEK - shop.DAY
    target = f"{emulated.project}.{emulated.ga4_dataset}"
    words = ["try", target, "--folder", "weekly/", "--control=30%"]
    printed, read = tried(words, first=first)

    assert read == [days(first), days(first)[1:]]
    assert f"weekly/contact-{today}.csv has the" in printed
    assert len(pd.read_csv(tmp_path / "weekly" / f"list-{today}.csv")) == 160
