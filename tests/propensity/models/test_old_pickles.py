"""
Models of users, specified: what was pickled before the modules had rooms still scores.

The pickles were written by the modules at their old names: ``propensity.scoring``,
``propensity.anomaly``, ``propensity.half_space_trees``. They hold a mean of two
logistic regressions and three half-space trees, both fitted to 400 rows of noise.
"""

from __future__ import annotations

import pickle
import re
import zlib
from pathlib import Path

import joblib
import numpy as np
import pytest

from propensity.models.anomaly import AnomalyModel
from propensity.models.scoring import MeanOfModels

PROBE = np.linspace(-2, 2, 12).reshape(4, 3)

FOLDER = Path(__file__).parent / "old_pickles"
MEAN_OF_MODELS = FOLDER / "mean_of_models.joblib"
ANOMALY_MODEL = FOLDER / "anomaly_model.joblib"


def named_modules(pickled: Path) -> set[str]:
    """The modules of this package that a pickle names."""
    data = zlib.decompress(pickled.read_bytes())
    return {name.decode() for name in re.findall(rb"propensity\.[a-z_.]+", data)}


STALE = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.InconsistentVersionWarning"
)


@STALE
@pytest.mark.parametrize(
    ("pickled", "kind", "modules", "expected"),
    [
        pytest.param(
            MEAN_OF_MODELS,
            MeanOfModels,
            {"propensity.scoring"},
            [0.0833618954067, 0.1818001864329, 0.5387772166819, 0.8227213128704],
            id="mean of models",
        ),
        pytest.param(
            ANOMALY_MODEL,
            AnomalyModel,
            {"propensity.anomaly", "propensity.half_space_trees"},
            [0.8756989247312, 0.5729032258065, 0.7053763440860, 0.8086021505376],
            id="half-space trees",
        ),
    ],
)
def test_a_model_of_before_is_read_and_scores_the_same(
    pickled, kind, modules, expected
):
    """A pickle names the old module of its class; it is read, and is of today's class,
    and its scores are those of then."""
    model = joblib.load(pickled)

    assert named_modules(pickled) == modules
    assert type(model) is kind
    assert model.predict_proba(PROBE)[:, 1].tolist() == pytest.approx(
        expected, rel=1e-12
    )


@STALE
def test_a_forest_of_before_it_had_a_module_is_read():
    """Between the rooms and the module of their own, trees were named in that of the
    detector; they are read, and score the same."""
    model = joblib.load(ANOMALY_MODEL)
    written = pickle.dumps(model, protocol=2)
    today = b"propensity.models.forest\nForest\n"
    before = b"propensity.models.half_space_trees\n_Forest\n"

    again = pickle.loads(written.replace(today, before))

    assert today in written
    assert again.predict_proba(PROBE).tolist() == model.predict_proba(PROBE).tolist()
