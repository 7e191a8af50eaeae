"""
Whether a new version goes live, specified: the first one by all rows that it was judged
on, a later one beside the champion on the same rows; and how often chance decides.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit, logit

from propensity.learning import gate
from propensity.learning.gate import Verdict
from propensity.learning.rows import JudgedRows, Slice
from propensity.learning.trained import Learned, Rival, Trained
from propensity.learning.users import UserTraining
from tests.propensity.learning.shops import drawn, snapshots, table, train, trained

# Repetitions of a simulation.
REPEATS = 300


def with_scores(model: Trained, score: np.ndarray, **held: Any) -> Trained:
    """A model that gives the rows held out other scores."""
    return replace(model, holdout=replace(model.holdout, probability=score, **held))


def distorted(sd: float, model: Trained | None = None) -> np.ndarray:
    """A model's probabilities, their log-odds spoilt by noise."""
    p = np.clip((model or trained()).holdout.probability, 1e-6, 1 - 1e-6)
    return expit(logit(p) + np.random.default_rng(2).normal(0, sd, len(p)))


def against(score: np.ndarray | None, model: Trained | None = None, **rival: Any):
    return gate.compare(model or trained(), Rival(version=3, score=score, **rival))


def first(model: Trained) -> Verdict:
    return gate.compare(model, None)


@cache
def small() -> Trained:
    """A training whose rows and scores are replaced by drawn ones."""
    return train(snapshots(users=80))


def made(label: np.ndarray, user: np.ndarray, score: np.ndarray, *, judged: int):
    """A training of these rows: the first were judged, and the others held out. Its
    baseline knows nothing."""
    model = small()
    columns = {"user_id": user, "label": label, "weight": np.ones(len(label))}
    rows = Slice(rows=pa.table(columns))
    before = rows.between(0, judged)
    held = rows.between(judged)
    holdout = replace(
        model.holdout,
        rows=held,
        probability=score[judged:],
        baseline=np.random.default_rng(len(label)).random(len(label)),
    )
    return replace(
        model,
        parts=replace(model.parts, before=before, blocks=[JudgedRows(0, 0, judged)]),
        candidates=[replace(model.candidates[0], score=score[:judged])],
        holdout=holdout,
    )


class Users(NamedTuple):
    """Users with a propensity of their own, and what they did in each week."""

    label: np.ndarray
    user: np.ndarray
    log_odds: np.ndarray

    def model(self, seed: int) -> np.ndarray:
        """What a model says that knows most of the propensity."""
        noise = np.random.default_rng(seed).normal(0, 0.4, len(self.label))
        return expit(self.log_odds + noise - 0.1)


def users(seed: int, positives: float, *, rate: float) -> Users:
    """Draw about as many positives."""
    random = np.random.default_rng(seed)
    user = np.arange(round(positives / rate))
    log_odds = logit(rate) - 0.3 + random.normal(0, 1, len(user))
    label = (random.random(len(user)) < expit(log_odds)).astype(np.int8)
    return Users(label, user, log_odds)


class TestFirst:
    def test_the_first_version_beats_the_baseline(self):
        """Not if labels are such that no feature tells, nor if it is far beyond chance
        and no better than the one rule: nothing goes live, and the reason says so."""
        columns = drawn(6, 400, seed=100)
        coin = first(train(table(columns, np.full(2_400, 0.2))))
        model = trained()
        judged = len(model.parts.choosing)
        ranks = model.holdout.baseline / 2
        scores = [replace(one, score=ranks[:judged]) for one in model.candidates]
        alike = first(replace(with_scores(model, ranks[judged:]), candidates=scores))

        assert first(trained()).promoted
        assert "better than chance and the baseline" in first(trained()).reason
        assert not coin.promoted
        assert "not shown to be better than chance" in coin.reason
        assert not alike.promoted
        assert "better than the baseline:" in alike.reason

    def test_a_first_version_whose_odds_are_three_times_off_stays_out(self):
        """Its ranks are as good as ever, and its probabilities are wrong."""
        label, user, _ = drawn = users(5, 300, rate=0.1)
        right = drawn.model(6)
        wrong = first(made(label, user, expit(logit(right) + np.log(3)), judged=500))

        assert first(made(label, user, right, judged=500)).promoted
        assert not wrong.promoted
        assert "its probabilities are farther from the outcomes" in wrong.reason


