"""
Uncertainty, specified: what chance does not explain, and intervals that cover.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from propensity.learning import uncertainty
from propensity.learning.amounts import AMOUNT
from propensity.learning.data import Slice
from propensity.models.value import Uncertainty


class TestUncertainty:
    def groups(self, error: float, *, count: int = 4_000) -> uncertainty.Groups:
        random = np.random.default_rng(5)
        promised = random.gamma(4, 25, count)
        variance = promised * 10
        truth = promised * (1 + error * random.normal(size=count))
        observed = truth + np.sqrt(variance) * random.normal(size=count)
        return uncertainty.Groups(
            promised=promised, observed=observed, variance=variance
        )

    @pytest.mark.parametrize("error", [0.1, 0.3, 1.5])
    def test_is_what_chance_does_not_explain(self, error):
        errors = uncertainty.relative_error(self.groups(error))

        assert errors == pytest.approx(error, rel=0.15)

    def test_is_none_where_chance_explains_all(self):
        assert uncertainty.relative_error(self.groups(0.0)) < 0.07

    def test_is_the_larger_the_fewer_groups_tell_it(self):
        """The upper end of what they leave open."""
        many, few = self.groups(0.2), self.groups(0.2, count=8)

        assert uncertainty.relative_error(few) > 1.1 * uncertainty.relative_error(many)

    @pytest.mark.parametrize("count", [8, 160])
    def test_is_much_the_same_however_few_buyers_fall(self, count):
        """Amounts have a heavy tail: of some shops chance seems to explain more than
        all there is, of others one purchase seems to be the error of every group."""
        errors = []
        for seed in range(60):
            random = np.random.default_rng(seed)
            promised = random.gamma(2, 50, count)
            buyers = random.poisson(promised / 20)
            paid = [20 * random.lognormal(-0.605, 1.1, n).sum() for n in buyers]
            variance = promised * 20 * np.exp(1.1**2)
            groups = uncertainty.Groups(
                promised=promised, observed=np.array(paid), variance=variance
            )
            errors.append(uncertainty.relative_error(groups))

        least, most = np.quantile(errors, [0.05, 0.95])
        assert 0.2 < least < most < 0.7

    def test_of_no_groups_is_none(self):
        none = np.empty(0)
        groups = uncertainty.Groups(promised=none, observed=none, variance=none)

        assert uncertainty.relative_error(groups) == 0.0

    def test_makes_intervals_that_cover(self):
        """Of groups whose values are off by a fifth, 95 ± 4% are within theirs."""
        random = np.random.default_rng(8)
        weeks, users = 10, 1_200
        count = weeks * users
        probability = 1 / (1 + np.exp(random.normal(2.0, 0.5, count)))
        label = (random.random(count) < probability).astype(np.int8)
        paid = 20.0 * random.gamma(2.0, 0.5, count)
        rows = pa.table(
            {
                "as_of": np.repeat(np.arange(weeks), users),
                AMOUNT: pa.array(paid, mask=label == 0),
            }
        )
        amount = np.full(count, 20.0)
        part = Slice(rows=rows, label=label, weight=np.ones(count))
        # Each band of like values is off by a factor of its own.
        order = np.argsort(probability)
        factor = np.repeat(np.exp(random.normal(0, 0.2, 50)), count // 50)
        promised = np.empty(count)
        promised[order] = amount[order] * factor
        error = uncertainty.relative_error(
            uncertainty.grouped(part, probability, promised, 0.5, uncertainty.GROUPS)
        )
        errors = Uncertainty(spread=0.5, error=error, week_error=0.0)

        share = uncertainty.coverage(part, probability, promised, errors=errors)

        assert share == pytest.approx(0.95, abs=0.04)
