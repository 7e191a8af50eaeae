"""
Leases: of runs of one kind and as-of date, one works at a time, and one publishes.

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

from propensity.errors import (
    Conflict,
    PropensityError,
    RunInProgress,
    Unavailable,
)
from propensity.gcp.artifacts import Artifacts
from propensity.registry.objects import instant_of, json_of, object_of

# How often a lease is renewed within the time that it lasts.
# A run that was killed is taken over after so long.
LEASE_MINUTES = 5
_RENEWALS = 5


@dataclass
class Lease:
    """
    A run's right to be the only one of its kind and as-of date, for a while.

    ``Leases.kept`` renews it while the run works. ``waiting_since`` is when a run of
    this date first had to wait for data; it outlives runs that gave up, and ends with
    the run that succeeds.
    """

    name: str
    run_id: str
    generation: int
    began_at: datetime
    duration: timedelta
    waiting_since: datetime | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def running(self, *, until: datetime) -> bytes:
        """Return the object's content while the run works."""
        note = {
            "state": "running",
            "run_id": self.run_id,
            "began_at": instant_of(self.began_at),
            "expires_at": instant_of(until),
        }
        return json_of({**note, **self.waiting()})

    def waiting(self) -> dict[str, str]:
        """Return the object's field about a wait, empty without one."""
        since = self.waiting_since
        return {} if since is None else {"waiting_since": instant_of(since)}


@dataclass(frozen=True)
class Finished:
    """An earlier run that succeeded, and its answer."""

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
        Take the lease of a run, or return the run that is done.

        Args:
            kind: Of the run, such as "train".
            as_of: The run's as-of date.
            run_id: This run's own.
            now: The lease ends at ``now + duration``, unless it is ``kept``.
            duration: How long a run that died blocks others.
            again: Take the lease even if the run is done.

        Raises:
            RunInProgress: Another run holds it.
            Unavailable: The bucket did not answer.
        """
        name = f"runs/{self.use_case}/{kind}/{as_of.isoformat()}.json"
        stored = self.artifacts.find(name)
        since = None
        if stored is not None:
            note = object_of(stored, name)
            since = note.get("waiting_since")
            state, ends = note.get("state"), str(note.get("expires_at", ""))
            if state == "done" and "answer" in note and not again:
                return Finished(note["answer"], note.get("run_id", ""))
            if state == "running" and instant_of(now) < ends:
                raise RunInProgress(
                    f"{kind} of {self.use_case} for {as_of} has been under way since "
                    f"{note.get('began_at')}; its lease ends at {ends}"
                )
        generation = stored.generation if stored else 0
        lease = Lease(name, run_id, generation, began_at=now, duration=duration)
        lease.waiting_since = datetime.fromisoformat(since) if since else None
        try:
            lease.generation = self.artifacts.replace(
                name,
                lease.running(until=now + duration),
                generation=generation,
            )
        except Conflict as error:
            raise RunInProgress(
                f"{kind} of {self.use_case} for {as_of} has just begun elsewhere"
            ) from error
        except Unavailable as error:
            # It may be written all the same, and would keep out the next try.
            with contextlib.suppress(PropensityError):
                self.release(lease, error=type(error).__name__, at=now)
            raise
        return lease

    @contextlib.contextmanager
    def kept(
        self,
        lease: Lease,
        *,
        clock: Callable[[], datetime],
        threads: Executor,
    ) -> Iterator[None]:
        """
        Renew a lease while a block runs, so often that a few renewals may fail.

        So a run may take any time, and a run that was killed blocks the next for
        ``lease.duration`` at most. ``check`` raises if the lease was lost all the same.

        Args:
            lease: From ``begin``.
            clock: Returns the time, in UTC.
            threads: For renewals, which last as long as the block.
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

        renewing = threads.submit(renew)
        try:
            yield
        finally:
            stopped.set()
            wait([renewing])

    def renew(self, lease: Lease, *, now: datetime) -> None:
        """
        Extend a lease until ``now + duration``.

        Raises:
            Conflict: Another run has the lease.
        """
        with lease.lock:
            content = lease.running(until=now + lease.duration)
            lease.generation = self._replace(lease, content)

    def finish(self, lease: Lease, answer: Mapping[str, Any], *, at: datetime) -> None:
        """Record that a run is done, with its answer for repeated requests."""
        note = {
            "state": "done",
            "run_id": lease.run_id,
            "ended_at": instant_of(at),
            "answer": dict(answer),
        }
        self._replace(lease, json_of(note))

    def release(self, lease: Lease, *, error: str, at: datetime) -> None:
        """Record that a run failed, so that the next may begin at once."""
        note = {
            "state": "failed",
            "run_id": lease.run_id,
            "ended_at": instant_of(at),
            "error": error,
            **lease.waiting(),
        }
        self._replace(lease, json_of(note))

    def check(self, lease: Lease) -> None:
        """
        Raise Conflict if a run has outlived its lease and another run has it.

        Call it before each publication.
        """
        with lease.lock:
            is_held = self._generation_held(lease) is not None
        if not is_held:
            raise Conflict(f"{_taken(lease)}, and publishes nothing")

    def _replace(self, lease: Lease, content: bytes) -> int:
        """
        Write the lease's object, and return its generation.

        Raises:
            Conflict: Another run has the lease.
        """
        try:
            return self.artifacts.replace(
                lease.name, content, generation=lease.generation
            )
        except Conflict as error:
            generation = self._generation_held(lease)
            if generation is None:
                raise Conflict(_taken(lease)) from error
            return self.artifacts.replace(lease.name, content, generation=generation)

    def _generation_held(self, lease: Lease) -> int | None:
        """
        Return the generation of the lease's object, None if the run has lost it.

        It may be newer than the run knows: the answer to a renewal can be lost.
        """
        stored = self.artifacts.find(lease.name)
        if stored is None or stored.generation == lease.generation:
            return None if stored is None else stored.generation
        note = object_of(stored, lease.name)
        is_own = (note.get("state"), note.get("run_id")) == ("running", lease.run_id)
        return stored.generation if is_own else None


def _taken(lease: Lease) -> str:
    """Say that another run has the lease."""
    return f"the lease {lease.name} has been taken over: this run was too slow"
