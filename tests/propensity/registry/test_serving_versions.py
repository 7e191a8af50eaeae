"""
Versions that are named, specified, and the champion after a pause.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from propensity.errors import UnknownVersion
from propensity.registry.serving import KEPT_VERSIONS
from tests.propensity.registry.serving import (
    TTL_S,
    USE_CASE,
    after_a_while,
    labels_of,
    settled,
)
from tests.proxy import Asked


class TestVersion:
    def test_is_any_that_was_recorded(self, place):
        """Also one that never served; asked for again, it is still loaded."""
        place.enthrone()
        version = place.publish(labels=(1, 1, 0, 0))
        champions = place.champions()
        serving = champions.version(USE_CASE, version)

        assert labels_of(serving) == [1, 1, 0, 0]
        assert champions.version(USE_CASE, version) is serving
        assert champions.find_loaded(USE_CASE, version) is serving

    def test_that_serves_is_that_very_one(self, place):
        """The champion is not loaded a second time."""
        place.enthrone()
        champions = place.champions()
        state = champions.state(USE_CASE)

        assert champions.version(USE_CASE, 0) is state.champion

    def test_that_was_kept_serves_as_it_is(self, place):
        """A version that was asked for and is then promoted is not loaded again."""
        place.enthrone()
        champions = place.champions()
        champions.state(USE_CASE)
        version = place.publish()
        serving = champions.version(USE_CASE, version)
        place.promote(version)

        assert after_a_while(place, champions).champion is serving

    @pytest.mark.parametrize("number", [7, -1, 2**63, 10**30])
    def test_that_was_never_recorded_is_unknown(self, place, number):
        """A clear 404 that names the field, and no try of BigQuery's patience."""
        place.publish()

        with pytest.raises(UnknownVersion, match=f"version {number} .* never") as error:
            place.champions().version(USE_CASE, number)

        assert (error.value.status, error.value.field) == (404, "version")

    def test_is_forgotten_when_others_are_asked_for(self, place):
        """Only the few that were asked for last are kept."""
        for _ in range(KEPT_VERSIONS + 1):
            place.publish()
        champions = place.champions()
        for number in range(KEPT_VERSIONS):
            champions.version(USE_CASE, number)
        champions.version(USE_CASE, 0)
        champions.version(USE_CASE, KEPT_VERSIONS)
        kept = [
            number
            for number in range(KEPT_VERSIONS + 1)
            if champions.find_loaded(USE_CASE, number) is not None
        ]

        assert kept == [0, 2, 3, 4]


class TestAfterAPause:
    def test_is_what_was_promoted_meanwhile(self, place):
        """Defect: an instance that nobody had called for an hour answered the next
        calls by the champion of an hour ago, though it had been rolled back."""
        place.enthrone()
        champions = place.champions()
        champions.state(USE_CASE)
        place.enthrone(labels=(1, 1, 0, 0))
        place.clock.advance(60 * TTL_S)
        with ThreadPoolExecutor(4) as threads:
            after = [*threads.map(champions.state, [USE_CASE] * 8)]

        assert [state.champion.version for state in after] == [1] * 8

    def test_is_waited_for_off_the_event_loop(self, place):
        """As the first load is."""
        place.enthrone()
        champions = place.champions()
        champions.state(USE_CASE)
        place.promote(place.publish(labels=(1, 1, 0, 0)))
        place.clock.advance(60 * TTL_S)
        callers: list[str] = []

        def hear(_: Asked) -> None:
            callers.append("asked")

        async def ask() -> int:
            ready = asyncio.create_task(champions.ready(USE_CASE))
            await asyncio.sleep(0)
            assert not ready.done()
            return (await ready).champion.version

        place.proxy.rule = hear
        assert asyncio.run(ask()) == 1
        assert callers

    def test_is_not_waited_for_on_the_event_loop(self, place, monkeypatch):
        """Neither where the last read gets overdue between two lines of code."""
        place.enthrone()
        champions = place.champions()
        before = champions.state(USE_CASE)
        place.promote(place.publish(labels=(1, 1, 0, 0)))
        place.clock.advance(2 * TTL_S - 1)

        def looked() -> float:
            now = place.clock.monotonic()
            place.clock.advance(2)
            return now

        monkeypatch.setattr(champions, "_clock", looked)
        with pytest.raises(StopIteration) as ended:
            champions.ready(USE_CASE).send(None)
        settled()

        assert ended.value.value is before

    def test_is_what_served_if_the_bucket_fails(self, place, hasty):
        """And the next call does not wait for the bucket again."""
        place.enthrone()
        champions = place.champions(artifacts=hasty)
        before = champions.state(USE_CASE)
        place.proxy.rule = lambda _: 503
        place.clock.advance(60 * TTL_S)

        assert champions.state(USE_CASE) is before
        reads = len(place.proxy.asked)
        assert champions.state(USE_CASE) is before
        assert len(place.proxy.asked) == reads

    def test_is_not_a_read_that_takes_long(self, place):
        """While calls come nobody waits, though a new version takes longer to load
        than the time between two reads of the pointer."""
        place.enthrone()
        champions = place.champions()
        before = champions.state(USE_CASE)
        asking, go_on = place.hold()
        place.grow_old()
        assert champions.state(USE_CASE) is before
        assert asking.wait(60)
        place.clock.advance(60 * TTL_S)
        assert champions.state(USE_CASE) is before
        go_on.set()
        settled()
