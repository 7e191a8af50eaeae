"""
build_preprocessor, specified: what is uploaded fits the features and survives pickling.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from sklearn.compose import ColumnTransformer

from propensity.statements import statement
from tests.support.deployment import Deployment

GOOD = """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OrdinalEncoder

    def preprocessor(use_case):
        numbers = [n for n, kind in use_case.features.items() if kind == "number"]
        words = [n for n, kind in use_case.features.items() if kind == "category"]
        ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        return ColumnTransformer(
            [("numbers", SimpleImputer(), numbers), ("words", ordinal, words)]
        )
"""
DEFINES_ITS_OWN_FUNCTION = """
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import FunctionTransformer

    def doubled(values):
        return values * 2

    def preprocessor(use_case):
        return ColumnTransformer(
            [("double", FunctionTransformer(doubled), ["recency_days"])]
        )
"""


def written(folder: Path, text: str) -> str:
    file = folder / "my_preprocessor.py"
    file.write_text(textwrap.dedent(text))
    return str(file)


def newest(deployment: Deployment) -> Any:
    sql = statement("newest_preprocessor")
    return deployment.warehouse.rows(sql, {"use_case": "ga4_purchase"})[0]


def uploads(deployment: Deployment) -> list[str]:
    return deployment.artifacts.names("preprocessors/")


def test_building_uploads_what_training_will_use(tmp_path, prepared, capsys):
    """What was uploaded is recorded, and verified and unpickled to the same. A dry run
    uploads nothing, and answers in JSON alone, whatever the file prints. After
    --default the newest row says that training takes its own."""
    file = written(tmp_path, f"print('so many columns')\n{textwrap.dedent(GOOD)}")
    build = ("build-preprocessor", "--from", file)
    assert prepared.command(*build, "--dry-run", "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["uri"] is None
    assert "so many columns" in printed.err
    assert uploads(prepared) == []

    assert prepared.command(*build) == 0
    upload = newest(prepared)
    read = prepared.registry.verified(upload["object"], upload["sha256"])
    assert isinstance(read, ColumnTransformer)
    assert [name for name, _, _ in read.transformers] == ["numbers", "words"]
    assert prepared.command("build-preprocessor", "--default") == 0
    assert newest(prepared)["is_default"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DEFINES_ITS_OWN_FUNCTION, "cannot be pickled"),
        ("import no_such_module", "cannot be run"),
        ("x = 1", "does not define preprocessor"),
    ],
)
def test_building_refuses_a_wrong_preprocessor(tmp_path, prepared, capsys, text, said):
    """A preprocessor that can not work is refused before it is uploaded."""
    before = uploads(prepared)
    file = written(tmp_path, text)

    assert prepared.command("build-preprocessor", "--from", file) == 1
    assert said in capsys.readouterr().err
    assert uploads(prepared) == before
