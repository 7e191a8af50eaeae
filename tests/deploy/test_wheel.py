"""The wheel, specified: what people install is enough to try, and nothing more."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from local.exports import ga4_export
from local.stack.state import ROOT
from local.venvs import REQUIREMENTS, uv
from propensity.ga4.view import LATER_COLUMNS
from tests.docs.pages import blocks, text, worded
from tests.functions.test_trying_exports import LONG_AGO
from tests.propensity.first_look.tables import customers
from tests.support import shop
from tests.support.programs import execute
from tests.support.proxy import Asked, Proxy

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGE = "docs/try-in-a-notebook.md"
CHURN = ("churn.csv", "--user", "customer", "--time", "month", "--label", "churned")
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
    return folder / "bin"


@pytest.fixture
def propensity(
    installed, tmp_path, monkeypatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
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


def test_the_wheel_has_the_package_and_nothing_else(wheel):
    """Its SQL, TOML and templates as well."""
    known = execute(["git", "ls-files", "propensity"]).stdout.split()
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if not name.endswith("/")}
    inside = {name for name in names if ".dist-info/" not in name}

    # A file that git does not know yet is of the change that is tested.
    assert {*known} <= inside
    assert all(name.startswith("propensity/") for name in inside)


def test_the_first_version_is_the_changelogs():
    assert re.fullmatch(r"20\d\d\.(1[0-2]|[1-9])\.\d+", PROJECT["version"])
    assert PROJECT["version"] in (ROOT / "CHANGELOG.md").read_text()


def test_what_it_asks_for_is_what_the_project_runs_on():
    pinned = re.findall(r"^([\w.-]+)==", REQUIREMENTS.read_text(), re.MULTILINE)
    extras = PROJECT["optional-dependencies"].values()
    asked = [*PROJECT["dependencies"], *(name for extra in extras for name in extra)]

    names = {re.split("[><=]", one)[0] for one in asked}
    assert names <= {name.lower() for name in pinned}


def test_uvx_runs_it_without_an_installation(wheel, tmp_path, monkeypatch):
    """As ``uvx --from WHEEL propensity …``, which is this command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROPENSITY_USE_CASES")
    run = ("tool", "run", "--offline", "--python", sys.executable)
    packages = ("--constraints", str(REQUIREMENTS), "--from", str(wheel))

    uv(*run, *packages, "propensity", "usecase", "new", "shop_signup")
    assert (tmp_path / "usecases" / "shop_signup" / "usecase.toml").exists()


def test_a_table_is_tried_in_an_empty_home(propensity, tmp_path):
    customers().to_csv(tmp_path / "churn.csv", index=False)
    printed = propensity("try", *CHURN).stdout

    assert worded(printed) == worded(blocks("docs/first-look.md", "text")[0])
    assert (tmp_path / "try-churn.csv.html").exists()


def test_what_a_wheel_lacks_is_said_with_where_it_is(propensity, tmp_path):
    """A check needs a clone, and a deployment's use case an extra. A new use case is
    written where the person is."""
    checked = propensity("usecase", "check", "ga4_purchase", status=1).stderr
    tried = propensity("try", "ga4_purchase", status=1).stderr
    propensity("usecase", "new", "shop_signup")

    assert "usecase check needs a clone of the project" in checked
    assert "pip install 'propensity[deployment]'" in tried
    assert (tmp_path / "usecases" / "shop_signup" / "usecase.toml").exists()
    assert "shop_signup" in propensity("usecase", "list").stdout


def test_the_cells_for_colab_and_kaggle_run_as_they_stand(installed, tmp_path):
    """In an environment with the package alone."""
    cells = [*blocks(PAGE, "python"), "print(look)"]
    run = [installed / "python", "-c", RUNNER, json.dumps(cells)]
    answer = execute(run, cwd=tmp_path).stdout

    assert answer.startswith("Table    1,080 rows")


def test_googles_sample_is_tried_with_read_rights(propensity, emulated, tmp_path):
    """By the line of the notebook's page. A shop with its columns and days stands for
    it. Whatever is not a reading or a job is refused, and nothing is; each column of
    the export is read by one job; no table is there that was not before."""
    [line] = re.findall(r"^!propensity (.*)$", text(PAGE), re.MULTILINE)
    words = line.split()
    target = words[1]
    rows = shop.shards(shop.weekly(LONG_AGO, 13))
    tables = {name: of.drop_columns([*LATER_COLUMNS]) for name, of in rows.items()}
    project = target.partition(".")[0]
    client = emulated.warehouse.client
    ga4_export.load_tables(client, target, tables)
    refused = list[str]()

    def rule(asked: Asked) -> Any:
        path = asked.path.partition("?")[0]
        if asked.method == "GET" or path.endswith(("/jobs", "/queries")):
            return None
        refused.append(f"{asked.method} {path}")
        return 403, b'{"error": {"message": "read rights alone"}}'

    before = everything(client, project)
    address = emulated.stack.url("bigquery")
    storage = emulated.environment["BIGQUERY_STORAGE_EMULATOR_HOST"]
    with Proxy(address, rule) as proxy:
        process = propensity(
            *words,
            "--control=10%",
            BIGQUERY_EMULATOR_HOST=proxy.url,
            BIGQUERY_STORAGE_EMULATOR_HOST=storage,
        )
    listed = pd.read_csv(tmp_path / "best.csv")
    jobs = [json.loads(asked.body) for asked in proxy.asked if asked.method == "POST"]
    reading = [
        job
        for job in jobs
        if f"{target}.events_2*" in json.dumps(job)
        and not job["configuration"].get("dryRun")
    ]

    assert refused == []
    assert everything(client, project) == before
    assert len(reading) == 1
    assert len(listed) == 160
    assert listed["probability"].is_monotonic_decreasing
    assert {*listed["group"]} == {"contact", "control"}
    assert f"13 days of {target} to read" in process.stderr
    assert "times the average" in process.stdout
    assert (tmp_path / f"try-{target}.html").exists()


def everything(client: Any, *projects: str) -> dict[str, list[str]]:
    """All tables of projects, by dataset."""
    there = {}
    for project in (client.project, *projects):
        for dataset in client.list_datasets(project):
            name = f"{project}.{dataset.dataset_id}"
            there[name] = sorted(one.table_id for one in client.list_tables(name))
    return there
