"""
Leases: of runs of one kind and as-of date, one is at work, and one publishes.

``runs/<use case>/<kind>/<as of>.json`` changes by compare-and-set on its generation.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, wait
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from propensity.edges.artifacts import Artifacts
from propensity.errors import Conflict, PropensityError, RunInProgress
from propensity.registry.objects import instant_of, json_of, object_of
from propensity.waiting.threads import DaemonThreads

# How often a lease is renewed within the time that it lasts.
_RENEWALS = 5


@dataclass
class Lease:
    """
    A run's right to be the only one of its kind and as-of date, for a while.

    ``Registry.kept`` renews it while the run works. ``waiting_since`` is when a run of
    this date first found that it had to wait for data; it outlives the runs that gave
    up, and ends with the one that is done.
    """

    name: str
    run_id: str
    generation: int
    began_at: datetime
    duration: timedelta
    waiting_since: datetime | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def running(self, *, until: datetime) -> bytes:
        """Return what the object says while the run works."""
        note = {
            "state": "running",
            "run_id": self.run_id,
            "began_at": instant_of(self.began_at),
            "expires_at": instant_of(until),
        }
        return json_of({**note, **self.waiting()})

    def waiting(self) -> dict[str, str]:
        """Return what the object says of the wait, nothing where there is none."""
        since = self.waiting_since
        return {} if since is None else {"waiting_since": instant_of(since)}


@dataclass(frozen=True)
class Finished:
    """A run that was done before, with the answer it gave."""

    answer: Mapping[str, Any]
    run_id: str = ""


class Leases:
    """The leases of one use case's runs."""

    def __init__(self, artifacts: Artifacts, use_case: str) -> None:
        self.artifacts = artifacts
        self.use_case = use_case

    def begin(
        self,
        kind: str,
        as_of: date,
        *,
        run_id: str,
        now: datetime,
        duration: timedelta,
        again: bool,
    ) -> Lease | Finished:
        """
        Take the lease of a run, or learn that it is done.

        Args:
            kind: "train", "predict" or "evaluate".
            as_of: The run's as-of date.
            run_id: This run's own.
            now: The lease ends at ``now + duration``, unless it is ``kept``.
            duration: For how long a run that died blocks others.
            again: Take it though the run is done: to run again.

        Raises:
            RunInProgress: Another run holds it.
        """
        name = f"runs/{self.use_case}/{kind}/{as_of.isoformat()}.json"
        stored = self.artifacts.find(name)
        since = None
        if stored is not None:
            found = object_of(stored, name)
            since = found.get("waiting_since")
            state, ends = found.get("state"), str(found.get("expires_at", ""))
            if state == "done" and "answer" in found and not again:
                return Finished(found["answer"], found.get("run_id", ""))
            if state == "running" and instant_of(now) < ends:
                raise RunInProgress(
                    f"{kind} of {self.use_case} for {as_of} is under way since "
                    f"{found.get('began_at')}; its lease ends at {ends}"
                )
        lease = Lease(name, run_id, 0, began_at=now, duration=duration)
        lease.waiting_since = datetime.fromisoformat(since) if since else None
        try:
            lease.generation = self.artifacts.replace(
                name,
                lease.running(until=now + duration),
                generation=stored.generation if stored else 0,
            )
        except Conflict as error:
            raise RunInProgress(
                f"{kind} of {self.use_case} for {as_of} has just begun elsewhere"
            ) from error
        return lease

    @contextlib.contextmanager
    def kept(
        self,
        lease: Lease,
        *,
        clock: Callable[[], datetime],
        threads: Executor | None = None,
    ) -> Iterator[None]:
        """
        Renew a lease while a block runs, as often as it takes to miss a few times.

        So a run may take as long as it takes, and one that was killed blocks the next
        for ``lease.duration`` at most. Who has lost the lease all the same learns it
        from ``check``.

        Args:
            lease: As ``begin`` gave it.
            clock: Says what time it is, in UTC.
            threads: Renew it; a thread that ends with the process where None.
        """
        stopped = threading.Event()

        def renew() -> None:
            pause = lease.duration.total_seconds() / _RENEWALS
            while not stopped.wait(pause):
                try:
                    self.renew(lease, now=clock())
                except Conflict:
                    return
                except PropensityError:
                    continue

        renewing = (threads or DaemonThreads("lease")).submit(renew)
        try:
            yield
        finally:
            stopped.set()
            wait([renewing])

    def renew(self, lease: Lease, *, now: datetime) -> None:
        """
        Let a lease last until ``now + duration``.

        Raises:
            Conflict: Another run has taken it.
        """
        with lease.lock:
            lease.generation = self.artifacts.replace(
                lease.name,
                lease.running(until=now + lease.duration),
                generation=lease.generation,
            )

    def finish(self, lease: Lease, answer: Mapping[str, Any], *, at: datetime) -> None:
        """Say that a run is done, with its answer for whoever asks again."""
        note = {
            "state": "done",
            "run_id": lease.run_id,
            "ended_at": instant_of(at),
            "answer": dict(answer),
        }
        self.artifacts.replace(lease.name, json_of(note), generation=lease.generation)

    def release(self, lease: Lease, *, error: str, at: datetime) -> None:
        """Say that a run failed, so that the next may begin at once."""
        note = {
            "state": "failed",
            "run_id": lease.run_id,
            "ended_at": instant_of(at),
            "error": error,
            **lease.waiting(),
        }
        self.artifacts.replace(lease.name, json_of(note), generation=lease.generation)

    def check(self, lease: Lease) -> None:
        """
        Raise Conflict if a run has outlived its lease and another has taken it.

        Call it before anything is published.
        """
        with lease.lock:
            stored = self.artifacts.find(lease.name)
            is_lost = stored is None or stored.generation != lease.generation
        if is_lost:
            raise Conflict(
                f"the lease {lease.name} has been taken over: this run was too slow, "
                "and publishes nothing"
            )
