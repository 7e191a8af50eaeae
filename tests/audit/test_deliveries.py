"""Weeks of a deployment keep what people are promised, whatever befalls them."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.audit.machine import Deliveries
from tests.audit.world import World

CHANGES = 6


def play(world: World, sequences: int) -> None:
    """Play sequences of so many weeks and changes."""

    class Here(Deliveries):
        pass

    Here.world = world
    how = settings(max_examples=sequences, stateful_step_count=CHANGES)
    run_state_machine_as_test(Here, settings=how)


def test_weeks_keep_what_people_are_promised(world):
    play(world, settings().max_examples // 4)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_many_weeks_keep_what_people_are_promised(world):
    play(world, 3 * settings().max_examples)
