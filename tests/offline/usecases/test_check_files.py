"""The files of a use case, specified: what is wrong is found before anything runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from offline.usecases import check
from propensity import usecases
from tests.offline.usecases.conftest import NAME

PREPROCESSOR = """\
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

def preprocessor(use_case):
    steps = make_pipeline(SimpleImputer(), {function})
    return ColumnTransformer([("numbers", steps, ["sessions"])])
"""


class TestFile:
    @pytest.mark.parametrize("file", ["usecase.toml", "features.sql"])
    def test_is_utf_8(self, folder, file, checked):
        text = (folder / file).read_bytes()
        (folder / file).write_bytes(text.replace(b"\n", b"\n# f\xfcr\n", 1))

        [problem] = checked().problems
        assert f"{NAME}/{file} is not UTF-8 text: save the file in that" in problem

    def test_of_a_use_case_is_there(self, folder):
        """A folder without its usecase.toml is none, and says so; so is one without
        labels.sql."""
        (folder / "labels.sql").unlink()
        assert [*check.files(NAME)] == [
            f"{NAME}/labels.sql is missing: every use case of users has one"
        ]
        (folder / "usecase.toml").unlink()
        assert [*check.files(NAME)] == [f"{NAME}/usecase.toml is missing"]

    def test_takes_events_that_are_declared(self, folder):
        """Of the stream, here or in events.toml."""
        with (folder / "usecase.toml").open("a") as file:
            file.write('[stream]\nevents = ["spin"]\n')

        [problem] = check.files(NAME)
        assert "takes spin, which no file declares" in problem


class TestModel:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (PREPROCESSOR.format(function="FunctionTransformer(abs)"), ""),
            (PREPROCESSOR.format(function="FunctionTransformer(lambda x: x)"), "ickl"),
            ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
            (
                "def preprocess(use_case):\n    return None\n",
                "has no attribute 'preprocessor'",
            ),
        ],
    )
    def test_preprocessor_can_be_stored(
        self, folder: Path, monkeypatch, text: str, message: str
    ):
        """With what training keeps, and without ending the check; and it is there:
        training would take the default for one by another name."""
        module = f"{usecases.__name__}.{NAME}"
        monkeypatch.setattr(usecases, "__path__", [str(folder.parent)])
        for name in (module, f"{module}.model"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        (folder / "model.py").write_text(text)
        found = [*check.files(NAME)]

        assert len(found) == bool(message)
        assert all(f"{NAME}/model.py: " in one and message in one for one in found)
