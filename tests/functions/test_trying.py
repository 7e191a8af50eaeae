"""try: a file, a table or a use case is tried by a command, which changes nothing."""

from __future__ import annotations

import codecs
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from commands.cli import main
from local.exports.sources import replace_table
from propensity.trying import tables
from tests.propensity.trying.first_look.tables import NAMES, customers
from tests.support.deployment import entered

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
    assert "try-churn.csv.html" in output.err
    assert "Test set:" in (folder / "try-churn.csv.html").read_text()
    assert f"ROC AUC {answer['metrics']['roc_auc']:.3f} against" in output.out


def test_a_table_is_tried_within_bounds(folder, deployment, monkeypatch, capsys):
    """In any region, and without reading terabytes into memory."""
    bigquery = deployment.ground.bigquery
    bigquery.location = "EU"
    bigquery.create_dataset("abroad")
    name = f"{deployment.project}.abroad.customers"
    replace_table(bigquery, name, pa.Table.from_pandas(customers()))
    with entered(deployment.environment):
        assert main(["try", name, *OPTIONS]) == 0
        monkeypatch.setattr(tables, "MAXIMUM_ROWS", 100)
        assert main(["try", name, *OPTIONS]) == 1

    assert "at most 100 rows and 1 GiB can be tried" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["gone.csv"], 2, "'gone.csv' is not a file"),
        (["bad.csv", *OPTIONS], 1, "bad.csv, column visits, row 72: 'x' is not a nu"),
        (["churn.csv"], 1, "which column of churn.csv has the outcome?"),
        (["churn.csv", *OPTIONS, "--scores=l.csv"], 1, "no row is left to score: each"),
        (["churn.csv", *OPTIONS, "--scores=./churn.csv"], 1, "would replace churn.csv"),
        (
            ["churn.csv", *OPTIONS, "--scores=l.csv", "--rows=bad.csv"],
            1,
            "bad.csv, col",
        ),
        (["churn.csv", *OPTIONS, "--margin=0.4"], 2, "--margin is not for a table"),
    ],
    ids=str,
)
def test_what_cannot_be_tried_is_said_before_training(
    folder, capsys, arguments, status, message
):
    """With what to do, without a traceback, and without a report or a list."""
    assert main(["try", *arguments]) == status

    said = capsys.readouterr().err
    assert message in said
    assert "training on" not in said
    assert "Traceback" not in said
    assert {file.name for file in folder.iterdir()} == {"churn.csv", "bad.csv"}


def test_a_candidate_that_is_not_here_is_said_before_the_table_is_read(folder, capsys):
    """Defect: it was said after others had been fitted for a while."""
    file = folder / "usecase.toml"
    file.write_text('[[candidates]]\nname = "mine"\nalgorithm = "my_model.Mine"\n')
    assert main(["try", "churn.csv", *OPTIONS, "--candidates=usecase.toml"]) == 1

    said = capsys.readouterr().err
    assert "my_model.Mine, which is not here" in said
    assert "write PYTHONPATH=. before the command" in said
    assert "reading churn.csv" not in said


def test_a_list_opens_in_a_spreadsheet(folder, capsys):
    """It may be of another file, by candidates of one's own. Ids stay as they are,
    unless a spreadsheet would take one for a formula."""
    file = folder / "usecase.toml"
    file.write_text('[[candidates]]\nname = "lr"\nalgorithm = "LogisticRegression"\n')
    later = customers().tail(3).drop(columns="churned")
    # The first is as an earlier list has it.
    later["customer"] = ["'=c7", "Zoë", "c9"]
    later.to_csv("later.csv", index=False)
    options = [*OPTIONS, "--rows=later.csv", "--scores=lists/later.csv", "--json"]
    assert main(["try", "churn.csv", *options, "--candidates=usecase.toml"]) == 0

    answer = json.loads(capsys.readouterr().out)
    content = (folder / "lists/later.csv").read_bytes()
    listed = pd.read_csv("lists/later.csv")
    assert (answer["scores"], answer["listed"]) == ("lists/later.csv", 3)
    assert content.startswith(
        codecs.BOM_UTF8 + b'"customer","probability","percentile","reasons"\r\n'
    )
    assert {*listed["customer"]} == {"'=c7", "Zoë", "c9"}
    assert listed["probability"].is_monotonic_decreasing
    options = [*OPTIONS, "--rows=later.csv", "--scores=later.xlsx"]
    assert main(["try", "churn.csv", *options, "--candidates=usecase.toml"]) == 0
    with zipfile.ZipFile("later.xlsx") as book:
        cells = "".join(map(str, map(book.read, book.namelist())))
    assert ">=c7<" in cells


def test_a_list_of_nobody_replaces_an_earlier_one(folder, capsys):
    """Who sends it each month would contact last month's users otherwise."""
    random = np.random.default_rng(0)
    is_mailed = random.random(3_000) < 0.5
    visits = random.poisson(4, 3_000)
    table = pd.DataFrame({"customer": range(3_000), "visits": visits})
    table["mail"] = np.where(is_mailed, "spring", "none")
    table["bought"] = (random.random(3_000) < 0.5 - 0.3 * is_mailed).astype(int)
    table.to_csv("campaign.csv", index=False)
    table.drop(columns=["mail", "bought"]).to_csv("new.csv", index=False)
    Path("list.csv").write_text("customer\nana\n")
    words = ["try", "campaign.csv", "--user=customer", "--label=bought"]
    words += ["--treatment=mail", "--control=none", "--rows=new.csv"]
    assert main([*words, "--scores=list.csv"]) == 0

    said = capsys.readouterr().err
    assert "list.csv has no users: there is nobody to contact" in said
    assert pd.read_csv("list.csv").empty
