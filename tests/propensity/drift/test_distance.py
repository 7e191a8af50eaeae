"""Distances of sketches: beyond chance at few users, beyond habit at many."""

from __future__ import annotations

import numpy as np
import pytest

from propensity.drift.distance import MATTERS, compare
from propensity.drift.sketch import Sketch

CHANCE = 1e-5
SHARES = np.array([0.4, 0.2, 0.2, 0.1, 0.1])


def sketch(shares=SHARES, *, users=10_000, missing=0.0, seed=None, kind="number"):
    """Users by value 1, 2, 4 …; drawn with a seed, exact without."""
    parts = np.array([*np.asarray(shares) * (1 - missing), missing])
    if seed is None:
        counts = np.round(parts * users).astype(int)
    else:
        counts = np.random.default_rng(seed).multinomial(users, parts)
    values = [2.0**n if kind == "number" else f"v{n}" for n in range(len(shares))]
    counted = dict(zip(values, counts[:-1].tolist(), strict=True))
    return Sketch(kind=kind, users=users, missing=int(counts[-1]), counts=counted)


class TestChance:
    @pytest.mark.parametrize("users", [100, 10_000_000])
    def test_explains_what_is_drawn_anew(self, users):
        """A hundred users differ much from week to week, ten millions hardly."""
        before = [sketch(users=users, seed=n) for n in range(8)]

        for seed in range(8, 108):
            comparison = compare(sketch(users=users, seed=seed), before, chance=CHANCE)
            assert comparison.distance < comparison.noise
            assert not comparison.is_beyond

    def test_explains_no_break_of_a_hundred_users(self):
        """All of them with one value are no accident."""
        before = [sketch(users=100, seed=n) for n in range(8)]
        broken = sketch([0, 0, 0, 0, 1], users=100)

        assert compare(broken, before, chance=CHANCE).is_beyond

    def test_noise_shrinks_with_the_root_of_the_users(self):
        """As of a multinomial."""
        few, many = (
            compare(sketch(users=n), [sketch(users=n)], chance=CHANCE).noise
            for n in (1_000, 100_000)
        )

        assert few == pytest.approx(10 * many, rel=1e-6)

    def test_allows_less_where_more_is_watched(self):
        """A smaller chance in one comparison is a wider bound."""
        less, more = (
            compare(sketch(), [sketch()], chance=chance).noise
            for chance in (1e-3, 1e-5)
        )

        assert less < more


class TestThreshold:
    def test_holds_at_any_number_of_users(self):
        """A share of 40% that becomes 42% is significant, and matters to nobody."""
        moved = sketch([0.42, 0.2, 0.2, 0.1, 0.08], users=10_000_000)
        comparison = compare(moved, [sketch(users=10_000_000)] * 4, chance=CHANCE)

        assert comparison.noise < comparison.distance < MATTERS
        assert not comparison.is_beyond

    def test_knows_what_a_feature_is_in_the_habit_of(self):
        """One that swings each month may swing; one that never did may not."""
        here, there = [0.5, 0.2, 0.1, 0.1, 0.1], [0.3, 0.2, 0.1, 0.1, 0.3]
        swinging = [sketch(part) for part in [here, here, there, here, here, there]]
        still = [sketch(here)] * 6

        assert not compare(sketch(there), swinging, chance=CHANCE).is_beyond
        assert compare(sketch(there), still, chance=CHANCE).is_beyond

    @pytest.mark.parametrize("kind", ["number", "category"])
    def test_finds_a_rare_value_that_goes(self, kind):
        """5% of users who have it, and then none: little of the whole, all of it."""
        before = sketch([0.95, 0.05], kind=kind)
        comparison = compare(sketch([1.0, 0.0], kind=kind), [before] * 4, chance=CHANCE)

        assert comparison.is_beyond

    def test_ignores_the_order_of_categories_alone(self):
        """Neighbours of numbers join, values of a category do not."""
        comparison = compare(
            sketch(kind="category"), [sketch(kind="category")], chance=CHANCE
        )

        assert comparison.distance == 0
        assert len(comparison.bins) == 6


class TestBins:
    def test_those_that_moved_most_come_first(self):
        """It is what an alarm names."""
        comparison = compare(sketch(missing=0.4), [sketch()] * 4, chance=CHANCE)
        top = comparison.bins[0]

        assert top.is_missing
        assert (top.before, top.now) == (0.0, pytest.approx(0.4))

    def test_a_single_value_is_at_no_distance_from_itself(self):
        """Nor has it any noise: nothing could have moved."""
        comparison = compare(sketch([1.0]), [sketch([1.0])], chance=CHANCE)

        assert (comparison.distance, comparison.is_beyond) == (0.0, False)
