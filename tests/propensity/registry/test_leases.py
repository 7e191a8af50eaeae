"""Leases, specified: of runs of one kind and date one works, and one publishes."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, date, datetime, timedelta

import pytest

from propensity.errors import Conflict, ExportLate, RunInProgress
from propensity.registry import leases
from tests.propensity.registry.versions import NOW

AS_OF = date(2026, 3, 2)


def leased(registry, *, kind="train", as_of=AS_OF, clock=lambda: NOW, rerun=True):
    return leases.leased(
        registry.artifacts, registry.use_case, kind, as_of, clock=clock, rerun=rerun
    )


def test_a_lease_keeps_others_out_while_it_lasts(registry):
    """A second run of the same is told to wait, and may be tried again; another kind or
    as-of date does not wait."""
    ends = NOW + leases.DURATION
    with leased(registry):
        with (
            pytest.raises(RunInProgress, match="under way") as caught,
            leased(registry, clock=lambda: ends - timedelta(microseconds=1)),
        ):
            pass
        with leased(registry, kind="predict"), leased(registry, as_of=date.max):
            pass

    assert (caught.value.retryable, caught.value.status) == (True, 409)


def test_a_lease_is_taken_over_when_it_ends(registry):
    """A run that died blocks until then; if it lives, it publishes nothing, and its
    end changes nothing."""
    slow = contextlib.ExitStack()
    old = slow.enter_context(leased(registry))
    with leased(registry, clock=lambda: NOW + leases.DURATION) as new:
        new.check()
        with pytest.raises(Conflict, match="took over because this one was too slow"):
            old.check()
        new.answer = {"by": "new"}
    with pytest.raises(Conflict, match="took over"):
        slow.close()

    with leased(registry, rerun=False) as finished:
        assert (finished.answer, finished.is_finished) == ({"by": "new"}, True)


def test_a_lease_lasts_as_long_as_the_run_works(registry, monkeypatch):
    monkeypatch.setattr(leases, "DURATION", timedelta(seconds=0.5))

    def clock() -> datetime:
        return datetime.now(UTC)

    with leased(registry, clock=clock) as lease:
        time.sleep(1.5)
        with pytest.raises(RunInProgress), leased(registry, clock=clock):
            pass
        lease.check()


def test_a_lease_is_free_after_a_failure(registry):
    """The next run need not wait for the end of a lease whose run failed. Since when a
    run waits for data outlives it."""
    for minutes in (0, 30):
        with (
            pytest.raises(ExportLate),
            leased(registry, clock=lambda m=minutes: NOW + timedelta(minutes=m)),
        ):
            raise ExportLate("not yet", detail={}, retry_after_s=1)
    with leased(registry) as lease:
        assert lease.waiting_since == NOW

    with pytest.raises(KeyError), leased(registry):
        raise KeyError("nobody foresaw this")
    with leased(registry):
        pass