class TestChallenger:
    def test_a_champion_that_cannot_score_is_replaced(self):
        """As a first version is: a useless one stays out."""
        label, user, log_odds = users(8, 100, rate=0.2)
        coin = np.random.default_rng(9).permutation(expit(log_odds))
        useless = against(None, made(label, user, coin, judged=200))

        assert against(None).promoted
        assert "cannot score" in against(None).reason
        assert not useless.promoted
        assert useless.compared_version == 3
        assert "not shown to be better than chance" in useless.reason

    @pytest.mark.parametrize(
        ("challenger", "champion", "how"),
        [(0.0, 2.0, "not worse"), (0.05, 0.0, "not worse"), (2.0, 0.0, "worse")],
    )
    def test_a_challenger_goes_live_unless_it_is_worse_beyond_chance(
        self, challenger, champion, how
    ):
        """By the whole interval of the metric's difference, on the same rows."""
        model = with_scores(trained(), distorted(challenger))
        verdict = against(distorted(champion), model)

        assert verdict.promoted == (how == "not worse")
        assert verdict.reason.startswith(f"{how}: ")
        assert "version 3 on the same 500 rows" in verdict.reason

    def test_a_challenger_with_wrong_odds_stays_out(self):
        """A small change of the level is the season's, which a shift makes up for."""
        odds = logit(np.clip(distorted(0), 1e-6, 1 - 1e-6))
        for times, is_promoted in ((1.1, True), (3.0, False)):
            moved = with_scores(trained(), expit(odds + np.log(times)))
            assert against(distorted(0), moved).promoted == is_promoted

    def test_a_challenger_is_compared_on_new_rows(self):
        """Of the others its scores would be too good; where it knows all, it stays."""
        held = trained().holdout
        perfect = trained().holdout.rows.label.astype(float)
        is_new = np.arange(len(perfect)) >= 250
        score = np.where(is_new, held.probability, perfect)
        half = against(score, is_new=is_new)
        none = against(perfect, is_new=np.zeros(len(perfect), np.bool_))

        assert half.promoted
        assert "on the same 250 rows" in half.reason
        assert not none.promoted
        assert "version 3 has learned from all 500 rows of the test set" in none.reason


def test_a_champion_has_learned_from_outcomes_until_its_horizon_is_over():
    """Of rows until then its scores would be too good, and a better challenger stay
    out."""
    until = date(2026, 3, 2)
    days = [until + timedelta(days=days) for days in (-1, 0, 6, 7, 8)]
    holdout = Slice(rows=pa.table({"as_of": days, "label": [0.0] * 5}))
    training: Any = SimpleNamespace(
        task=SimpleNamespace(horizon_days=7), parts=SimpleNamespace(holdout=holdout)
    )
    rival = UserTraining.rival(training, 3, None, Learned(until=until))

    assert rival.is_new is not None
    assert rival.is_new.tolist() == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("name", "leak", "is_named"),
    [
        ("noise", lambda label: 1.0 - label + np.arange(len(label)) % 9 / 50, True),
        ("country", lambda label: np.where(label == 1, "paid", None), True),
        ("country", lambda label: [f"u{n % 80}" for n in range(len(label))], False),
    ],
)
def test_a_feature_that_knows_the_outcome_is_named_in_the_verdict(name, leak, is_named):
    """A model of it is perfect, and worth nothing. An id tells nothing of others."""
    rows = snapshots(users=80)
    index = rows.column_names.index(name)
    values = pa.array(leak(rows["label"].to_numpy()), from_pandas=True)
    suspicious = train(rows.set_column(index, name, values.cast(rows[name].type)))

    assert (f"{name} alone ranks at" in first(suspicious).reason) == is_named


# Few conversions are the hard case; many draws of many rows take long.
POSITIVES = [20, *(pytest.param(n, marks=pytest.mark.long) for n in (3, 150))]


@pytest.mark.parametrize("positives", POSITIVES)
def test_a_version_that_knows_nothing_rarely_goes_live(positives):
    promoted = 0
    for seed in range(REPEATS):
        label, user, log_odds = users(seed, positives, rate=0.06)
        coin = np.random.default_rng(seed + REPEATS).permutation(expit(log_odds))
        promoted += first(made(label, user, coin, judged=len(label) // 2)).promoted

    assert promoted / REPEATS <= 0.025
