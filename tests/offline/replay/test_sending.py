"""The rate of a replay, by a clock that sleeps too long, and the end of its sending."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from offline.replay.messages import Outgoing, Tally
from offline.replay.sending import SLICE_S, Sender, Stop, TokenBucket
from propensity.errors import Unavailable
from propensity.settings import Settings
from tests.offline.replay.conftest import catalogue


class Clock:
    """A clock that only sleeping moves, and which sleeps a little too long."""

    def __init__(self, late: float = 0.0) -> None:
        self.now = 100.0
        self.late = late

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.late


class TestTokenBucket:
    @pytest.mark.parametrize("late", [0.0, 0.013])
    @pytest.mark.parametrize("rate", [0.5, 7.0, 1000.0, 30_000.0])
    def test_keeps_its_rate_on_average(self, rate, late):
        """The n-th message goes n gaps after the first, and not more than one sleep
        later, however long the sleeps take."""
        clock, stop = Clock(late), Stop()
        bucket = TokenBucket(rate, clock=clock, sleep=clock.sleep)
        count = 3_000
        for _ in range(count):
            assert bucket.take(stop)

        due = (count - 1) / rate
        assert due - 1e-6 <= clock.now - 100.0 <= due + late + 1e-6

    def test_makes_up_for_a_pause_by_a_tenth_of_a_second(self):
        """After a long pause no more go at once than are due in that time."""
        clock, stop = Clock(), Stop()
        bucket = TokenBucket(1000.0, clock=clock, sleep=clock.sleep)
        bucket.take(stop)
        clock.now += 3600.0
        resumed = clock.now
        at_once = 0
        while bucket.take(stop) and clock.now == resumed:
            at_once += 1

        assert at_once in {100, 101}

    def test_has_no_limit_at_zero(self):
        """A rate of 0 never waits."""
        clock, stop = Clock(), Stop()
        bucket = TokenBucket(0.0, clock=clock, sleep=clock.sleep)

        assert all(bucket.take(stop) for _ in range(1000))
        assert clock.now == 100.0

    def test_ends_its_wait_when_asked_to_stop(self):
        """A minute's gap does not keep Ctrl-C waiting."""
        clock, stop = Clock(), Stop()
        bucket = TokenBucket(1 / 60, clock=clock, sleep=clock.sleep)
        bucket.take(stop)

        def sleep(seconds: float) -> None:
            clock.sleep(seconds)
            stop.is_asked = True

        bucket._sleep = sleep
        assert not bucket.take(stop)
        assert clock.now <= 100.0 + SLICE_S


class Publishing:
    """A client whose thread has ended without an answer for every second message."""

    def __init__(self) -> None:
        self.count = 0

    def publish(self, topic: str, data: bytes, **attributes: str) -> Future[str]:
        future: Future[str] = Future()
        self.count += 1
        if self.count % 2 == 0:
            future.set_result(str(self.count))
        return future


class TestDrain:
    def test_ends_where_the_client_never_answers(self, monkeypatch):
        """It says where to go on, and counts what was published behind that."""
        monkeypatch.setattr(Sender, "_opened", lambda _: Publishing())
        settings = Settings(project="p", dataset="d", deadline_s=1)
        sender = Sender(
            settings, catalogue(), Tally(), is_dry=False, shown=0, grace_s=-0.9
        )
        for number in range(4):
            sender.send(Outgoing(b"{}", {}, "events", place=f"--skip {number}"))

        sender.drain()

        assert isinstance(sender.tally.failure, Unavailable)
        assert sender.tally.place == "--skip 0"
        assert sum(sender.tally.sent.values()) == 2
