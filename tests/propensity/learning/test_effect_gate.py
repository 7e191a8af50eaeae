"""The gate of an order by effect: when it opens, and what it says while it is shut."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from propensity.learning.effect_gate import Members, look_at
from propensity.learning.effects import users_needed
from propensity.measures.intervals import Difference
from propensity.models.effect import EffectModel

FEATURES = {"visits": "number", "segment": "category"}


def members(users: int, *, undecided: float, seed: int = 0) -> Members:
    """Members of whom 30% are the control group; the undecided buy more by contact."""
    random = np.random.default_rng(seed)
    visits = random.poisson(4, users)
    is_undecided = random.random(users) < 0.4
    is_control = random.random(users) < 0.3
    rate = np.where(is_undecided, 0.05, 0.02 + 0.03 * visits)
    chance = rate + np.where(is_control | ~is_undecided, 0.0, undecided)
    segment = np.where(is_undecided, "undecided", "usual")
    return Members(
        features=pa.table({"visits": visits.astype(float), "segment": segment}),
        probability=rate,
        is_control=is_control,
        outcome=(random.random(users) < chance).astype(float),
        is_sound=True,
    )


def look(users: int, *, undecided: float, was_open: bool = False, seed: int = 0):
    drawn = members(users, undecided=undecided, seed=seed)
    return look_at(drawn, FEATURES, was_open=was_open)


def test_the_gate_opens_with_a_model_that_knows_what_contacting_adds():
    """To users of another draw, if the undecided alone react."""
    opened = look(8_000, undecided=0.15)
    model: EffectModel = opened.model
    later = members(1_000, undecided=0.15, seed=1)
    [batch] = later.features.to_batches()
    effect = model.effects(batch, later.probability)

    is_undecided = np.asarray(later.features["segment"]) == "undecided"
    assert opened.gain.low > 0
    assert effect[is_undecided].mean() == pytest.approx(0.15, abs=0.05)
    assert effect[~is_undecided].mean() == pytest.approx(0.0, abs=0.05)


def test_a_gain_of_nearly_nothing_takes_no_number_of_members():
    """It would be larger than a column of a table can hold."""
    assert users_needed(Difference(1e-15, -0.01, 0.01), 10_000) is None


def test_an_open_gate_stays_open_while_the_order_adds_more():
    """By chance alone it does not open and close from month to month. While it is shut
    it says how many members are missing."""
    shut = look(2_500, undecided=0.1)
    kept = look(2_500, undecided=0.1, was_open=True)
    closed = look(3_000, undecided=0.0, was_open=True, seed=2)

    assert shut.gain == kept.gain
    assert shut.model is None
    assert shut.needed > 2_500
    assert kept.model is not None
    assert closed.gain.estimate <= 0
    assert closed.model is None


def test_members_who_got_lost_or_are_too_few_open_no_gate():
    drawn = dataclasses.replace(members(8_000, undecided=0.15), is_sound=False)

    assert "got lost" in look_at(drawn, FEATURES, was_open=False).reason
    assert "it takes 200 users" in look(300, undecided=0.5).reason
