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

from commands.cli import main
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.registry.versions import Registry
from propensity.runs import predict
from propensity.settings import Settings
from propensity.statements import statement

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
UNKNOWN_COLUMN = """
    from sklearn.compose import ColumnTransformer

    def preprocessor(use_case):
        return ColumnTransformer([("all", "passthrough", ["no_such_feature"])])
"""
NOT_A_COLUMN_TRANSFORMER = """
    from sklearn.preprocessing import StandardScaler

    def preprocessor(use_case):
        return StandardScaler()
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


@pytest.fixture
def settings(environment) -> Settings:
    return Settings.from_environment(environment)


@pytest.fixture
def warehouse(settings) -> Warehouse:
    opened = Warehouse.open(settings)
    opened.create(predict.tables.PREPROCESSORS)
    return opened


def newest(warehouse: Warehouse) -> Any:
    sql = statement("newest_preprocessor")
    return warehouse.rows(sql, {"use_case": "ga4_purchase"})[0]


class TestBuildPreprocessor:
    def test_uploads_what_training_will_use(
        self, tmp_path, settings, warehouse, capsys
    ):
        """What was uploaded is recorded, and verified and unpickled to the same."""
        status = main(["build-preprocessor", "--from", written(tmp_path, GOOD)])

        assert status == 0
        assert "gs://" in capsys.readouterr().out
        registry = Registry(Artifacts.open(settings), "ga4_purchase")
        upload = newest(warehouse)
        read = registry.verified(upload["object"], upload["sha256"])
        assert isinstance(read, ColumnTransformer)
        assert [name for name, _, _ in read.transformers] == ["numbers", "words"]

    def test_puts_the_default_back(self, tmp_path, warehouse):
        """After --default the newest row says that training takes its own."""
        main(["build-preprocessor", "--from", written(tmp_path, GOOD)])
        main(["build-preprocessor", "--default"])

        assert newest(warehouse)["is_default"]

    def test_uploads_nothing_on_a_dry_run(self, tmp_path, settings, warehouse, capsys):
        """A dry run checks, says so, and writes neither object nor row."""
        status = main(
            ["build-preprocessor", "--from", written(tmp_path, GOOD), "--dry-run"]
        )

        assert status == 0
        assert "gs://" not in capsys.readouterr().out
        assert Artifacts.open(settings).names("preprocessors/") == []

    def test_answers_in_json_alone_whatever_the_file_prints(
        self, tmp_path, settings, capsys
    ):
        """What it prints is on standard error."""
        file = written(tmp_path, f"print('so many columns')\n{textwrap.dedent(GOOD)}")

        assert main(["build-preprocessor", "--from", file, "--dry-run", "--json"]) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out)["uri"] is None
        assert "so many columns" in printed.err

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (UNKNOWN_COLUMN, "does not fit the use case's features"),
            (NOT_A_COLUMN_TRANSFORMER, "ColumnTransformer"),
            (DEFINES_ITS_OWN_FUNCTION, "does not survive pickling"),
            ("import no_such_module", "can not be run"),
            ("raise SystemExit(0)", "can not be run"),
            ("def preprocessor(_): raise SystemExit(0)", "does not survive pickling"),
            ("x = 1", "defines no function preprocessor"),
        ],
    )
    def test_refuses_what_training_could_not_use(
        self, tmp_path, settings, capsys, text, said
    ):
        """A preprocessor that can not work is refused before it is uploaded."""
        status = main(["build-preprocessor", "--from", written(tmp_path, text)])

        assert status == 1
        assert said in capsys.readouterr().err
        assert Artifacts.open(settings).names("preprocessors/") == []
