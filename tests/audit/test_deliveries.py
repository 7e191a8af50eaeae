"""Weeks of a deployment keep what people are promised, whatever befalls them."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from hypothesis import Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.audit.machine import Deliveries
from tests.audit.world import World

CHANGES = 8
# After so many Hypothesis varies what it drew before, and finds less by a sequence.
AT_ONCE = 10


def play(world: World, many: int, **how: Any) -> None:
    """Play so many sequences of weeks and changes: the same ones, unless it hunts."""

    class Here(Deliveries):
        pass

    Here.world = world
    is_hunt = settings.get_current_profile_name() == "hunt"
    first = secrets.randbelow(2**32) if is_hunt else 0
    for number in range(first, first + -(-many // AT_ONCE)):
        changes = settings(
            max_examples=min(many, AT_ONCE),
            stateful_step_count=CHANGES,
            derandomize=False,
            database=None,
            **how,
        )
        run_state_machine_as_test(seed(number)(Here), settings=changes)


# On a busy machine a sequence of half a minute takes minutes.
@pytest.mark.timeout(1200)
def test_weeks_keep_what_people_are_promised(world):
    """A failure is not made smaller here: that takes minutes."""
    play(world, 2, phases=[Phase.generate])


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_weeks_keep_what_people_are_promised(world):
    is_hunt = settings.get_current_profile_name() == "hunt"
    play(world, settings().max_examples if is_hunt else 20)
