"""
Turns: of the deliveries of an audience one works at a time, whatever its date.

Two dates that were sent together would put users on a list who leave it by the newer
one. A delivery may take days, on a machine that is asleep meanwhile: so it looks again
whether it still is its turn.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from datetime import date, timedelta

from offline.promote import Deployment
from propensity.clock import Clock
from propensity.errors import Conflict, PropensityError, RunInProgress
from propensity.registry.leases import Finished, Lease, Leases
from propensity.waiting.threads import THREADS

# All dates of an audience share a lease, as all compactions do.
ANY_DATE = date(1970, 1, 1)


class Turn:
    """A delivery's right to be the only one of its audience."""

    def __init__(
        self, leases: Leases, lease: Lease, *, audience: str, clock: Clock
    ) -> None:
        self._leases = leases
        self._lease = lease
        self._audience = audience
        self._clock = clock
        self._renewed_at = lease.began_at

    def check(self) -> None:
        """
        Raise Conflict if another delivery has begun; it asks the bucket now and then.

        Call it before anything is sent or recorded.

        Raises:
            Unavailable: The bucket has not answered for as long as a lease lasts.
        """
        now, duration = self._clock.now(), self._lease.duration
        if now < self._renewed_at + duration / 2:
            return
        try:
            self._leases.renew(self._lease, now=now)
        except Conflict as error:
            raise Conflict(
                f"another delivery of {self._audience} has begun, since this one stood "
                "still for longer than PROPENSITY_LEASE_MINUTES: nothing more was sent"
            ) from error
        except PropensityError:
            if now >= self._renewed_at + duration:
                raise
        else:
            self._renewed_at = now


@contextlib.contextmanager
def take_turn(deployment: Deployment, audience: str, *, clock: Clock) -> Iterator[Turn]:
    """
    Take the turn of an audience, and keep it until the block is done.

    Raises:
        RunInProgress: Another delivery of the audience is under way.
        Conflict: It began meanwhile.
        Unavailable: The bucket did not answer.
    """
    leases = Leases(deployment.artifacts, deployment.use_case.name)
    try:
        lease = leases.begin(
            f"audience-{audience}",
            ANY_DATE,
            run_id=uuid.uuid4().hex,
            now=clock.now(),
            duration=timedelta(minutes=deployment.settings.lease_minutes),
            again=True,
        )
    except RunInProgress as error:
        raise RunInProgress(
            f"another delivery of {audience} is under way, or was killed just now: "
            "wait until it ends, or for PROPENSITY_LEASE_MINUTES if it was killed"
        ) from error
    assert not isinstance(lease, Finished)
    with leases.kept(lease, clock=clock.now, threads=THREADS):
        turn = Turn(leases, lease, audience=audience, clock=clock)
        try:
            yield turn
            turn.check()
        except Exception as error:
            # The error of the block matters more than this one; the lease expires.
            with contextlib.suppress(PropensityError):
                leases.release(lease, error=type(error).__name__, at=clock.now())
            raise
    leases.finish(lease, {}, at=clock.now())
