"""Leases, specified: of runs of one kind and date one works, and one publishes."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, date, datetime, timedelta
from functools import partial

import pytest

from propensity.errors import Conflict, RunInProgress, Unavailable
from propensity.gcp.artifacts import Artifacts
from propensity.registry.leases import Finished, Lease
from tests.propensity.registry.versions import NOW, at_once, overwrite

AS_OF = date(2026, 3, 2)
HOUR = timedelta(hours=1)


def begin(
    registry, run_id="one", *, kind="train", as_of=AS_OF, now=NOW, duration=HOUR,
    again=False,
):  # fmt: skip
    return registry.begin(
        kind, as_of, run_id=run_id, now=now, duration=duration, again=again
    )


def test_keep_others_out_while_they_last(registry):
    """A second run of the same is told to wait, and may be tried again; another kind or
    as-of date does not wait."""
    begin(registry)

    with pytest.raises(RunInProgress, match="under way") as caught:
        begin(registry, "two", now=NOW + HOUR - timedelta(microseconds=1))

    assert (caught.value.retryable, caught.value.status) == (True, 409)
    assert isinstance(begin(registry, kind="predict"), Lease)
    assert isinstance(begin(registry, as_of=AS_OF + timedelta(days=1)), Lease)


def test_are_won_by_one(registry):
    """Of sixteen that begin at once, one runs."""
    leases = []

    def race(number: int) -> None:
        with contextlib.suppress(RunInProgress):
            leases.append(begin(registry, f"r{number}"))

    at_once(race)

    assert len(leases) == 1


def test_are_taken_over_when_they_end(registry):
    """A run that died blocks until then; if it lives, it publishes nothing, and its
    end changes nothing."""
    old = begin(registry)
    new = begin(registry, "two", now=NOW + HOUR)

    registry.check(new)
    for step in (
        lambda: registry.check(old),
        lambda: registry.renew(old, now=NOW + HOUR),
        lambda: registry.finish(old, {"by": "old"}, at=NOW + HOUR),
        lambda: registry.release(old, error="late", at=NOW + HOUR),
    ):
        with pytest.raises(Conflict, match="taken over: this run was too slow"):
            step()
    registry.check(new)
    registry.finish(new, {"by": "new"}, at=NOW + HOUR)
    assert begin(registry, "three").answer == {"by": "new"}


def test_last_as_long_as_the_run_works(registry):
    """A lease that is kept outlives its duration; one that died ends with it."""
    now = partial(datetime.now, UTC)
    begun = begin(registry, now=now(), duration=timedelta(seconds=0.5))
    with registry.kept(begun, clock=now):
        time.sleep(1.5)
        with pytest.raises(RunInProgress):
            begin(registry, "two", now=now())
        registry.check(begun)
    time.sleep(0.6)

    assert isinstance(begin(registry, "two", now=now()), Lease)
    with pytest.raises(Conflict):
        registry.check(begun)


def test_answer_for_a_finished_run(registry):
    """The retry of a finished run gets its answer, unless it is to run again."""
    registry.finish(begin(registry), {"model_version": 4}, at=NOW)

    assert begin(registry, "two") == Finished({"model_version": 4}, "one")
    assert isinstance(begin(registry, "three", again=True), Lease)


def test_are_free_after_a_failure(registry):
    """The next run need not wait for the end of a lease whose run failed; a lease that
    says nothing holds nobody up."""
    registry.release(begin(registry), error="Unavailable", at=NOW)

    lease = begin(registry, "two")
    overwrite(registry, lease.name, b"{}")

    assert isinstance(begin(registry, "three"), Lease)


@pytest.mark.parametrize("call", ["begin", "renew"])
def test_outlive_a_write_whose_answer_was_lost(registry, monkeypatch, call):
    """Defect: it had been written, so that each try within five minutes was told that
    a run was under way; a renewed lease is still the run's own."""
    lease = begin(registry) if call == "renew" else None
    replace, lost = Artifacts.replace, ["lost"]

    def replaced(*arguments, **named):
        generation = replace(*arguments, **named)
        if lost:
            raise Unavailable(lost.pop())
        return generation

    monkeypatch.setattr(Artifacts, "replace", replaced)
    with pytest.raises(Unavailable, match="lost"):
        begin(registry) if lease is None else registry.renew(lease, now=NOW)

    if lease is None:
        lease = begin(registry, "two")
    registry.finish(lease, {"by": lease.run_id}, at=NOW)
    assert begin(registry, "three").answer == {"by": lease.run_id}
