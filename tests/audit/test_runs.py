"""Weeks of 00, 01 and 03 keep what people are promised, whatever befalls them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from propensity.runs import setup
from tests.audit.run_machine import Weeks
from tests.audit.runs import FILES, FIRST, NAME, NOW, WEEKS, Site
from tests.support import own_use_cases, shop
from tests.support.clocks import ManualClock
from tests.support.deployment import Deployment


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    """A shop's export, a small use case, and a clock."""
    own = tmp_path_factory.mktemp("own")
    with (
        own_use_cases.in_folder(own) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        (folder / NAME).mkdir()
        for file, text in FILES.items():
            (folder / NAME / file).write_text(text)
        clock = ManualClock(NOW)
        clock.install(patch)
        place = Deployment(PROPENSITY_USE_CASE=NAME)
        place.prepare()
        place.create_topic(place.topic("model-updates"))
        shop.load(place, shop.weekly(FIRST, WEEKS))
        setup.prepare_export(place.warehouse, place.settings)
        yield Site(place, clock, own)


@pytest.mark.hypothesis
@pytest.mark.timeout(1800)
def test_weeks_keep_what_people_are_promised(site):
    Weeks.site = site
    is_deep = settings().max_examples >= 50
    is_hunt = settings.get_current_profile_name() == "hunt"
    examples = 5 if is_deep else 2
    chosen = settings(
        max_examples=settings().max_examples if is_hunt else examples,
        stateful_step_count=12 if is_deep else 5,
        derandomize=not is_hunt,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Weeks, settings=chosen)
