"""
The whole path on the worst of days, specified: nothing is lost or counts twice.

A producer publishes with duplicates, late and broken messages; Pub/Sub pushes them to
instances of ``stream_features``, which are killed while they work and started again;
the compaction runs in between. What the view says afterwards is compared with exact
arithmetic over the events that were accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local.processes import HOST, free_ports
from local.synthesize_games import Delivery, Games, expected_features
from tests.functions.streaming import Instance, Site, eventually, new_site

# From so many players come about so many messages; each has at most 60 events.
PLAYERS = {10_000: 330, 100_000: 3_300}
DEADLINE_S = 1_500.0

SIZES = [
    pytest.param(10_000, id="10k"),
    pytest.param(
        100_000,
        id="100k",
        marks=[pytest.mark.long, pytest.mark.timeout(DEADLINE_S + 300)],
    ),
]


class Balancer:
    """Spreads connections over instances in turn, as the platform's front end does."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.port = free_ports(1)[0]
        self._ports = itertools.cycle(ports)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Balancer:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)

    async def _close(self) -> None:
        self._server.close()
        tasks = [
            one for one in asyncio.all_tasks() if one is not asyncio.current_task()
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            upstream = await asyncio.open_connection(HOST, next(self._ports))
        except OSError:  # killed, and not yet back
            writer.close()
            return
        await asyncio.wait(
            [
                asyncio.create_task(self._copy(reader, upstream[1])),
                asyncio.create_task(self._copy(upstream[0], writer)),
            ],
            return_when=asyncio.FIRST_COMPLETED,
        )
        for end in (writer, upstream[1]):
            end.close()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()


@pytest.fixture
def site(emulators) -> Iterator[Site]:
    """Tables and topics of this test alone."""
    with new_site(emulators) as made:
        yield made


@contextlib.contextmanager
def running(site: Site, home: Path, count: int) -> Iterator[list[Instance]]:
    """Run so many instances, and push to them in turn."""
    with contextlib.ExitStack() as stack:
        instances = [
            Instance("stream_features", site.environment, home / str(number))
            for number in range(count)
        ]
        for instance in instances:
            instance.start(wait=False)
            stack.callback(instance.stop)
        for instance in instances:
            instance.wait()
        balancer = stack.enter_context(Balancer([one.port for one in instances]))
        endpoint = f"http://{HOST}:{balancer.port}/"
        subscription = site.subscribe(site.topic("events"), endpoint=endpoint)
        stack.callback(site.unsubscribe, subscription)
        yield instances


def stored(site: Site) -> tuple[int, int, int]:
    """Return rows stored, different events among them, and dead letters."""
    [row] = site.rows(
        "SELECT COUNT(*) AS n, COUNT(DISTINCT CONCAT(user_id, '/', event_id)) AS e,"
        " (SELECT COUNT(DISTINCT message_id) FROM dead_letters) AS d"
        " FROM stream_events"
    )
    return row["n"], row["e"], row["d"]


def played(
    site: Site,
    instances: Sequence[Instance],
    deliveries: Sequence[Delivery],
    *,
    kills: int,
    seed: int,
) -> dict[str, Delivery]:
    """
    Publish in pieces, and after each kill an instance at work, compact, and restart it.

    Returns:
        The deliveries by their message ids, once all have come through.
    """
    chance = random.Random(seed)
    sent: dict[str, Delivery] = {}
    size = -(-len(deliveries) // (kills + 1))
    for start in range(0, len(deliveries), size):
        piece = deliveries[start : start + size]
        messages = [
            {"data": one.data, "attributes": dict(one.attributes)} for one in piece
        ]
        ids = site.publish(site.topic("events"), messages)
        sent.update(zip(ids, piece, strict=True))
        if start + size < len(deliveries):
            time.sleep(chance.uniform(0.05, 1.0))
            victim = chance.choice(instances)
            victim.kill()
            if chance.random() < 0.5:
                site.compact(datetime.now(UTC))
            victim.start()
    events = len({key(one) for one in deliveries if one.event})
    broken = sum(one.event is None for one in deliveries)
    eventually(
        lambda: stored(site)[1:] == (events, broken),
        f"{events} events stored and {broken} dead letters",
        deadline_s=DEADLINE_S,
    )
    return sent


def key(delivery: Delivery) -> tuple[str, str]:
    """Return what identifies an accepted event."""
    assert delivery.event is not None
    return delivery.event["user_id"], delivery.event["event_id"]


def check(site: Site, sent: dict[str, Delivery]) -> None:
    """Compare what is there with what was sent, before and after a last compaction."""
    accepted = {key(one): one.event for one in sent.values() if one.event}
    expected = expected_features(accepted.values())

    found = site.rows("SELECT DISTINCT user_id, event_id FROM stream_events")
    assert {(row["user_id"], row["event_id"]) for row in found} == accepted.keys()
    for _ in range(2):
        features = site.features()
        assert features.keys() == expected.keys()
        for user, wanted in expected.items():
            assert {name: features[user][name] for name in wanted} == wanted
        site.compact(datetime.now(UTC))

    reasons = {one: sent[one].reason for one in sent if sent[one].event is None}
    dead = site.rows("SELECT DISTINCT message_id, reason FROM dead_letters")
    assert {row["message_id"]: row["reason"] for row in dead} == reasons
    raw = site.rows("SELECT message_id, raw FROM dead_letters WHERE raw_size < 100000")
    for row in raw:
        assert row["raw"] == sent[row["message_id"]].data


@pytest.mark.timeout(900)
class TestKills:
    @pytest.mark.parametrize("size", SIZES)
    def test_nothing_is_lost_and_nothing_counts_twice(
        self, site, tmp_path, capsys, size
    ):
        """With 10% duplicates, 5% late by days and 1% broken, and an instance killed
        again and again: every accepted event counts once, every broken one is a dead
        letter with its reason."""
        games = Games(users=PLAYERS[size], maximum_events=60)
        deliveries = games.deliveries(duplicates=0.10, late=0.05, broken=0.01)
        kills = 5 if size == 10_000 else 12
        began = time.monotonic()
        with running(site, tmp_path, 1) as instances:
            sent = played(site, instances, deliveries, kills=kills, seed=size)
            seconds = time.monotonic() - began
            check(site, sent)

        rows, events, dead = stored(site)
        duplicates = sum(one.is_duplicate for one in deliveries)
        reasons = Counter(one.reason for one in deliveries if one.reason)
        with capsys.disabled():
            print(
                f"\n{len(deliveries):,} messages, {duplicates:,} of them duplicates; "
                f"{kills} kills; {rows:,} rows stored, {events:,} events, "
                f"{dead:,} dead letters of {len(reasons)} kinds; {seconds:.0f} s, "
                f"{len(deliveries) / seconds:,.0f} messages a second"
            )

    @pytest.mark.parametrize("count", [2, 6])
    def test_several_instances_come_to_the_same(self, site, tmp_path, count):
        """Two and six at once, some of them killed, give what one gives."""
        games = Games(users=60, maximum_events=40)
        deliveries = games.deliveries(duplicates=0.10, late=0.05, broken=0.01)
        with running(site, tmp_path, count) as instances:
            sent = played(site, instances, deliveries, kills=2, seed=count)
            check(site, sent)
