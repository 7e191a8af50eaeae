"""The classifier of a candidate, specified: as usecase.toml declares it."""

from __future__ import annotations

import tomllib

import pytest

from propensity.errors import UseCaseError
from propensity.learning import candidates
from propensity.usecases import Candidate


def estimator(parameters: str) -> object:
    """Return the classifier of a candidate with parameters as TOML has them."""
    candidate = Candidate(
        name="weighted",
        algorithm="LogisticRegression",
        parameters=tomllib.loads(parameters),
    )
    return candidates.estimator(candidate, seed=1)


class TestEstimator:
    def test_weights_classes_by_their_labels(self):
        """TOML's keys are texts, and labels are numbers."""
        model = estimator("class_weight = {0 = 1, 1 = 10}")

        assert model.fit([[0.0], [1.0]], [0, 1]).class_weight == {0: 1, 1: 10}

    def test_refuses_weights_of_what_is_no_label(self):
        """By the name of the candidate."""
        with pytest.raises(UseCaseError, match="candidate weighted: .*'yes'"):
            estimator("class_weight = {yes = 2}")
