"""Who is in an audience, and who is held out, specified."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from propensity.audience.declared import MOST_USERS, Declared
from propensity.audience.members import Control, Member, choose, most_candidates

KEY = bytes(32)
USERS = [(f"u{number}", number / 2_000) for number in range(999, -1, -1)]
MEMBERS = [Member(user, probability) for user, probability in USERS]


declared = partial(Declared, destination="bucket")


def control(share=0.1, *, group="winback", key=KEY):
    return Control(key=key, group=group, share=share)


def held_out(**how):
    return {user for user, _ in USERS if control(**how).holds_out(user)}


class TestControl:
    def test_the_control_group_holds_out_its_share(self):
        low, high = binom.interval(0.9999, 1_000, 0.1)

        assert low <= len(held_out()) <= high

    @pytest.mark.parametrize(
        ("group", "held"),
        [
            ("winback", {"u2", "u5", "4711", "ü@ö.example"}),
            ("all", {"ana@example.com", "u6", "u9", "4711"}),
        ],
    )
    def test_the_draw_stays_as_it_was_once_drawn(self, group, held):
        """Otherwise users would be contacted who were held out."""
        people = [f"u{number}" for number in range(1, 10)]
        people += ["ana@example.com", "4711", "ü@ö.example"]
        draw = control(0.2, group=group)

        assert {person for person in people if draw.holds_out(person)} == held

    def test_a_larger_control_group_keeps_the_smaller_one(self):
        assert held_out(share=0.05) < held_out(share=0.1) < held_out(share=0.5)

    def test_the_control_group_is_of_one_deployment(
        self,
    ):
        for other in (held_out(group="loyal"), held_out(key=b"k" * 32)):
            assert other != held_out()
            # Chance alone has a hundredth in both.
            assert len(other & held_out()) < 40

    @given(st.text(max_size=40))
    def test_the_control_group_takes_any_id(self, user):
        assert control(0.9).holds_out(user) >= control(0.1).holds_out(user)
        assert not control(0.0).holds_out(user)


class TestMembers:
    def test_members_are_the_best(self):
        members = choose(MEMBERS, declared(top=100), control(), users=1_000)

        assert [m.user_id for m in members] == [f"u{n}" for n in range(999, 899, -1)]

    @given(st.integers(1, 10), st.integers(0, 200))
    def test_deciles_are_tenths_of_the_users(self, deciles, users):
        members = choose(
            [Member(f"u{number}", 0.5) for number in range(users)],
            declared(deciles=deciles),
            control(),
            users=users,
        )

        assert len(members) == users * deciles // 10

    def test_members_of_a_budget_are_a_thousand_million_at_most(self):
        """Defect: of a larger one nobody could be read, by an OverflowError."""
        rule = declared(budget=1e300, cost_per_contact=1e-300)

        read = most_candidates(rule, control(), users=1_000, suppressed=0)

        assert read == MOST_USERS

    @pytest.mark.parametrize("pays_for", range(10))
    def test_members_of_a_budget_end_with_the_last_who_is_paid_for(self, pays_for):
        """Who is held out costs nothing; more of them after that would be too many."""
        rule = declared(budget=pays_for + 0.9, cost_per_contact=1.0)

        members = choose(MEMBERS, rule, control(0.9), users=1_000)

        assert sum(not m.is_control for m in members) == pays_for
        assert not any(m.is_control for m in members[-1:])

    def test_members_are_held_out_by_the_control_group_alone(self):
        members = choose(MEMBERS, declared(top=1_000), control(), users=1_000)

        assert {m.user_id for m in members if m.is_control} == held_out()
