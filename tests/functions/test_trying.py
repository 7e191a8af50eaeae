"""
try, specified: a file, a table or a use case is tried, and nothing else changes.
"""

from __future__ import annotations

import codecs
import json
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest

from commands.cli import main
from propensity.settings import GIB, Settings
from tests.docs.pages import blocks
from tests.functions.conftest import LATER
from tests.functions.test_notebook_page import worded
from tests.propensity.first_look.test_first_look import NAMES, customers
from tests.propensity.first_look.test_scores import still_open
from tests.support.deployment import entered
from tests.support.proxy import Asked, Proxy

OPTIONS = [f"--{name}={column}" for name, column in NAMES.items()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder that a person is in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_is_tried_in_five_lines(folder, shop_deployment, capsys):
    """What it is read from changes nothing. As JSON it has what a program may want."""
    table = (
        f"{shop_deployment.warehouse.client.project}.{shop_deployment.dataset}.churn"
    )
    rows = json.loads(customers().to_json(orient="records", date_format="iso"))
    shop_deployment.warehouse.client.load_table_from_json(rows, table).result()
    customers().to_csv("churn.csv", index=False)
    customers().to_parquet("churn.parquet")
    assert main(["try", "churn.csv", *OPTIONS]) == 0
    output = capsys.readouterr()
    assert main(["try", "churn.parquet", *OPTIONS, "--json", "--report=r.html"]) == 0
    answer = json.loads(capsys.readouterr().out)
    with entered(shop_deployment.environment):
        assert main(["try", table, *OPTIONS]) == 0
        of_table = capsys.readouterr()
        assert main(["try", f"{table}s", *OPTIONS]) == 1

    assert [line.split()[0] for line in output.out.splitlines()] == [
        "Table",
        "Columns",
        "Leaks",
        "Model",
        "Use",
    ]
    assert "number: visits; category: plan, postcode; date: since" in output.out
    assert worded(output.out) == worded(blocks("docs/first-look.md", "text")[0])
    assert "try-churn.csv.html" in output.err
    assert "Test set:" in (folder / "try-churn.csv.html").read_text()
    assert answer["kinds"]["visits"] == "number"
    assert f"ROC AUC {answer['metrics']['roc_auc']:.3f} against" in output.out
    assert of_table.out == output.out
    assert f"there is no table {table}s" in capsys.readouterr().err


@pytest.mark.parametrize(("rows", "status"), [(1_200, 0), (1_000_001, 1)])
def test_a_table_is_tried_within_bounds(folder, shop_deployment, capsys, rows, status):
    """As BigQuery does, the proxy knows a table in its own location alone. Defect: no
    table of Europe was found, and one of terabytes was read into memory."""
    client = shop_deployment.warehouse.client
    path = f"{shop_deployment.dataset}/tables/eu"

    def rule(asked: Asked) -> Any:
        if path in asked.path:
            stored = client.get_table(f"{shop_deployment.dataset}.eu").to_api_repr()
            return 200, json.dumps(stored | {"location": "EU", "numRows": str(rows)})
        if asked.method == "POST" and b'"location": "EU"' not in asked.body:
            return 404, b'{"error": {"message": "not found in location US"}}'
        return None

    loaded = json.loads(customers().to_json(orient="records", date_format="iso"))
    client.load_table_from_json(loaded, f"{shop_deployment.dataset}.eu").result()
    with Proxy(shop_deployment.stack.url("bigquery"), rule) as proxy:
        environment = {
            **shop_deployment.environment,
            "BIGQUERY_EMULATOR_HOST": proxy.url,
        }
        with entered(environment):
            arguments = [f"{client.project}.{shop_deployment.dataset}.eu", *OPTIONS]
            assert main(["try", *arguments]) == status

    bodies = [json.loads(asked.body) for asked in proxy.asked if asked.body]
    if status:
        assert (
            "at most 1,000,000 rows and 1 GiB can be tried" in capsys.readouterr().err
        )
        assert bodies == []
    else:
        assert str(10 * GIB) in str(bodies[0])


def test_a_file_of_another_country_is_tried_as_well(folder, capsys):
    """In an older encoding, with semicolons, decimal commas and days first, and without
    types: digits are numbers, and codes are none. Defect: it was refused."""
    frame = customers().assign(spent=[f"1.{n % 90 + 100},50" for n in range(1_200)])
    frame["month"] = pd.to_datetime(frame["month"]).dt.strftime("%d.%m.%Y")
    frame["plan"] = frame["plan"].replace("plus", "größer")
    frame.to_csv("kunden.CSV", index=False, sep=";", encoding="cp1252")

    assert main(["try", "kunden.CSV", *OPTIONS]) == 0
    output = capsys.readouterr().out
    assert "tested on 2025-08, 150 rows" in output
    assert "number: visits, spent; category: plan, postcode; date: since" in output


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["gone.csv"], 2, "'gone.csv' is not a file"),
        (["no_such_use_case"], 2, "is not a file"),
        (["spark.parquet"], 2, "'spark.parquet' is not a file"),
        (
            ["bad.csv", *OPTIONS],
            1,
            "bad.csv, column visits, row 2: 'x' is not a number",
        ),
        (["bad.csv"], 1, "which column of bad.csv has the outcome?"),
    ],
    ids=str,
)
def test_what_cannot_be_tried_is_said_in_a_line(
    folder, capsys, arguments, status, message
):
    """Without a traceback, and without a report."""
    frame = customers(9).astype({"visits": object})
    frame.loc[1, "visits"] = "x"
    frame.to_csv("bad.csv", index=False)
    (folder / "spark.parquet").mkdir()
    assert main(["try", *arguments]) == status
    lines = capsys.readouterr().err.splitlines()
    problem, hint = [line for line in lines if not line.startswith(("·", "  …"))]

    assert message in problem
    assert hint.startswith("hint: ")
    assert not [*folder.glob("*.html")]


