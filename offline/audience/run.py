"""
The preview of an audience, and its delivery: one at a time.
"""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from offline import promote
from offline.audience.delivery import Delivery, deliver, work_of
from offline.audience.destinations import opened
from offline.audience.ledger import FLUSHED_AT, PENDING, SQL, Ledger, Recorded
from offline.audience.members import Audience, find_or_choose, store
from offline.audience.requests import ADD, REMOVE, Destination
from offline.audience.selection import Rule
from offline.promote import Deployment
from propensity.clock import SYSTEM, Clock
from propensity.concurrency import THREADS
from propensity.errors import PropensityError, RequestError, RunInProgress
from propensity.pages.words import plural
from propensity.privacy import suppression
from propensity.registry.leases import LEASE_MINUTES, Finished, Leases
from propensity.statements import statement

# All dates of an audience share a lease.
ANY_DATE = date(1970, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """
    An audience and where it goes.

    Attributes:
        control: Share that is held out, 0 to 0.9.
        group: Name of the control group; empty for the audience's.
        until: The newest publication up to this date counts; None for today.
        to: ``bucket``, or the path of a destination's TOML file.
        cost_per_user: Cost of a treated user, in any currency; None for unknown.
        may_be_empty: Whether an empty audience takes users of earlier dates off the
            list.
    """

    audience: str
    rule: Rule
    control: float
    to: str
    group: str = ""
    until: date | None = None
    use_case: str | None = None
    cost_per_user: Decimal | None = None
    may_be_empty: bool = False
    is_quiet: bool = False
    flushed_at: int = FLUSHED_AT


@dataclass(frozen=True, kw_only=True)
class Preview:
    """
    What a delivery would do.

    Attributes:
        unreachable: Treated members whom the destination cannot take, by reason.
        removed: Users of earlier dates whom it would take off the list.
        recorded: Treated members whom the ledger has already.
        cost: Cost of reachable users; None where no cost per user is known.
        expected: Sum of the probabilities of treated users.
    """

    use_case: str
    audience: str
    as_of: date
    destination: str
    selection: str
    is_stored: bool
    members: int
    held_out: int
    treated: int
    suppressed: int
    reachable: int
    unreachable: Mapping[str, int]
    removed: int
    recorded: int
    requests: int
    cost: Decimal | None
    outcome: str
    expected: float

    def __str__(self) -> str:
        before = ", as they were chosen before" if self.is_stored else ""
        reasons = [f"{count:,} {reason}" for reason, count in self.unreachable.items()]
        rows = {
            "members": f"{self.members:,} ({self.selection}{before})",
            "held out": f"{self.held_out:,}",
            "treated": f"{self.treated:,}; {self.expected:,.1f} of them are expected "
            f"to {self.outcome} without the audience",
            "suppressed": f"{self.suppressed:,} more, left out",
            "reachable": f"{self.reachable:,} in {plural(self.requests, 'request')} to "
            f"{self.destination}",
            "unreachable": ", ".join(reasons) or "nobody",
            "to remove": f"{self.removed:,}",
            "sent before": f"{self.recorded:,}",
            "cost": "unknown without --cost-per-user"
            if self.cost is None
            else f"{self.cost:,}",
        }
        lines = [f"{self.audience} of {self.use_case}, as of {self.as_of}", ""]
        return "\n".join(lines + [f"{name:<11}  {text}" for name, text in rows.items()])


def preview(plan: Plan, *, clock: Clock = SYSTEM) -> Preview:
    """
    Say what a delivery would do. Writes nothing, but for the key of control groups.

    Raises:
        RequestError, SettingsError, MissingTable, Unavailable: As named.
    """
    with _opened(plan, clock) as (deployment, audience, destination):
        ledger = _ledger(plan, deployment, audience, destination, clock)
        recorded = ledger.recorded()
        unreachable = Counter(destination.problems(audience.treated).values())
        reachable = len(audience.treated) - unreachable.total()
        work = work_of(audience, destination, ledger)
        cost = plan.cost_per_user
        return Preview(
            use_case=deployment.use_case.name,
            audience=audience.name,
            as_of=audience.as_of,
            destination=destination.name,
            selection=audience.selection,
            is_stored=audience.is_stored,
            members=len(audience.members),
            held_out=len(audience.members) - len(audience.treated),
            treated=len(audience.treated),
            suppressed=audience.suppressed,
            reachable=reachable,
            unreachable=dict(unreachable.most_common()),
            removed=len(work[REMOVE]),
            recorded=sum(action == ADD for action, _ in recorded),
            requests=sum(-(-len(m) // destination.batch) for m in work.values()),
            cost=None if cost is None else cost * reachable,
            outcome=deployment.use_case.outcome,
            expected=sum(member.probability or 0 for member in audience.treated),
        )


def send(plan: Plan, *, clock: Clock = SYSTEM) -> Delivery:
    """
    Store the members of an audience, and send those who are treated.

    A failure ends it, once the requests under way are answered and recorded; the
    delivery has its message. So does Ctrl-C, which is raised.

    Raises:
        RunInProgress: Another delivery of the audience is under way.
        RequestError, SettingsError, MissingTable, Unavailable: Nothing was sent.
    """
    with (
        _opened(plan, clock) as (deployment, _, destination),
        _alone(deployment, plan.audience, clock),
    ):
        # Again, alone: nobody else stores other members meanwhile.
        audience = _audience(plan, deployment, clock)
        if not audience.is_stored:
            _check_not_empty(plan, audience, destination)
            if audience.members:
                store(deployment, audience)
        ledger = _ledger(plan, deployment, audience, destination, clock)
        recorded = ledger.recorded()
        _check_is_newest(deployment, audience, destination, recorded)
        return deliver(
            audience,
            use_case=deployment.use_case.name,
            destination=destination,
            ledger=ledger,
            recorded=recorded,
            suppressed=suppression.Followed(
                deployment.warehouse, clock=clock.monotonic
            ).now,
            is_quiet=plan.is_quiet,
        )


@contextlib.contextmanager
def _alone(deployment: Deployment, audience: str, clock: Clock) -> Iterator[None]:
    """Keep a lease of an audience's deliveries, whatever their date, for a block."""
    leases = Leases(deployment.artifacts, deployment.use_case.name)
    try:
        lease = leases.begin(
            f"audience-{audience}",
            ANY_DATE,
            run_id=uuid.uuid4().hex,
            now=clock.now(),
            duration=timedelta(minutes=LEASE_MINUTES),
            again=True,
        )
    except RunInProgress as error:
        raise RunInProgress(
            f"another delivery of {audience} is under way, or was killed just now: "
            f"wait until it ends, or for {LEASE_MINUTES} minutes if it was killed"
        ) from error
    assert not isinstance(lease, Finished)
    with leases.kept(lease, clock=clock.now, threads=THREADS):
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            # The error of the block matters more than this one; the lease expires.
            with contextlib.suppress(PropensityError):
                leases.release(lease, error=type(error).__name__, at=clock.now())
            raise
    leases.finish(lease, {}, at=clock.now())


def _check_is_newest(
    deployment: Deployment,
    audience: Audience,
    destination: Destination,
    recorded: Recorded,
) -> None:
    """
    Raise RequestError where users are left to be sent, and a newer date was sent.

    They would be put back on a list from which they may have been taken since.
    """
    done = {key for key, (status, _) in recorded.items() if status != PENDING}
    if all((ADD, member.user_id) in done for member in audience.treated):
        return
    rows = deployment.rows(
        statement("audience_deliveries", own=SQL), audience=audience.name
    )
    newer = [row["as_of"] for row in rows if row["destination"] == destination.name]
    if newer and max(newer) > audience.as_of:
        raise RequestError(
            f"{audience.name} as of {max(newer)} was sent to {destination.name} "
            f"already: the older one of {audience.as_of} would put back users who have "
            "left since",
            field="as_of",
        )


def _check_not_empty(plan: Plan, audience: Audience, destination: Destination) -> None:
    can_remove = REMOVE in destination.actions
    if audience.members or (plan.may_be_empty and can_remove):
        return
    raise RequestError(
        f"no user of {audience.as_of} is in the audience: {audience.selection}. "
        + (
            "If that is intended, --allow-empty removes everyone added earlier"
            if can_remove
            else f"{destination.name} cannot remove those added earlier"
        ),
        field="audience",
    )


@contextlib.contextmanager
def _opened(
    plan: Plan, clock: Clock
) -> Iterator[tuple[Deployment, Audience, Destination]]:
    with promote.opened(plan.use_case) as deployment:
        destination = opened(plan.to, deployment, audience=plan.audience)
        with contextlib.closing(destination):
            yield deployment, _audience(plan, deployment, clock), destination


def _audience(plan: Plan, deployment: Deployment, clock: Clock) -> Audience:
    return find_or_choose(
        deployment,
        plan.audience,
        rule=plan.rule,
        group=plan.group or plan.audience,
        share=plan.control,
        until=plan.until or clock.now().date(),
        now=clock.now(),
    )


def _ledger(
    plan: Plan,
    deployment: Deployment,
    audience: Audience,
    destination: Destination,
    clock: Clock,
) -> Ledger:
    return Ledger(
        deployment,
        audience=audience.name,
        as_of=audience.as_of,
        destination=destination.name,
        now=clock.now,
        flushed_at=plan.flushed_at,
    )
