"""try: a file, a table or a use case is tried by a command, which changes nothing."""

from __future__ import annotations

import codecs
import json
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest

from commands.cli import main
from propensity.settings import GIB, Settings
from tests.docs.pages import blocks, worded
from tests.propensity.first_look.tables import NAMES, customers, still_open
from tests.propensity.first_look.test_experiment import campaign
from tests.support.deployment import entered
from tests.support.proxy import Asked, Proxy
from tests.support.shops import LATER

OPTIONS = [f"--{name}={column}" for name, column in NAMES.items()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder that a person is in, with a file whose columns have the usual types,
    and one with a wrong value."""
    monkeypatch.chdir(tmp_path)
    customers().to_csv("churn.csv", index=False)
    bad = customers(9).astype({"visits": object})
    bad.loc[bad.index[-1], "visits"] = "x"
    bad.to_csv("bad.csv", index=False)
    return tmp_path


def test_a_file_is_tried_in_five_lines(folder, capsys):
    """What it is read from changes nothing. As JSON it has what a program may want."""
    customers().to_parquet("churn.parquet")
    assert main(["try", "churn.csv", *OPTIONS]) == 0
    output = capsys.readouterr()
    assert main(["try", "churn.parquet", *OPTIONS, "--json", "--report=r.html"]) == 0
    answer = json.loads(capsys.readouterr().out)

    assert [line.split()[0] for line in output.out.splitlines()] == [
        "Table",
        "Columns",
        "Leaks",
        "Model",
        "Use",
    ]
    assert worded(output.out) == worded(blocks("docs/first-look.md", "text")[0])
    assert "try-churn.csv.html" in output.err
    assert "Test set:" in (folder / "try-churn.csv.html").read_text()
    assert f"ROC AUC {answer['metrics']['roc_auc']:.3f} against" in output.out


@pytest.mark.parametrize(("rows", "status"), [(1_200, 0), (1_000_001, 1)])
def test_a_table_is_tried_within_bounds(folder, emulated, capsys, rows, status):
    """As BigQuery does, the proxy knows a table in its own location alone. Defect: no
    table of Europe was found, and one of terabytes was read into memory."""
    client = emulated.warehouse.client
    dataset = f"{client.project}.{emulated.dataset}"
    name = f"{dataset}.eu"
    path = f"{emulated.dataset}/tables/eu"

    def rule(asked: Asked) -> Any:
        if path in asked.path:
            stored = client.get_table(name).to_api_repr()
            return 200, json.dumps(stored | {"location": "EU", "numRows": str(rows)})
        if asked.method == "POST" and b'"location": "EU"' not in asked.body:
            return 404, b'{"error": {"message": "not found in location US"}}'
        return None

    loaded = json.loads(customers().to_json(orient="records", date_format="iso"))
    client.load_table_from_json(loaded, name).result()
    with Proxy(emulated.stack.url("bigquery"), rule) as proxy:
        environment = {**emulated.environment, "BIGQUERY_EMULATOR_HOST": proxy.url}
        with entered(environment):
            assert main(["try", name, *OPTIONS]) == status
            assert main(["try", f"{dataset}.gone", *OPTIONS]) == 1

    errors = capsys.readouterr().err
    bodies = [json.loads(asked.body) for asked in proxy.asked if asked.body]
    assert f"there is no table {dataset}.gone" in errors
    if status:
        assert "at most 1,000,000 rows and 1 GiB can be tried" in errors
        assert bodies == []
    else:
        assert str(10 * GIB) in str(bodies[0])


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["gone.csv"], 2, "'gone.csv' is not a file"),
        (["spark.parquet"], 2, "'spark.parquet' is not a file"),
        (["bad.csv", *OPTIONS], 1, "bad.csv, column visits, row 72: 'x' is not a nu"),
        (["bad.csv"], 1, "which column of bad.csv has the outcome?"),
        (["ga4_purchase", "--scores=l.csv"], 2, "whose predictions are its list"),
        ([*OPTIONS, "--scores=l.csv"], 1, "churn.csv, no row is left to score: each"),
        ([*OPTIONS, "--scores=list.xlsx"], 1, "list.xlsx does not end in .csv"),
        ([*OPTIONS, "--scores=./churn.csv"], 1, "--scores would replace churn.csv"),
        ([*OPTIONS, "--report=churn.csv"], 1, "churn.csv does not end in .html"),
        ([*OPTIONS, "--scores=l.csv", "--rows=bad.csv"], 1, "bad.csv, column visits"),
        ([*OPTIONS, "--scores=l.csv", "--rows=gone.csv"], 1, "there is no file gone"),
        ([*OPTIONS, "--rows=bad.csv"], 2, "--rows needs --scores"),
        ([*OPTIONS, "--margin=0.4"], 2, "--margin is not for a table"),
        ([*OPTIONS, "--yes"], 2, "--yes is not for a table"),
        ([*OPTIONS, "--judge=l.csv", "--report=r.html"], 2, "is not for a list"),
        (["--treatment=plan"], 2, "--treatment needs --control"),
        (["my-project.analytics_1", "--category=x"], 2, "is not for an export"),
    ],
    ids=str,
)
def test_what_cannot_be_tried_is_said_before_training(
    folder, capsys, arguments, status, message
):
    """With what to do, without a traceback, and without a report or a list."""
    (folder / "spark.parquet").mkdir()
    tried = arguments if not arguments[0].startswith("-") else ["churn.csv", *arguments]
    assert main(["try", *tried]) == status

    said = capsys.readouterr().err
    assert message in said
    assert "training on" not in said
    assert "Traceback" not in said
    there = {"churn.csv", "bad.csv", "spark.parquet"}
    assert {file.name for file in folder.iterdir()} == there


def test_a_list_opens_in_a_spreadsheet(folder, capsys):
    """Ids stay as they are, unless a spreadsheet would take one for a formula."""
    frame = still_open(customers())
    frame["customer"] = frame["customer"].replace({"c7": "=c7", "c8": "Zoë"})
    frame.to_csv("churn.csv", index=False)
    (folder / "list.csv").write_text("the list of last month")
    assert main(["try", "churn.csv", *OPTIONS, "--scores", "list.csv"]) == 0

    content = (folder / "list.csv").read_bytes()
    listed = pd.read_csv("list.csv")
    assert "The list of 150 users is in list.csv" in capsys.readouterr().err
    assert content.startswith(
        codecs.BOM_UTF8 + b'"customer","probability","percentile","reasons"\r\n'
    )
    ids = {f"c{n}" for n in range(150)} - {"c7", "c8"}
    assert {*listed["customer"]} == ids | {"'=c7", "Zoë"}
    assert listed["probability"].is_monotonic_decreasing


def test_a_list_can_be_of_another_file(folder, capsys):
    later = customers().tail(3).drop(columns="churned")
    later.to_parquet("later.parquet")
    options = [*OPTIONS, "--rows=later.parquet", "--scores=lists/later.csv", "--json"]
    assert main(["try", "churn.csv", *options]) == 0

    answer = json.loads(capsys.readouterr().out)
    assert (answer["scores"], answer["listed"]) == ("lists/later.csv", 3)
    assert {*pd.read_csv("lists/later.csv")["customer"]} == {*later["customer"]}


def test_candidates_are_those_of_a_file(folder, capsys):
    """What is wrong in it is said before the training."""
    file = folder / "usecase.toml"
    file.write_text('[[candidates]]\nname = "lr"\nalgorithm = "LogisticRegression"\n')
    options = [*OPTIONS, "--candidates=usecase.toml", "--json"]
    assert main(["try", "churn.csv", *options]) == 0
    assert "ROC AUC" in capsys.readouterr().err
    file.write_text('[[candidates]]\nname = "lr"\nalgorithm = "VotingClassifier"\n')
    assert main(["try", "churn.csv", *options]) == 1

    said = capsys.readouterr().err
    assert "usecase.toml: candidates: lr needs one parameter, of" in said
    assert "training on" not in said


def test_an_experiment_ends_in_a_list_and_a_profit(folder, capsys):
    table = campaign()
    table["bought"] *= 20.0
    table.to_csv("campaign.csv", index=False)
    others = campaign(40, seed=3).drop(columns=["mail", "bought"])
    others.to_csv("new.csv", index=False)
    asked = ["--user=customer", "--treatment=mail", "--control=none", "--label=bought"]
    money = ["--cost-per-contact=0.1", "--margin=0.4"]
    listing = ["--rows=new.csv", "--scores=list.csv", "--json"]
    assert main(["try", "campaign.csv", *asked, *money, *listing]) == 0

    answer = json.loads(capsys.readouterr().out)
    assert answer["listed"] == 40
    assert answer["arms"][0]["profit_low"] > 0
    listed = pd.read_csv("list.csv")
    assert {*listed["customer"]} == {*others["customer"]}
    assert listed["effect"].is_monotonic_decreasing
    assert main(["try", "campaign.csv", *asked, "--scores=list.csv"]) == 2
    assert "--scores needs --rows" in capsys.readouterr().err
    assert main(["try", "campaign.csv", *asked, "--outcomes=bought, mail"]) == 1
    assert "column mail is named twice" in capsys.readouterr().err


def test_a_use_case_is_tried_and_nothing_changes(folder, champion_deployment, capsys):
    """Not even a lease or a report is left in the bucket, but that of the digest of the
    export."""
    deployment = champion_deployment

    def stored() -> list[Any]:
        every = deployment.artifacts.generations()
        return [one for one in every if not one.name.startswith("runs/ga4_export/")]

    before = stored(), deployment.versions()
    with (
        entered(deployment.environment),
        patch.multiple(Settings, **deployment.constants),
    ):
        status = main(["try", "ga4_purchase", "--as-of", str(LATER), "--json"])
    answer = json.loads(capsys.readouterr().out)

    assert status == 0
    assert (answer["model_version"], answer["would_go_live"]) == (None, True)
    assert (stored(), deployment.versions()) == before
    assert "Would go live" in (folder / "try-ga4_purchase.html").read_text()


def test_the_page_for_notebooks_prints_what_it_says(folder, capsys):
    """The cell is run in a folder with the file that it reads."""
    [cell] = blocks("docs/first-look.md", "py")
    exec(cell, {})

    [expected] = blocks("docs/first-look.md", "text")
    assert worded(capsys.readouterr().out) == worded(expected)
