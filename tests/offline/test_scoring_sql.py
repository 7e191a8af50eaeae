"""
The bundle of a scoring function, specified: the code that a version's pickles name.
"""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from types import ModuleType, SimpleNamespace

import joblib
import pytest
from sklearn.preprocessing import FunctionTransformer

from offline import scoring_sql
from propensity import usecases

OWN = """
from propensity.usecases import NUMBER, UseCase


def halved(rows):
    return rows / 2
"""
# As the function of BigQuery loads a preprocessor: from the bundle, and nothing else.
LOADER = """
import io, sys, zipfile
bundle = sys.argv[1]
sys.path.insert(0, bundle)
import joblib
import numpy as np
with zipfile.ZipFile(bundle) as files:
    preprocessor = joblib.load(io.BytesIO(files.read("preprocessor.joblib")))
print(preprocessor.transform(np.array([[3.0]])))
import propensity
assert bundle in propensity.__file__
"""


class TestBundle:
    @pytest.fixture
    def own(self, tmp_path, monkeypatch) -> bytes:
        """A preprocessor that names a function of its use case's ``model.py``."""
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "model.py").write_text(OWN)
        name = f"{usecases.__name__}.own.model"
        module = ModuleType(name)
        exec(compile(OWN, name, "exec"), vars(module))
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(usecases, "FOLDER", tmp_path)
        preprocessor = FunctionTransformer(module.halved).fit([[1.0]])
        data = io.BytesIO()
        joblib.dump(preprocessor, data)
        return data.getvalue()

    def made(self, use_case: str, data: bytes) -> bytes:
        """The bundle of a version with these bytes as its files."""
        record = {
            f"{part}_{of}": "x"
            for part in ("preprocessor", "model")
            for of in ("object", "sha256")
        }
        deployment = SimpleNamespace(
            use_case=SimpleNamespace(name=use_case),
            artifacts=SimpleNamespace(read_verified=lambda _, checksum: data),
        )
        return scoring_sql.bundle(deployment, record)

    def test_has_the_code_of_the_use_case_that_its_preprocessor_names(
        self, own, tmp_path
    ):
        """A graph holds no such code, and so this is what a function is for."""
        bundle = tmp_path / "bundle.zip"
        bundle.write_bytes(self.made("own", own))
        loaded = subprocess.run(
            [sys.executable, "-W", "ignore", "-P", "-c", LOADER, str(bundle)],
            cwd=tmp_path,
            env={},
            check=True,
            capture_output=True,
            text=True,
        )

        assert loaded.stdout == "[[1.5]]\n"

    def test_of_another_use_case_has_no_more_than_a_scorer_needs(self):
        """The same bytes whenever it is made."""
        data = self.made("ga4_purchase", b"x")
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()

        assert data == self.made("ga4_purchase", b"x")
        assert "propensity/models/scoring.py" in names
        assert not [name for name in names if "usecases" in name or "tables" in name]
