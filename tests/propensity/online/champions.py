"""Champions of players that serve, two beside each other, and questions to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from propensity import usecases
from propensity.models.scoring import Scorer
from propensity.online.score_request import Layout, Question, Reader
from propensity.registry.loading import Serving
from propensity.registry.serving import ServingState

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATEST = NOW + timedelta(minutes=10)
CARDS = usecases.load("card_fraud")
PLAYERS = replace(
    usecases.load("first_day_churn"),
    features={"bet_count": "number", "country": "category", "age": "number"},
)
READER = Reader([CARDS, PLAYERS], default=PLAYERS.name)
CARD = {name: float(place) for place, name in enumerate(CARDS.features)}
PLAYER = {"bet_count": 3, "country": "GB", "age": 35.5}


def read(fields: Mapping[str, Any]) -> Question:
    """Read a question."""
    return READER.question(json.dumps(fields).encode(), latest=LATEST)


LAYOUT = Layout(PLAYERS)


def serving(
    version: int, *, labels: Sequence[int] = (0, 0, 1, 1), model=None
) -> Serving:
    """Return a model of players, which takes no nulls."""
    frame = pd.DataFrame(
        {
            "bet_count": [1.0, 2.0, 8.0, 9.0],
            "country": pd.Series(["GB", "MT", "GB", "MT"], dtype="str"),
            "age": [20.0, 30.0, 40.0, 50.0],
        }
    )
    preprocessor = make_column_transformer(
        (StandardScaler(), ["bet_count", "age"]),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["country"]),
    )
    fitted = (LogisticRegression() if model is None else model).fit(
        preprocessor.fit_transform(frame), labels
    )
    scorer = Scorer(preprocessor, fitted, features=dict(PLAYERS.features))
    return Serving(version=version, scorer=scorer, metadata={})


FIRST, SECOND = serving(1), serving(2, labels=(1, 1, 0, 0))
STATE = ServingState(champion=FIRST, epoch=5)
