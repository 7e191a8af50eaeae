"""
Leases: of runs of one kind and as-of date, one works at a time, and one publishes.

``runs/<use case>/<kind>/<as of>.json`` changes by compare-and-set on its generation.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from propensity.errors import Conflict, PropensityError, RunInProgress, Unavailable
from propensity.gcp.artifacts import Artifacts
from propensity.registry.objects import instant_of, json_of, object_of

# A run that was killed is taken over after so long; one that works renews its lease
# so often within that time that a few renewals may fail.
LEASE_MINUTES = 5
_RENEWALS = 5
# The date of a lease that is for all dates.
ANY_DATE = date(1970, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Lease:
    """
    A run's right to be the only one of its kind and as-of date, for a while.

    ``waiting_since`` is when a run of this date first had to wait for data; it outlives
    runs that gave up, and ends with the run that succeeds.
    """

    name: str
    run_id: str
    began_at: datetime
    duration: timedelta
    waiting_since: datetime | None = None

    def note(self, state: str, *, at: datetime, **entries: Any) -> bytes:
        """Return the object's content; while the run works it expires some time on."""
        if state == "running":
            entries["began_at"] = instant_of(self.began_at)
            entries["expires_at"] = instant_of(at + self.duration)
        if self.waiting_since is not None and state != "done":
            entries["waiting_since"] = instant_of(self.waiting_since)
        own = {"state": state, "run_id": self.run_id, "written_at": instant_of(at)}
        return json_of({**own, **entries})


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
            run_id: This run's own.
            now: The lease ends at ``now + duration``, unless it is ``kept``.
            again: Take the lease even if the run is done.

        Raises:
            RunInProgress: Another run holds it.
            Unavailable: The bucket did not answer.
        """
        name = f"runs/{self.use_case}/{kind}/{as_of.isoformat()}.json"
        what = f"{kind} of {self.use_case}"
        what += "" if as_of == ANY_DATE else f" for {as_of}"
        stored = self.artifacts.find(name)
        note = object_of(stored, name) if stored else {}
        state, ends = note.get("state"), str(note.get("expires_at", ""))
        if state == "done" and "answer" in note and not again:
            return Finished(note["answer"], note.get("run_id", ""))
        if state == "running" and instant_of(now) < ends:
            raise RunInProgress(
                f"{what} has been under way since {note.get('began_at')}; its lease "
                f"ends at {ends}"
            )
        since = note.get("waiting_since")
        lease = Lease(
            name=name,
            run_id=run_id,
            began_at=now,
            duration=duration,
            waiting_since=datetime.fromisoformat(since) if since else None,
        )
        generation = stored.generation if stored else 0
        try:
            content = lease.note("running", at=now)
            self.artifacts.replace(name, content, generation=generation)
        except Conflict as error:
            raise RunInProgress(f"{what} has just begun elsewhere") from error
        except Unavailable as error:
            # It may be written all the same, and would keep out the next try.
            with contextlib.suppress(PropensityError):
                self.release(lease, error=type(error).__name__, at=now)
            raise
        return lease

    @contextlib.contextmanager
    def alone(self, kind: str, *, clock: Callable[[], datetime]) -> Iterator[Lease]:
        """Hold the one lease of a kind of work, whatever its date, for a block."""
        lease = self.begin(
            kind,
            ANY_DATE,
            run_id=uuid.uuid4().hex,
            now=clock(),
            duration=timedelta(minutes=LEASE_MINUTES),
            again=True,
        )
        assert isinstance(lease, Lease)  # ``again``: never Finished
        try:
            with self.kept(lease, clock=clock):
                yield lease
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            # This error matters more than another one; the lease expires anyway.
            with contextlib.suppress(PropensityError):
                self.release(lease, error=type(error).__name__, at=clock())
            raise
        self.finish(lease, {}, at=clock())

    @contextlib.contextmanager
    def kept(self, lease: Lease, *, clock: Callable[[], datetime]) -> Iterator[None]:
        """
        Renew a lease while a block runs.

        So a run may take any time, and a run that was killed blocks the next for
        ``lease.duration`` at most. ``check`` raises if the lease was lost all the same.

        ``clock`` returns the time, in UTC.
        """
        stopped = threading.Event()

        def renew() -> None:
            while not stopped.wait(lease.duration.total_seconds() / _RENEWALS):
                try:
                    self.renew(lease, now=clock())
                except Conflict:
                    return
                except PropensityError:
                    continue

        # A daemon, so that a renewal that hangs does not keep a process from its end.
        renewing = threading.Thread(target=renew, name="lease", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            stopped.set()
            renewing.join()

    def renew(self, lease: Lease, *, now: datetime) -> None:
        """Extend a lease until ``now + duration``; errors are those of ``check``."""
        self._replace(lease, lease.note("running", at=now))

    def finish(self, lease: Lease, answer: Mapping[str, Any], *, at: datetime) -> None:
        """Record that a run is done, with its answer for repeated requests."""
        self._replace(lease, lease.note("done", at=at, answer=dict(answer)))

    def release(self, lease: Lease, *, error: str, at: datetime) -> None:
        """Record that a run failed, so that the next may begin at once."""
        self._replace(lease, lease.note("failed", at=at, error=error))

    def check(self, lease: Lease) -> int:
        """
        Return the generation of a lease's object; call it before each publication.

        Raises:
            Conflict: The run has outlived its lease, and another run has it.
        """
        stored = self.artifacts.find(lease.name)
        note = object_of(stored, lease.name) if stored else {}
        own = "running", lease.run_id
        if stored is None or (note.get("state"), note.get("run_id")) != own:
            raise Conflict(
                f"the lease {lease.name} has been taken over: this run was too slow, "
                "and publishes nothing"
            )
        return stored.generation

    def _replace(self, lease: Lease, content: bytes) -> None:
        self.artifacts.replace(lease.name, content, generation=self.check(lease))
