"""
Trainings, specified: the same seed gives the same result.
"""

from __future__ import annotations

import pytest

from tests.propensity.learning.trainings import train_use_case


@pytest.mark.parametrize(
    "name",
    ["ga4_purchase", pytest.param("first_day_churn", marks=pytest.mark.long)]
    + ["card_fraud"],
)
def test_repeat_with_their_seed(name):
    """Card, verdict and probabilities are those of the first time."""
    first, again = train_use_case(name), train_use_case(name)

    assert again.card == first.card
    assert again.champion == first.champion
    assert again.probability.tolist() == first.probability.tolist()
