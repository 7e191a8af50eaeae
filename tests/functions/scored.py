"""Champions that score cards and players, and questions to the function ``score``."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from propensity import usecases
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.registry.versions import Registry, pickled
from tests.propensity.registry import versions
from tests.support.deployment import Deployment

CARDS = usecases.load("card_fraud")
NAMES = list(CARDS.features)


def transactions(count: int, *, seed: int = 0) -> np.ndarray:
    """Return features of transactions, a row each; amounts are below 1."""
    rows = np.random.default_rng(seed).normal(size=(count, len(NAMES)))
    rows[:, -1] /= 1000
    return rows.round(6)


def flat(row: np.ndarray, **further: Any) -> dict[str, Any]:
    """Return a transaction as an object of its features."""
    return {**dict(zip(NAMES, row.tolist(), strict=True)), **further}


@cache
def fitted() -> tuple[Any, Any, Any]:
    """Return a preprocessor that fills gaps, and two models of what it makes."""
    rows = pd.DataFrame(transactions(600, seed=1), columns=NAMES)
    preprocessor = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NAMES)
    )
    encoded = preprocessor.fit_transform(rows)
    classifier = LogisticRegression().fit(encoded, rows["V14"] + rows["V4"] > 1)
    trees = HalfSpaceTrees(n_trees=5, height=5, window_size=100)
    return preprocessor, classifier, trees.fit(encoded)


def expected(row: np.ndarray, *, model: Any = None) -> float:
    """Return what the pipeline says of one transaction."""
    preprocessor, classifier, _ = fitted()
    frame = pd.DataFrame([row], columns=NAMES)
    scores = (model or classifier).predict_proba(preprocessor.transform(frame))
    return float(scores[0, 1])


def publish(site: Deployment, model: Any) -> int:
    """Store a model as training does; return its version."""
    return site.publish_version(
        CARDS.name,
        model=pickled(model),
        preprocessor=pickled(fitted()[0]),
        features=CARDS.features,
    )


def promote(site: Deployment, version: int) -> None:
    """Let a version serve."""
    versions.promote(Registry(site.artifacts, CARDS.name), version)


def features_of(use_case: str) -> dict[str, Any]:
    """Return a value for each feature of a use case."""
    features = usecases.load(use_case).features
    return {name: 1 if kind == "number" else "x" for name, kind in features.items()}
