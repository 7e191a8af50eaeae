"""try --example: a table comes along, and is tried as a person would try it."""

from __future__ import annotations

import json
import re
import sys

import pandas as pd
import pytest

from commands.cli import main
from propensity.errors import RequestError
from propensity.trying.folder import locked
from tests.docs.pages import blocks, worded
from tests.support.programs import execute

TYPED = (
    "propensity try churn.csv --user customer --time month --label churned "
    "--scores list.csv"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("example")


@pytest.fixture(scope="module")
def tried(folder):
    """What the command answers to a program, and says to a person meanwhile."""
    command = [sys.executable, "-m", "commands", "try", "--example", "--json"]
    return execute(command, cwd=folder)


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_is_tried_by_the_command_that_it_names(tried, folder):
    """The pages quote it. It ends with two ways on."""
    answer = json.loads(tried.stdout)
    lines = tried.stderr.splitlines()
    [quoted] = blocks("README.md", "text")

    assert lines[0] == f"$ {TYPED}"
    assert worded(quoted) == worded("\n".join(lines[5:11]))
    assert quoted == blocks("docs/first-look.md", "text")[0]
    assert "open try-churn.csv.html" in lines[-1]
    assert "a file of yours" in lines[-1]
    assert answer["report"] == "try-churn.csv.html"
    assert (folder / "try-churn.csv.html").exists()
    assert len(pd.read_csv(folder / "list.csv")) == answer["listed"] >= 100


def test_the_example_has_what_a_first_look_is_for(tried):
    """A model that beats each column, a top that is worth contacting, and a leak, which
    is named and left out."""
    answer = json.loads(tried.stdout)
    [above] = re.findall(r"alone: .* \((\+0\.\d+) to .*; on", tried.stderr)
    [lift] = re.findall(r"(\d\.\d) \(.*\) times the average", tried.stderr)

    assert 0.75 <= answer["metrics"]["roc_auc"] <= 0.85
    assert float(above) > 0
    assert 3 <= float(lift) <= 5
    assert [*answer["leaks"]] == ["closed_reason"]
    assert "closed_reason" in answer["left_out"]


def test_the_page_for_notebooks_prints_what_it_says(tried, folder, monkeypatch, capsys):
    """The cell is run in a folder with the file that it reads. Without a list, columns
    that may know the outcome stay in."""
    monkeypatch.chdir(folder)
    [cell] = blocks("docs/notebook.ipynb", "py")
    exec(cell, {})

    printed = worded(capsys.readouterr().out)
    expected = worded(blocks("docs/first-look.md", "text")[0])
    assert (printed[0], printed[2][:9]) == (expected[0], expected[2][:9])


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["mine.csv"], "mine.csv is not for --example"),
        (["--margin=0.4"], "--margin is not for --example"),
        (["--scores=other.csv"], "--scores is not for --example"),
        (["--label-event=sign_up"], "--label-event is not for --example"),
    ],
    ids=str,
)
def test_what_is_not_for_the_example_is_refused_by_its_name(
    empty, capsys, words, named
):
    assert main(["try", "--example", *words]) == 2

    assert named in capsys.readouterr().err
    assert [*empty.iterdir()] == []


@pytest.mark.parametrize("name", ["churn.csv", "list.csv"])
def test_a_file_of_somebody_is_not_replaced(empty, capsys, name):
    (empty / name).write_text("mine")
    assert main(["try", "--example"]) == 1

    assert f"{name} is already here" in capsys.readouterr().err
    assert [file.read_text() for file in empty.iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_written_is_said_at_once(monkeypatch, capsys):
    monkeypatch.chdir("/proc")
    assert main(["try", "--example", "--json"]) == 1

    printed = capsys.readouterr()
    assert "churn.csv" in json.loads(printed.out)["error"]["message"]
    assert "Traceback" not in printed.err


def test_windows_is_told_that_it_has_no_lock_for_a_folder(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "fcntl", None)

    with pytest.raises(RequestError, match="which Windows lacks"), locked(tmp_path):
        pytest.fail("nothing is written without a lock")
