"""
The lift, specified: intervals that hold the truth, at one look and at every look.

Simulations are small, with tolerances to match.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from propensity.learning import lift
from propensity.learning.lift import Sums
from tests.propensity.learning.campaigns import Population, draw, once, weekly

CAMPAIGNS = 1_000


def compared(treated, control, **options):
    options = {"quantile": lift.once(), "is_binary": True} | options
    return lift.compare(treated, control, **options)


class TestIntervals:
    @pytest.mark.parametrize("outcome", ["conversions", "revenue"])
    @pytest.mark.parametrize("effect", [0.0, 0.1])
    def test_cover_the_truth_in_95_of_100_campaigns(self, outcome, effect):
        """Three standard errors of 1,000 campaigns are 2.1 percentage points."""
        shop = Population.of_shop(0.08, effect=effect)

        looks = once(shop, 20_000, outcome, count=CAMPAIGNS, seed=1)

        assert looks.covered == pytest.approx(0.95, abs=0.025)

    @pytest.mark.parametrize(
        "outcome", ["conversions", pytest.param("revenue", marks=pytest.mark.long)]
    )
    def test_seldom_say_that_nothing_helps_though_looked_at_weekly(self, outcome):
        looks = weekly(
            Population.of_shop(0.03), [2_000] * 26, outcome, count=200, seed=2
        )

        assert looks.helps <= 0.025
        assert looks.covered >= 0.95
        assert looks.alarms <= 0.01

    def test_do_not_flatter_a_campaign_by_a_lucky_control_group(self):
        """With 14 conversions in the control group a normal interval errs in 4%."""
        looks = once(
            Population.of_shop(0.03), 5_000, "conversions", count=1_500, seed=3
        )

        assert looks.above <= 0.035

    def test_find_an_effect(self):
        shop = Population.of_shop(0.1, effect=0.3)

        looks = weekly(shop, [5_000] * 12, "conversions", count=200, seed=4)

        assert looks.helps > 0.9

    @pytest.mark.parametrize("spread", [1.0, 2.0, 3.0])
    def test_are_narrower_by_what_the_probability_explains(self, spread):
        """By the standard result: a width falls by one less sqrt(1 - r2)."""
        shop = Population.of_shop(0.3, spread=spread)
        p = shop.probabilities
        explained = p.var() / (p.mean() * (1 - p.mean()))

        looks = once(shop, 20_000, "conversions", count=300, seed=5)

        assert looks.narrower == pytest.approx(1 - np.sqrt(1 - explained), abs=0.01)

    def test_are_at_least_a_fifth_narrower_where_the_probability_ranks_well(self):
        looks = once(
            Population.of_shop(0.3, spread=2.0), 5_000, "conversions", count=300, seed=6
        )

        assert looks.narrower >= 0.2

    @pytest.mark.parametrize(
        ("outcome", "is_binary"), [(1.0, True), (12.5, False)], ids=["share", "amount"]
    )
    def test_of_three_users_prove_nothing(self, outcome, is_binary):
        """Defect: the one treated bought, the two held out did not, and the interval
        was from 100 to 100 points, since outcomes varied within neither group."""
        result = compared(
            Sums.of([0.3], [outcome]),
            Sums.of([0.3] * 2, [0.0] * 2),
            is_binary=is_binary,
        )

        assert result.difference.value == outcome
        assert result.difference.low < 0.1 * outcome

    def test_of_a_covariate_without_variance_are_those_of_wilson_and_zou(self):
        treated = Sums.of(np.full(900, 0.1), np.arange(900) < 99)
        control = Sums.of(np.full(100, 0.1), np.arange(100) < 8)

        result = compared(treated, control)

        assert result.explained == pytest.approx(0)
        assert result.control.value == pytest.approx(0.08)
        # Wilson's interval of 8 of 100 is 0.041 to 0.150.
        assert result.control.low == pytest.approx(0.0411, abs=0.002)
        assert result.control.high == pytest.approx(0.1500, abs=0.002)
        assert result.difference.value == pytest.approx(0.03)


class TestAdjustment:
    def test_takes_out_what_was_there_before(self):
        """The treated were likelier to buy: as much as they bought more."""
        treated = Sums.of([0.2] * 50 + [0.6] * 50, [0.2] * 50 + [0.6] * 50)
        control = Sums.of([0.2] * 60 + [0.6] * 40, [0.2] * 60 + [0.6] * 40)

        result = compared(treated, control, is_binary=False)
        plain = compared(treated, control, is_binary=False, is_adjusted=False)

        assert result.difference.value == pytest.approx(0, abs=1e-12)
        assert plain.difference.value == pytest.approx(0.04)

    @given(
        st.lists(st.booleans(), min_size=2, max_size=30),
        st.lists(st.booleans(), min_size=2, max_size=30),
        st.floats(0.001, 0.999),
    )
    def test_leaves_limits_in_order_and_in_the_range_of_a_share(self, a, b, p):
        treated = Sums.of(np.linspace(0, p, len(a)), a)
        control = Sums.of(np.linspace(p, 1, len(b)), b)

        result = compared(treated, control)

        for group in (result.treated, result.control):
            assert -1e-9 <= group.low <= group.value + 1e-9
            assert group.value <= group.high + 1e-9 <= 1 + 2e-9
        assert result.difference.low <= result.difference.value + 1e-9
        assert result.difference.value <= result.difference.high + 1e-9

    def test_treats_many_campaigns_at_once_as_one_by_one(self):
        generator = np.random.default_rng(0)
        groups = draw(generator, Population.of_shop(0.2), 2_000, count=3)
        many = compared(*(group.conversions for group in groups))

        for at in range(3):
            alone = compared(
                *(
                    Sums(**{k: v[at] for k, v in vars(group.conversions).items()})
                    for group in groups
                )
            )
            assert alone.difference.low == pytest.approx(many.difference.low[at])
            assert alone.ratio.high == pytest.approx(many.ratio.high[at])


class TestRatio:
    def test_agrees_with_the_difference_about_its_sign(self):
        generator = np.random.default_rng(1)
        groups = draw(generator, Population.of_shop(0.1, effect=0.2), 20_000, count=500)
        result = compared(*(group.conversions for group in groups))

        differ = (result.ratio.low > 0) != (result.difference.low > 0)

        assert differ.mean() <= 0.02

    def test_covers_the_truth(self):
        generator = np.random.default_rng(2)
        groups = draw(
            generator, Population.of_shop(0.1, effect=0.2), 20_000, count=CAMPAIGNS
        )
        ratio = compared(*(group.conversions for group in groups)).ratio

        covered = ((ratio.low <= 0.2) & (ratio.high >= 0.2)).mean()

        assert covered == pytest.approx(0.95, abs=0.025)

    def test_has_no_upper_limit_without_conversions_in_the_control_group(self):
        treated = Sums.of(np.full(90, 0.1), np.arange(90) < 9)
        control = Sums.of(np.full(10, 0.1), np.zeros(10))

        assert compared(treated, control).ratio.high == np.inf


class TestEveryLook:
    def test_is_wider_than_a_single_look_and_nearly_flat_for_half_a_year(self):
        quantiles = lift.always(np.array([1, 2, 4, 10, 26]) * 1_000.0, 1_000)

        assert quantiles.min() > norm.ppf(0.975)
        assert quantiles.max() < 3.3

    def test_never_comes_down_to_a_single_look(self):
        """It grows without end, as the law of the iterated logarithm demands."""
        assert lift.always(1e12, 1.0) > lift.always(1e6, 1.0) > lift.always(4.0, 1.0)


class TestSampleRatio:
    @given(st.integers(0, 5_000), st.integers(0, 500))
    def test_is_a_probability(self, treated, control):
        p = lift.sample_ratio([float(treated)], [float(control)], share=0.1)

        assert 0 <= p[0] <= 1

    @pytest.mark.parametrize(
        ("control", "alarms"),
        [
            pytest.param([1_000, 10_000], [False, False], id="the share is kept"),
            pytest.param([950, 8_800], [False, True], id="an eighth is lost"),
            pytest.param([500, 10_000], [True, True], id="an alarm stays"),
        ],
    )
    def test_raises_an_alarm_where_users_are_lost(self, control, alarms):
        p = lift.sample_ratio([9_000, 90_000], control, share=0.1)

        assert [*(p < lift.ALARM)] == alarms
        assert p[1] <= p[0]


class TestVerdict:
    @pytest.mark.parametrize(
        ("low", "high", "conversions", "is_sound", "verdict"),
        [
            (0.01, 0.02, 100, True, "helps"),
            (-0.02, -0.01, 100, True, "harms"),
            (-0.01, 0.01, 100, True, "open"),
            (0.01, 0.02, 9, True, "too_few"),
            (0.01, 0.02, 100, False, "sample_ratio"),
        ],
    )
    def test_is(self, low, high, conversions, is_sound, verdict):
        difference = lift.Interval(
            value=np.float64(0), low=np.float64(low), high=np.float64(high)
        )

        assert (
            lift.verdict(difference, conversions=conversions, is_sound=is_sound)
            == verdict
        )
