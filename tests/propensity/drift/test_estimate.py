"""The ROC AUC to expect, before there are labels."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from propensity.drift import estimate
from propensity.drift.estimate import Estimate, Past
from propensity.drift.sketch import Sketches
from propensity.learning import metrics, season

RANDOM = np.random.default_rng(3)
P = RANDOM.beta(1, 9, 20_000)
AS_OF = date(2026, 3, 2)


def scores(probability):
    """Probabilities as 01 counts them."""
    sketches = Sketches({})
    sketches.add_scores(np.asarray(probability, dtype=np.float64))
    return sketches.scores()


def measured(probability, truth, seed):
    """The ROC AUC of outcomes that are drawn from the truth."""
    label = np.random.default_rng(seed).random(len(truth)) < truth
    return metrics.roc_auc(metrics.outcomes(probability, label))


def week(age, *, measured, error=0.005, version=1):
    """A week so many weeks before the last one, whose estimate was 0.80."""
    return Past(
        as_of=AS_OF - timedelta(weeks=age + 1),
        model_version=version,
        estimated=0.80,
        error=error,
        measured=measured,
    )


class TestEstimate:
    def test_is_what_is_measured_of_calibrated_probabilities(self):
        """On average, and within its interval in nineteen weeks of twenty."""
        area = estimate.roc_auc(scores(P), None, seed=0)
        later = np.array([measured(P, P, seed) for seed in range(100)])

        assert area.value == pytest.approx(np.mean(later), abs=0.002)
        assert np.mean((area.low <= later) & (later <= area.high)) >= 0.88

    def test_follows_the_season(self):
        """The published probabilities count, not those of the model alone."""
        shifted = season.apply(P, 1.0)
        area = estimate.roc_auc(scores(P), 1.0, seed=0)
        direct = estimate.roc_auc(scores(shifted), None, seed=0)

        assert area.value == pytest.approx(direct.value, abs=1e-4)

    def test_is_wide_where_few_conversions_are_expected(self):
        """A hundred users say little about a week."""
        few = estimate.roc_auc(scores(P[:100]), None, seed=0)
        many = estimate.roc_auc(scores(P), None, seed=0)

        assert few.error > 5 * many.error

    @pytest.mark.parametrize("p", [0.0, 1.0])
    def test_there_is_none_of_one_class(self, p):
        """Nobody is expected to convert, or everybody is."""
        assert estimate.roc_auc(scores([p] * 50), None, seed=0) is None

    def test_is_the_same_when_it_is_made_again(self):
        """Outcomes are drawn from a seed."""
        first, again = (estimate.roc_auc(scores(P), None, seed=7) for _ in range(2))

        assert first == again


class TestCorrection:
    RAW = Estimate(value=0.80, low=0.79, high=0.81)

    def corrected(self, *weeks, version=1):
        """Correct the estimate of a version by weeks before it, newest last."""
        return estimate.corrected(self.RAW, weeks, as_of=AS_OF, model_version=version)

    def test_takes_off_what_earlier_estimates_were_off_by(self):
        """A model that is too sure of itself is so every week."""
        weeks = [week(n, measured=0.76) for n in range(12)]

        assert 0.76 < self.corrected(*weeks).value < 0.765

    def test_another_version_is_corrected_less(self):
        """Its own weeks say most of a version: the next one may be less sure."""
        weeks = [week(n, measured=0.76) for n in range(12)]

        own, other = (self.corrected(*weeks, version=v).value for v in (1, 2))

        assert own + 0.01 < other < 0.8

    def test_recent_weeks_count_more(self):
        """What all versions have in common fades."""
        early = [week(n, measured=0.76, version=2) for n in range(20, 24)]
        late = [week(n, measured=0.76, version=2) for n in range(4)]

        assert self.corrected(*late).value < self.corrected(*early).value - 0.005

    def test_trusts_a_single_noisy_week_little(self):
        """Its outcomes may have been chance."""
        noisy = week(0, measured=0.70, error=0.05)

        assert self.corrected(noisy).value == pytest.approx(0.8, abs=0.01)

    def test_without_a_week_says_how_little_is_known(self):
        """The estimate stays, its interval is wider."""
        corrected_estimate = self.corrected()

        assert corrected_estimate.value == pytest.approx(0.80)
        assert corrected_estimate.low < self.RAW.low
        assert corrected_estimate.high > self.RAW.high
