"""Weeks of a deployment keep what people are promised, whatever befalls them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.audit.machine import Deliveries
from tests.audit.world import World

CHANGES = 8
# Without a hunt: the same ones in each run.
MANY = 50


def play(world: World, **how: Any) -> None:
    """Play sequences of so many weeks and changes."""

    class Here(Deliveries):
        pass

    Here.world = world
    # The same sequences in each run: a new one is a hunt, and no check of a change.
    is_hunt = settings.get_current_profile_name() == "hunt"
    changes = settings(stateful_step_count=CHANGES, derandomize=not is_hunt, **how)
    run_state_machine_as_test(Here, settings=changes)


def test_weeks_keep_what_people_are_promised(world):
    """A failure is not made smaller here: that takes minutes."""
    play(world, max_examples=settings().max_examples // 4, phases=[Phase.generate])


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_many_weeks_keep_what_people_are_promised(world):
    examples = MANY
    if settings.get_current_profile_name() == "hunt":
        examples = settings().max_examples
    play(world, max_examples=examples)