def test_a_list_opens_in_a_spreadsheet(folder, capsys):
    """Ids stay as they are, unless a spreadsheet would take one for a formula."""
    frame = still_open(customers())
    frame["customer"] = frame["customer"].replace({"c7": "=c7", "c8": "Zoë"})
    frame.to_csv("churn.csv", index=False)
    (folder / "list.csv").write_text("the list of last month")
    assert main(["try", "churn.csv", *OPTIONS, "--scores", "list.csv"]) == 0

    output = capsys.readouterr()
    content = (folder / "list.csv").read_bytes()
    listed = pd.read_csv("list.csv")
    assert "The list of 150 users is in list.csv" in output.err
    assert content.startswith(
        codecs.BOM_UTF8 + b'"customer","probability","percentile"\r\n'
    )
    ids = {f"c{n}" for n in range(150)} - {"c7", "c8"}
    assert {*listed["customer"]} == ids | {"'=c7", "Zoë"}
    assert listed["probability"].is_monotonic_decreasing


def test_a_list_can_be_of_another_file(folder, capsys):
    customers().to_csv("churn.csv", index=False)
    later = customers().tail(3).drop(columns="churned")
    later.to_parquet("later.parquet")
    options = [*OPTIONS, "--rows=later.parquet", "--scores=lists/later.csv", "--json"]
    assert main(["try", "churn.csv", *options]) == 0

    answer = json.loads(capsys.readouterr().out)
    assert (answer["scores"], answer["listed"]) == ("lists/later.csv", 3)
    assert {*pd.read_csv("lists/later.csv")["customer"]} == {*later["customer"]}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--scores=list.csv"], 1, "churn.csv, no row is left to score: each has a ch"),
        (["--scores=list.xlsx"], 1, "list.xlsx does not end in .csv"),
        (["--scores=./churn.csv"], 1, "--scores would replace churn.csv"),
        (["--report=churn.csv"], 1, "churn.csv does not end in .html"),
        (
            ["--scores=l.csv", "--rows=bad.csv", "--report=bad.csv"],
            1,
            "bad.csv does no",
        ),
        (["--scores=l.csv", "--rows=bad.csv"], 1, "bad.csv, column visits, row 3: 'x'"),
        (["--scores=l.csv", "--rows=gone.csv"], 1, "there is no file gone.csv"),
        (["--rows=bad.csv"], 2, "--rows needs --scores"),
    ],
    ids=str,
)
def test_what_cannot_be_listed_is_said_before_training(
    folder, capsys, arguments, status, message
):
    customers().to_csv("churn.csv", index=False)
    bad = customers().tail(3).astype({"visits": object})
    bad["visits"] = [3, 4, "x"]
    bad.to_csv("bad.csv", index=False)
    assert main(["try", "churn.csv", *OPTIONS, *arguments]) == status

    said = capsys.readouterr().err
    assert message in said
    assert "training on" not in said
    assert {file.name for file in folder.iterdir()} == {"churn.csv", "bad.csv"}


def test_a_use_case_has_no_list(folder, capsys):
    assert main(["try", "ga4_purchase", "--scores=list.csv"]) == 2
    assert "whose predictions are its list" in capsys.readouterr().err


def test_a_trial_changes_nothing(folder, champion_deployment, capsys):
    """
    Not even a lease or a report is left in the bucket, but that of the digest of the
    export.
    """
    deployment = champion_deployment
    artifacts = champion_deployment.registry.artifacts

    def stored() -> list[tuple[str, int]]:
        return [
            (one.name, one.generation)
            for one in artifacts.generations()
            if not one.name.startswith("runs/ga4_export/")
        ]

    before = stored()
    versions = deployment.versions()
    with (
        entered(deployment.environment),
        patch.multiple(Settings, **deployment.constants),
    ):
        status = main(["try", "ga4_purchase", "--as-of", str(LATER), "--json"])
    answer = json.loads(capsys.readouterr().out)

    assert status == 0
    assert (answer["model_version"], answer["would_go_live"]) == (None, True)
    assert stored() == before
    assert deployment.versions() == versions
    assert "Would go live" in (folder / "try-ga4_purchase.html").read_text()


def test_the_page_for_notebooks_prints_what_it_says(folder, capsys):
    """The cell is run in a folder with the file that it reads."""
    customers().to_csv("churn.csv", index=False)
    [cell] = blocks("docs/first-look.md", "py")
    exec(cell, {})

    [expected] = blocks("docs/first-look.md", "text")
    assert worded(capsys.readouterr().out) == worded(expected)
