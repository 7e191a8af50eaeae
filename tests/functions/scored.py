"""
Champions that score, behind an instance of score; questions to it, and their rows.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import requests
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from offline import load_model
from propensity import usecases
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.registry.versions import Registry, pickled
from tests.described import check_described
from tests.functions.instances import Instance, behind_writes
from tests.functions.outages import WriteProxy
from tests.functions.streaming import DEADLINE_S, Site, eventually, new_site
from tests.propensity.registry import versions

CARDS = usecases.load("card_fraud")
PLAYERS = "first_day_churn"
NAMES = list(CARDS.features)
SETTINGS = {
    "PROPENSITY_REFRESH_S": "1",
    "PROPENSITY_DEADLINE_S": "60",
    "PROPENSITY_USE_CASE": "ga4_purchase",
}


def transactions(count: int, *, seed: int = 0) -> np.ndarray:
    """Return features of transactions, a row each; amounts are below 1."""
    rows = np.random.default_rng(seed).normal(size=(count, len(NAMES)))
    rows[:, -1] /= 1000
    return rows.round(6)


@cache
def fitted() -> tuple[Any, Any, Any]:
    """Return a preprocessor that fills gaps, and two models of what it makes."""
    import pandas as pd  # as the models' training does

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
    import pandas as pd

    preprocessor, classifier, _ = fitted()
    frame = pd.DataFrame([row], columns=NAMES)
    scores = (model or classifier).predict_proba(preprocessor.transform(frame))
    return float(scores[0, 1])


def publish(site: Site, model: Any) -> int:
    """Store a model as training does; return its version."""
    return site.publish_version(
        CARDS.name,
        model=pickled(model),
        preprocessor=pickled(fitted()[0]),
        features=CARDS.features,
    )


def promote(site: Site, version: int) -> None:
    """Let a version serve."""
    versions.promote(Registry(site.artifacts, CARDS.name), version)


@pytest.fixture(scope="module")
def every(emulators, tmp_path_factory) -> Iterator[tuple[Site, Instance, WriteProxy]]:
    """A site whose champion is version 0, version 1 beside it, and the function."""
    with new_site(emulators, **SETTINGS) as site:
        _, classifier, trees = fitted()
        publish(site, classifier)
        publish(site, trees)
        promote(site, 0)
        load_model.load(site.warehouse, site.artifacts, site.settings)
        home = tmp_path_factory.mktemp("score")
        with behind_writes("score", site, emulators, home) as (instance, writes):
            yield site, instance, writes


@pytest.fixture
def site(every) -> Site:
    """Where the function works; each test has transactions of its own."""
    return every[0]


@pytest.fixture
def instance(every) -> Instance:
    """The function."""
    return every[1]


@pytest.fixture
def writes(every) -> Iterator[WriteProxy]:
    """What is between the function and the Storage Write API."""
    yield every[2]
    every[2].rule = lambda _: None


@pytest.fixture
def event_id() -> str:
    """A transaction of one test alone."""
    return f"t-{uuid.uuid4().hex[:10]}"


def post(instance: Instance, body: Any, **arguments: Any) -> requests.Response:
    """Ask the function."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = requests.post(
        instance.url,
        data=data,
        headers={"content-type": "application/json"} | arguments.pop("headers", {}),
        timeout=DEADLINE_S,
        **arguments,
    )
    return check_described(instance.target, answer)


def ask(instance: Instance, body: Any) -> dict[str, Any]:
    """Ask the function what it must answer."""
    answer = post(instance, body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def features_of(use_case: str) -> dict[str, Any]:
    """Return a value for each feature of a use case."""
    features = usecases.load(use_case).features
    return {name: 1 if kind == "number" else "x" for name, kind in features.items()}


def flat(row: np.ndarray, **further: Any) -> dict[str, Any]:
    """Return a transaction as an object of its features."""
    return {**dict(zip(NAMES, row.tolist(), strict=True)), **further}


def logged(
    site: Site, *event_ids: str, rows: int | None = None
) -> list[dict[str, Any]]:
    """Return what was logged of events, once it is there."""
    count = len(event_ids) if rows is None else rows

    def stored() -> list[dict[str, Any]]:
        return site.rows(
            "SELECT * FROM inference_log WHERE event_id IN UNNEST(@ids) "
            "ORDER BY event_id",
            ids=list(event_ids),
        )

    return eventually(
        lambda: rows if len(rows := stored()) >= count else None, "it is logged"
    )


FEATURES = flat(transactions(1)[0])
PLAYER = {"use_case": PLAYERS}
OF_PLAYER = features_of(PLAYERS)
OF_DEFAULT = features_of("ga4_purchase")


def without(name: str) -> dict[str, Any]:
    """Return a transaction that lacks a feature."""
    return {feature: value for feature, value in FEATURES.items() if feature != name}
