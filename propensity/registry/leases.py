"""
Leases: of runs of one kind and as-of date, one works at a time, and one publishes.

``runs/<use case>/<kind>/<as of>.json`` changes by compare-and-set on its generation.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Annotated

from msgspec import Meta, Struct

from propensity.errors import Conflict, PropensityError, RunInProgress
from propensity.gcp.artifacts import Artifacts, Stored, content_of, instant_of, json_of

# A killed run's lease ends after this time. A working run renews it five times within
# it, so that a few renewals may fail.
DURATION = timedelta(minutes=5)
_RENEWALS = 5
# The date of a lease that is for all dates.
ANY_DATE = date(1970, 1, 1)


Moment = Annotated[datetime, Meta(tz=True)]


class LeaseFile(Struct, kw_only=True, omit_defaults=True):
    """
    What the object of a lease says of the newest run: running, done or failed.

    Another run may take the lease of one that works once it expires; ``error`` is the
    name of the class of what ended one.
    """

    state: str = ""
    run_id: str = ""
    began_at: Moment | None = None
    expires_at: Moment | None = None
    waiting_since: Moment | None = None
    answer: Mapping[str, object] | None = None
    error: str = ""


@dataclass(kw_only=True)
class Lease:
    """
    A run's right to be the only one of its kind and as-of date.

    Attributes:
        waiting_since: When a run of this date first had to wait for data; it outlives
            runs that gave up, and ends with the run that succeeds.
        answer: What the run answers, and repeated requests get; set within the block.
        is_finished: Whether ``answer`` is an earlier run's: there is no lease.
    """

    artifacts: Artifacts
    name: str
    run_id: str
    began_at: datetime
    waiting_since: datetime | None = None
    answer: Mapping[str, object] = field(default_factory=dict)
    is_finished: bool = False

    def check(self) -> Stored:
        """
        Return the lease's object; call it before each publication.

        Raises:
            Conflict: The run has outlived its lease, and another run has it.
        """
        stored, file = read_lease(self.artifacts, self.name)
        if stored is None or (file.state, file.run_id) != ("running", self.run_id):
            raise Conflict(
                "another run took over because this one was too slow (lease "
                f"{self.name}). This one changes nothing more"
            )
        return stored

    def write(
        self, state: str, before: Stored | None, *, at: datetime, error: str = ""
    ) -> None:
        """Write how the run stands: running, done or failed."""
        file = LeaseFile(state=state, run_id=self.run_id, began_at=self.began_at)
        file.error = error
        if state == "running":
            file.expires_at = at + DURATION
        if state == "done":
            file.answer = self.answer
        else:
            file.waiting_since = self.waiting_since
        self.artifacts.replace(self.name, json_of(file), before)


def name_of(use_case: str, kind: str, as_of: date) -> str:
    """Return the name of the object of a lease."""
    return f"runs/{use_case}/{kind}/{as_of.isoformat()}.json"


def read_lease(artifacts: Artifacts, name: str) -> tuple[Stored | None, LeaseFile]:
    """Return the object of a lease, if there is one, and what it says."""
    stored = artifacts.find(name)
    if stored is None:
        return None, LeaseFile()
    return stored, content_of(stored, LeaseFile, name=name)


@contextlib.contextmanager
def leased(
    artifacts: Artifacts,
    use_case: str,
    kind: str,
    as_of: date = ANY_DATE,
    *,
    clock: Callable[[], datetime],
    run_id: str = "",
    rerun: bool = True,
) -> Iterator[Lease]:
    """
    Hold the lease of a run for a block, or have the answer of the run that is done.

    The lease is renewed meanwhile: a run may take any time, and one that was killed
    blocks the next for ``DURATION`` at most.

    Args:
        kind: Of the run, such as "train".
        clock: Returns the time, in UTC.
        run_id: This run's own; a new one by default.
        rerun: Take the lease even if a run is done.

    Raises:
        RunInProgress: Another run holds it.
    """
    name = name_of(use_case, kind, as_of)
    what = f"{kind} of {use_case}" + ("" if as_of == ANY_DATE else f" for {as_of}")
    stored, file = read_lease(artifacts, name)
    now = clock()
    if not run_id:
        run_id = uuid.uuid4().hex
    lease = Lease(artifacts=artifacts, name=name, run_id=run_id, began_at=now)
    if file.state == "done" and file.answer is not None and not rerun:
        lease.answer = file.answer
        lease.is_finished = True
        yield lease
        return
    began = file.began_at
    ends = file.expires_at
    if file.state == "running" and began and ends and now < ends:
        raise RunInProgress(
            f"{what} has been under way since {instant_of(began)}; its lease ends at "
            f"{instant_of(ends)}"
        )
    lease.waiting_since = file.waiting_since
    try:
        try:
            lease.write("running", stored, at=now)
        except Conflict as error:
            raise RunInProgress(f"{what} has just begun in another instance") from error
        with _renewed(lease, clock):
            yield lease
        lease.write("done", lease.check(), at=clock())
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        is_waiting = isinstance(error, PropensityError) and error.is_waiting
        if is_waiting and lease.waiting_since is None:
            lease.waiting_since = now
        # The next run may begin at once. Of an error here the lease ends by itself.
        with contextlib.suppress(PropensityError):
            held = lease.check()
            lease.write("failed", held, at=clock(), error=type(error).__name__)
        raise


@contextlib.contextmanager
def _renewed(lease: Lease, clock: Callable[[], datetime]) -> Iterator[None]:
    """Renew a lease by a thread; ``check`` raises if it was lost all the same."""
    stopped = threading.Event()

    def renew() -> None:
        while not stopped.wait(DURATION.total_seconds() / _RENEWALS):
            with contextlib.suppress(PropensityError):
                lease.write("running", lease.check(), at=clock())

    # A daemon, so that a renewal that hangs does not keep a process from its end.
    renewing = threading.Thread(target=renew, name="lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        stopped.set()
        renewing.join()
