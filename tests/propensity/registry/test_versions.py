"""
Versions, specified: written once, verified, loaded; and which of them is live:
promoted, pinned, rolled back, never two at once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from propensity.errors import ArtifactError
from propensity.registry.versions import Registry, unpickled
from tests.propensity.registry.versions import NOW, SHA, promote


class TestVersions:
    def test_versions_are_claimed_once(self, registry):
        """
        Sixteen trainers at once get sixteen versions, from 0 on, and one that died
        keeps its own; another use case counts its own.

        A version whose objects were deleted is not claimed again: it would have two
        records, and functions would go by the first.
        """
        with ThreadPoolExecutor(16) as pool:
            claims = [
                pool.submit(registry.claim, run_id=f"r{n}", at=NOW) for n in range(16)
            ]
        other = Registry(registry.artifacts, "first_day_churn")

        assert sorted(claim.result() for claim in claims) == list(range(16))
        assert other.claim(run_id="r", at=NOW) == 0
        assert other.claim(run_id="r", at=NOW, recorded=11) == 12


def test_artifacts_that_cannot_be_read_are_a_clear_error():
    """Bytes that other library versions wrote, for one."""
    with pytest.raises(ArtifactError, match="libraries"):
        unpickled(b"cno_such_module\nThing\n.")


def roll_back(registry):
    return registry.roll_back(registry.champion(), model_sha256=SHA, at=NOW)


@pytest.mark.parametrize("promoted", [(0, 1, 2), (0, 1, 2, 1, 2), (0, 2, 1, 2)])
def test_a_roll_back_goes_one_further_back_each_time(registry, promoted):
    """As if the last version had never served, however often it did: a second one
    does not bring back what was rolled back, and the first version is the end."""
    for version in promoted:
        promote(registry, version)
    once = roll_back(registry)
    twice = roll_back(registry)

    assert (once.version, once.previous, once.epoch) == (1, 0, len(promoted))
    assert (twice.version, twice.previous) == (0, None)
    assert promote(registry, 2).earlier == (0,)


def test_a_pin_stays_until_it_is_taken_off(registry):
    """A person may change what is pinned."""
    promote(registry, 0)
    pinned = promote(registry, 1, pinned=True)

    assert (pinned.version, pinned.pinned, pinned.previous) == (1, True, 0)
    assert promote(registry, 1, pinned=True) == pinned
    assert promote(registry, 2).pinned
    assert roll_back(registry).pinned
    assert not registry.unpin(registry.champion()).pinned
    assert not promote(registry, 3).pinned
