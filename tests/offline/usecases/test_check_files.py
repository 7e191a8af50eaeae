"""The files of a use case, specified: what is wrong is found before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from offline.usecases import check
from propensity import usecases
from propensity.errors import UseCaseError
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


def problems() -> list[tuple[str, int, str]]:
    """What is wrong with the files."""
    found = check.files(NAME)
    return [(problem.file, problem.line, problem.message) for problem in found]


class TestFile:
    @pytest.mark.parametrize("file", ["usecase.toml", "labels.sql"])
    def test_is_utf_8(self, folder, file):
        """The line of the first byte that is not; loading and running say the same."""
        text = (folder / file).read_bytes()
        (folder / file).write_bytes(text.replace(b"\n", b"\n# f\xfcr\n", 1))

        assert problems() == [(file, 2, "is not UTF-8 text: save the file in that "
                               "encoding")]  # fmt: skip
        with pytest.raises(UseCaseError, match=f"{file}:2: is not UTF-8 text"):
            usecases.load(NAME).statement("labels")

    def test_of_a_use_case_is_there(self, folder):
        """A folder without its usecase.toml is none, and says so; so is one without
        labels.sql."""
        (folder / "labels.sql").unlink()
        assert problems()[0][2].startswith("is missing")
        (folder / "usecase.toml").unlink()
        assert problems() == [("usecase.toml", 1, "is missing")]


class TestDeclared:
    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("\nC = 0.1", '\npenalty = "l1"', "supports only 'l2'"),
            ("min_samples_leaf = 30", "monotonic_cst = [1, 0]", "monotonic_cst"),
        ],
    )  # fmt: skip
    def test_is_what_a_run_can_do(
        self, edit: Callable[[str, str, str], int], old: str, new: str, message: str
    ):
        """Parameters that go together, and that no setting makes another type."""
        edit("usecase.toml", old, new)

        [(file, _, said)] = problems()
        assert file == "usecase.toml"
        assert message in said

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
        found = problems()

        assert [file for file, _, _ in found] == ["model.py"] * bool(message)
        assert message in str(found)
