"""
Online scoring without HTTP: numbers to the last bit, groups, and the log behind it.

Models are tiny and real. What the function does over HTTP is in
``functions/test_score.py``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from propensity import usecases
from propensity.errors import RequestError, Unavailable
from propensity.gcp.http import object_in
from propensity.gcp.log import Counts
from propensity.models.scoring import Scorer
from propensity.registry.serving import Serving, ServingState
from propensity.registry.versions import Record, RecordedCard
from propensity.streaming.scores import score
from propensity.streaming.scores.inference_log import ONLINE, Scored, row_of
from propensity.streaming.scores.score import WaitingInstances, append_all, scores_of
from propensity.streaming.scores.score_request import Instance, question_of
from propensity.tables.stream import INFERENCE_LOG, Inference

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CARDS = usecases.load("card_fraud")
PLAYERS = structs.replace(
    usecases.load("first_day_churn"),
    features={"bet_count": "number", "country": "category", "age": "number"},
)


def serving(version: int, *, labels=(0, 0, 1, 1)) -> Serving:
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
    encoded = preprocessor.fit_transform(frame)
    fitted = LogisticRegression().fit(encoded, labels)
    scorer = Scorer(preprocessor, fitted, features=dict(PLAYERS.features))
    record = Record(model_version=version, card=RecordedCard())
    return Serving(version=version, scorer=scorer, record=record)


FIRST = serving(1)
SECOND = serving(2, labels=(1, 1, 0, 0))


def player(bets: float, *, age: float | None = 30.0, prefix: str = "") -> Instance:
    return Instance({"bet_count": bets, "country": "GB", "age": age}, prefix)


def alone(instance: Instance, by: Serving = FIRST) -> float:
    """Return what a version says of a player."""
    rows = pa.RecordBatch.from_pylist([instance.features], PLAYERS.feature_schema())
    return float(by.scorer.probabilities(rows)[0])


@settings(deadline=None)
@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False)
        | st.integers(-(10**30), 10**30),
        min_size=29,
        max_size=29,
    ),
    st.booleans(),
)
def test_questions_keep_every_number_to_the_last_bit(values, as_texts):
    """What Python writes of a number is read as that number, as a text too."""
    fields = dict(zip(CARDS.features, values, strict=True))
    if as_texts:
        fields = {name: repr(value) for name, value in fields.items()}

    body = object_in(json.dumps(fields).encode())
    known = {one.name: one for one in (CARDS, PLAYERS)}
    question = question_of(body, known, default=PLAYERS.name, latest=NOW)

    read = [*question.instances[0].features.values()]
    assert read == [float(value) for value in values]


class TestScores:
    def test_scores_are_those_of_each_alone_by_its_own_version(self):
        """Who comes together is scored together, in the order of the group: by one
        call of each version."""
        calls = []

        class Counted:
            def __init__(self, version):
                self.scorer = version.scorer

            def probabilities(self, rows):
                calls.append(len(rows))
                return self.scorer.probabilities(rows)

        players = [player(1), player(9)]
        counted = [replace(one, scorer=Counted(one)) for one in (FIRST, SECOND)]
        versions = counted * 20
        results = scores_of(
            [WaitingInstances(PLAYERS, each, players) for each in versions]
        )

        for values, version in zip(results, versions, strict=True):
            expected = [alone(each, version) for each in players]
            assert values == pytest.approx(expected, abs=1e-12)
        assert calls[:2] == [40, 40]

    def test_scores_fail_for_the_request_that_breaks_the_model_alone(self):
        """Steps of an uploaded preprocessor may raise anything, such as KeyError."""

        class Fragile:
            def probabilities(self, rows):
                if 99 in rows["age"].to_pylist():
                    raise KeyError(99)
                return FIRST.scorer.probabilities(rows)

        by = replace(FIRST, scorer=Fragile())
        group = [player(1), player(2, age=99), player(3)]
        first, second, third = scores_of(
            [WaitingInstances(PLAYERS, by, [one]) for one in group]
        )

        assert isinstance(second, KeyError)
        assert [first, third] == [[alone(player(1))], [alone(player(3))]]

    def test_scores_refuse_what_a_version_cannot_score(self):
        """Only the request that has it, such as a null that nothing fills; the field is
        named."""
        odd = player(2, age=None, prefix="instances[1].")
        group = [[player(1)], [player(1), odd], [player(3)]]
        first, second, third = scores_of(
            [WaitingInstances(PLAYERS, FIRST, instances) for instances in group]
        )

        assert first == [alone(player(1))]
        assert isinstance(second, RequestError)
        assert second.field == "instances[1].age"
        assert third == [alone(player(3))]


def logged(*ids: str) -> list[Inference]:
    """Return rows of the log of players with these identities."""
    features = dict.fromkeys(PLAYERS.features)
    events = (Scored(event_id, None, NOW, features, 1.5) for event_id in ids)
    state = ServingState(champion=FIRST, epoch=5)
    return [
        row_of(PLAYERS, state, event, 0.25, source=ONLINE, at=NOW) for event in events
    ]


@pytest.mark.parametrize("error", [Unavailable("down"), KeyError("what")])
async def test_the_log_is_written_again_until_it_is_taken(error, capsys, monkeypatch):
    """Whatever an append fails with, nothing is let go but rows that no table takes;
    how many were lost is an error in the log. If nobody foresaw a failure the log has
    the trace, and not the text, which may name a user."""
    monkeypatch.setattr(score, "RETRY_S", 0.001)
    failures = [error, error]
    taken = []

    async def append(rows: pa.RecordBatch) -> dict[int, str]:
        assert rows.schema == INFERENCE_LOG.arrow_schema()
        if failures:
            raise failures.pop()
        taken.extend(rows["event_id"].to_pylist())
        del taken[1]
        return {1: "too long"}

    group = [logged("a"), logged("b", "c")]
    assert await append_all(append, Counts("score"), group) == [None] * 2

    assert taken == ["a", "c"]
    lines = capsys.readouterr().err
    assert lines.count("not logged yet") == 2
    assert "refuses 1 rows" in lines
    assert ("in append" in lines) == isinstance(error, KeyError)
    assert "what" not in lines
