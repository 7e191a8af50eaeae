"""Scored rows of which all is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from propensity.learning.metrics import Outcomes, outcomes


class Rows(NamedTuple):
    """Rows with a probability, a label and a weight each."""

    probability: np.ndarray
    label: np.ndarray
    weight: np.ndarray

    @property
    def outcomes(self) -> Outcomes:
        return outcomes(self.probability, self.label, weight=self.weight)


@st.composite
def scored(draw: st.DrawFn) -> Rows:
    """Rows of both classes, with ties and weights, and probabilities of 0 and 1."""
    size = draw(st.integers(2, 60))
    steps = draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    label = random.random(size) < draw(st.floats(0.05, 0.95))
    label[:2] = [True, False]
    weight = random.choice([1.0, 2.0, 7.5], size)
    return Rows(random.integers(0, steps + 1, size) / steps, label.astype(int), weight)


def calibrated(count: int, *, seed: int) -> Rows:
    """Users whose conversions are drawn by their very probabilities, mean 1/9."""
    random = np.random.default_rng(seed)
    probability = random.beta(1, 8, count)
    label = random.random(count) < probability
    return Rows(probability, label.astype(int), np.ones(count))
