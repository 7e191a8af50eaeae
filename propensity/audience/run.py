"""
The preview of an audience, its delivery and its end, one at a time; and where it goes.

A destination is files in the bucket, or the file ``destinations/NAME.toml``.

An end is a delivery of nobody, as of a date after all others: who is on the list of a
destination is taken off by the same course, so what is pending is sent again with its
key. The audience's file may be gone; the destination's is needed.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path

import msgspec

from propensity import errors
from propensity.audience import declared, stopping
from propensity.audience.control import USER, user_column
from propensity.audience.declared import (
    BUCKET,
    CSV,
    FILES,
    Declared,
    DeclaredAudience,
)
from propensity.audience.delivery import Delivery, DeliveryResult, Watched, unwatched
from propensity.audience.destination import (
    ADD,
    REMOVE,
    Destination,
    Refused,
    Request,
    Sent,
    Unanswered,
)
from propensity.audience.files import CsvFiles, ParquetFiles
from propensity.audience.google import GoogleFile
from propensity.audience.http import DestinationFile, HttpFile
from propensity.audience.lists import Listed, listed
from propensity.audience.members import Audience, find_or_choose, nobody, store
from propensity.audience.plan import needed, planned
from propensity.audience.requests import RequestLog
from propensity.audience.templates import concealed, secrets_in
from propensity.audience.warnings import warnings_of
from propensity.clock import SYSTEM, Clock
from propensity.entries import explain
from propensity.errors import RequestError, UseCaseError
from propensity.registry.deployment import Deployment
from propensity.registry.leases import leased
from propensity.statements import read_text
from propensity.tables.audiences import AUDIENCE_PLANS
from propensity.timeframe import DAY
from propensity.usecases import UseCase

# The files of receivers, by their kind.
KINDS: Mapping[object, type[DestinationFile]] = {"http": HttpFile, "google": GoogleFile}
# Older predictions send no one: the week's own are late.
FRESH = timedelta(days=7)
# Users of whom the ledger does not say yet what became.
OPEN = ("pending", "waiting")
# Returns the value of a secret by its name, or raises SettingsError.
Secret = Callable[[str], str]


def preview(
    deployment: Deployment,
    named: DeclaredAudience,
    secret: Secret,
    *,
    until: date | None = None,
    validate: bool = False,
    clock: Clock = SYSTEM,
) -> dict[str, object]:
    """
    Return what a delivery would do. Writes nothing, but for the key of control groups.

    Args:
        until: The newest publication up to this date counts; None for today.
        validate: Whether the receiver is asked if it would take the first request; of
            those that can say so without taking it.

    Returns:
        Counts, and the plan, as ``planned`` has it.

    Raises:
        RequestError, SettingsError, UseCaseError, MissingTable, Unavailable: As named.
    """
    log = _opened(deployment, named, secret, until, clock)
    audience = log.audience
    sums = audience.sums
    users = Counter[str]()
    count = 0
    first = None
    for request in log.requests():
        if request.barred:
            continue
        if first is None:
            first = request
        users[request.action] += len(request.members)
        count += 1
    if log.destination.requests_of_a_file:
        count = math.ceil(count / log.destination.requests_of_a_file)
    cost = named.declared.cost
    plan = planned(deployment, named, audience)
    columns = plan.columns()
    del columns["planned_at"], columns["control_key"]
    warnings = warnings_of(
        named,
        audience,
        log.destination,
        user_column=user_column(deployment, deployment.use_case),
        plan=plan,
        others=_other_groups(deployment.use_case, named, audience.as_of),
        renamed=_renamed(deployment, audience, log.destination),
    )
    return {
        **log.about,
        "members_before": audience.last_size,
        "selection": audience.selection,
        "is_stored": audience.is_stored,
        "treated": sums.treated,
        "outcome": deployment.use_case.outcome,
        "expected": round(sums.expected if sums.expected else 0.0, 1),
        "suppressed": sums.left_out,
        "sent_before": sums.treated - users[ADD],
        "to_remove": users[REMOVE],
        "requests": count,
        "cost": None if cost is None else cost * sums.treated,
        "validated": _validated(log.destination, first) if validate else None,
        "warnings": list(warnings),
        "is_stopped": stopping.read(deployment.artifacts).covers(
            deployment.use_case.name, named.name
        ),
        "members_needed": needed(audience, plan, named.declared),
        **columns,
    }


def _validated(destination: Destination, first: Request | None) -> str:
    """Return in a word what a receiver says of the first request."""
    try:
        destination.validate([] if first is None else [first])
    except Unanswered as unanswered:
        return str(unanswered)
    except Refused as refusal:
        return f"refused: {refusal}"
    return "yes"


def send(
    deployment: Deployment,
    named: DeclaredAudience,
    secret: Secret,
    *,
    until: date | None = None,
    may_be_empty: bool = False,
    scheduled_on: date | None = None,
    ends_at: float = math.inf,
    watched: Watched = unwatched,
    clock: Clock = SYSTEM,
) -> DeliveryResult:
    """
    Store the members of an audience, and send those who are treated.

    Args:
        may_be_empty: Whether an empty audience takes users of earlier dates off the
            list.
        scheduled_on: The day on which the clock sends it; None where a person does.
        ends_at: As of ``Delivery``; the next delivery goes on.

    Returns:
        What was done.

    Raises:
        RunInProgress: Another delivery of the audience is under way.
        SendingStopped: The audience is stopped, or the deployment sends nothing.
        AudienceWaits: The week's predictions are not there yet.
        AudienceStopped: A person must send this date, or decide not to.
        RequestError, SettingsError, UseCaseError, MissingTable, Unavailable: Nothing
            was sent.
    """
    with _alone(deployment, named.name, clock) as check:
        log = _opened(deployment, named, secret, until, clock)
        audience = log.audience
        if scheduled_on:
            _check_version(deployment, audience)
            sends = deployment.settings.sends == "yes"
            _check_unattended(audience, log.destination, scheduled_on, sends=sends)
        if not audience.is_stored:
            _check_not_empty(audience, log.destination, may_be_empty=may_be_empty)
            plan = planned(deployment, named, audience)
            check()
            # First what the control group is drawn by: no member is there without it.
            deployment.warehouse.write(AUDIENCE_PLANS, [plan])
            log.audience = store(deployment, audience)
        return Delivery(log, check=check, ends_at=ends_at).run(watched)


def end(
    deployment: Deployment,
    listing: Listed,
    secret: Secret,
    *,
    is_by_hand: bool = False,
    ends_at: float = math.inf,
    watched: Watched = unwatched,
    clock: Clock = SYSTEM,
) -> DeliveryResult:
    """
    Take the users of an audience off a list.

    Args:
        listing: The audience and the list.
        is_by_hand: Whether a person has removed them; it is only recorded.
        ends_at: As of ``Delivery``.

    Raises:
        RunInProgress: A delivery of the audience is under way.
        SendingStopped: The audience is stopped, or the deployment sends nothing; a
            removal by hand may be recorded all the same.
        RequestError: The destination cannot remove users, or has no file any more.
        UseCaseError, SettingsError, MissingTable, Unavailable: As named; nothing was
            sent.
    """
    name = listing.audience
    with _alone(deployment, name, clock, is_sent=not is_by_hand) as check:
        destination: Destination = ByHand(listing.destination)
        if not is_by_hand:
            destination = _opened_to_remove(deployment, listing, secret)
        log = RequestLog(
            deployment,
            nobody(deployment, name, _ending_date(deployment, name), clock.now()),
            destination,
            clock,
        )
        return Delivery(log, check=check, ends_at=ends_at).run(watched)


@contextmanager
def _alone(
    deployment: Deployment, audience: str, clock: Clock, *, is_sent: bool = True
) -> Iterator[Callable[[], None]]:
    """
    Let no other delivery of an audience begin; yield what is asked before each request.

    Args:
        is_sent: Whether it is sent to a receiver, which a person may have stopped.
    """
    name = deployment.use_case.name
    kind = f"audience-{audience}"
    with leased(deployment.artifacts, name, kind, clock=clock.now) as lease:

        def check() -> None:
            lease.check()
            if is_sent:
                stopping.check(deployment, audience)

        check()
        yield check


def _opened(
    deployment: Deployment,
    named: DeclaredAudience,
    secret: Secret,
    until: date | None,
    clock: Clock,
) -> RequestLog:
    audience = find_or_choose(deployment, named, until=until, now=clock.now())
    destination = opened(
        named, deployment, secret, columns=audience.columns, clock=clock
    )
    if audience.control.by != USER:
        destination.take_for_address(audience.control.by)
    _check_moved(deployment, named.name, destination.name)
    return RequestLog(deployment, audience, destination, clock)


def _check_unattended(
    audience: Audience, destination: Destination, day: date, *, sends: bool
) -> None:
    """
    Stop a delivery by the clock that a person must look at.

    Args:
        sends: Whether the deployment sends to receivers: if not, nobody need look.

    Raises:
        AudienceWaits, AudienceStopped: As of ``send``.
    """
    name = audience.name
    size = audience.sums.members
    before = audience.last_size
    if audience.as_of <= day - FRESH:
        raise errors.AudienceWaits(
            f"{name} waits: the newest predictions are of {audience.as_of}, a week or "
            f"more before {day}. Once 01-Predictions has published newer ones, the "
            "next call sends it"
        )
    words = f"{name} --use-case {audience.use_case}"
    by_hand = f"look at `propensity audience preview {words}`, then send this date "
    by_hand += f"yourself: propensity audience send {words}"
    if sends and destination.name not in audience.sent_to:
        raise errors.AudienceStopped(
            f"{name} was never sent to {destination.name}, and a person sends the "
            f"first date: {by_hand}"
        )
    if audience.is_stored or before is None:
        return
    if size > 2 * before or 2 * size < before:
        raise errors.AudienceStopped(
            f"{name} has {size:,} members, and had {before:,} as of the date before: "
            f"more than twice or less than half as many are not sent. {by_hand}"
        )


def _check_version(deployment: Deployment, audience: Audience) -> None:
    """Raise AudienceWaits where the predictions are of a version rolled back since."""
    champion = deployment.registry.champion()
    if champion is None:
        return
    day = audience.as_of
    [newest] = deployment.rows("newest_publication", since=day, until=day)
    version = newest["model_version"]
    if version not in [champion.version] + list(champion.earlier):
        request = json.dumps({"use_case": audience.use_case, "force": True})
        raise errors.AudienceWaits(
            f"{audience.name} waits: the predictions of {day} are of version "
            f"{version}, which was rolled back. To predict again: deploy/call.sh "
            f"predictions '{request}'"
        )


def _check_not_empty(
    audience: Audience, destination: Destination, *, may_be_empty: bool
) -> None:
    can_remove = REMOVE in destination.actions
    if not (audience.sums.members or (may_be_empty and can_remove)):
        advice = f"{destination.name} cannot remove the users added earlier"
        if can_remove:
            advice = "If that is intended, --allow-empty removes everyone added earlier"
        raise RequestError(
            f"the audience is empty for {audience.as_of}: {audience.selection}",
            hint=advice,
            field="audience",
        )


def _other_groups(use_case: UseCase, named: DeclaredAudience, as_of: date) -> list[str]:
    """Return the audiences, not ended, that draw another control group."""
    others = []
    for name in declared.names(use_case):
        # A fault of another file is told where that audience is used.
        with suppress(UseCaseError):
            other = declared.load(use_case, name)
            until = other.declared.until
            is_apart = other.group != named.group and not named.leaves_out(name)
            if is_apart and (until is None or until >= as_of):
                others.append(name)
    return others


def _renamed(
    deployment: Deployment, audience: Audience, destination: Destination
) -> list[str]:
    """Return audiences without a file that have users there, if this one is new."""
    if audience.is_stored or audience.last_size is not None:
        return []
    names = declared.names(deployment.use_case)
    renamed = []
    for listing in listed(deployment):
        is_there = listing.destination == destination.name
        if is_there and listing.audience not in names:
            renamed.append(listing.audience)
    return renamed


def _check_moved(deployment: Deployment, audience: str, destination: str) -> None:
    """
    Make sure that nobody stays on the list of an earlier destination.

    Args:
        destination: Where the audience goes now.

    Raises:
        RequestError: An earlier destination still has users of the audience.
        SendingStopped: A destination has, and the deployment sends nothing.
    """
    for listing in listed(deployment):
        if listing.audience == audience and listing.destination != destination:
            _check_sends(deployment, listing)
            raise RequestError(
                f"{listing.users:,} users of {audience} are on the list of "
                f"{listing.destination}, and nobody would take them off, because the "
                f"audience now goes to {destination}",
                hint="Restore the former name or destination, or take them off first: "
                f"propensity audience end {audience} --destination "
                f"'{listing.destination}'",
                field="destination",
            )


def _check_sends(deployment: Deployment, listing: Listed) -> None:
    """Raise SendingStopped where the deployment sends nothing: users on a list wait."""
    if deployment.settings.sends == "no":
        raise errors.SendingStopped(
            f"this deployment does not send (PROPENSITY_SENDS is no), so "
            f"{listing.users:,} users of {listing.audience} stay on the list of "
            f"{listing.destination}",
            hint="To go on, set PROPENSITY_SENDS=yes and deploy",
            detail={"on_lists": listing.users},
        )


# -- the end --------------------------------------------------------------------------


class ByHand(Destination):
    """A person, who has removed the users."""

    batch = 100_000
    actions: Sequence[str] = (REMOVE,)

    def __init__(self, name: str) -> None:
        self.name = name

    def send(self, request: Request) -> Sent:
        """Do nothing: it is done."""
        return Sent()


def _ending_date(deployment: Deployment, audience: str) -> date:
    """Return the date of an ending that was interrupted, or the first one without."""
    # The newest date comes first.
    rows = deployment.rows("audience_deliveries", audience=audience)
    newest: date = rows[0]["as_of"]
    last = [row for row in rows if row["as_of"] == newest]
    is_ending = all(row["action"] == REMOVE for row in last)
    is_open = any(row["status"] in OPEN for row in last)
    return newest if is_ending and is_open else newest + DAY


def _opened_to_remove(
    deployment: Deployment, listing: Listed, secret: Secret
) -> Destination:
    """Open the destination that has a list; raises as ``end``."""
    name = listing.audience
    by_hand = (
        f"remove the {listing.users:,} users there yourself, then record it: "
        f"propensity audience end {name} --destination '{listing.destination}' "
        "--removed-by-hand"
    )
    folder = declared.folder_of(deployment.use_case)
    file = _file_of(folder / "destinations", listing.destination)
    _check_sends(deployment, listing)
    if file is None:
        raise RequestError(
            f"{listing.users:,} users of {name} are on the list of "
            f"{listing.destination}, and no file in audiences/destinations has this "
            "name",
            hint=f"Restore the file; or {by_hand}",
            field="destination",
        )
    # The columns that users on the list were sent with.
    columns = set[str]()
    of_list = {"audience": name, "destination": listing.destination}
    for row in deployment.rows("list_columns", **of_list):
        if row["attributes"] is not None:
            columns.update(json.loads(row["attributes"]))
    named = DeclaredAudience(name, folder, Declared(destination=file, top=1))
    destination = opened(named, deployment, secret, columns=sorted(columns))
    if REMOVE not in destination.actions:
        raise RequestError(
            f"{listing.destination} cannot remove users, and {listing.users:,} of "
            f"{name} are on its list",
            hint=f"If it can, add [remove] to its file; otherwise {by_hand}",
            field="destination",
        )
    return destination


def _file_of(folder: Path, name: str) -> str | None:
    """Return the file, without its ``.toml``, of the destination of a name."""
    for file in sorted(folder.glob("*.toml")):
        try:
            entries = tomllib.loads(read_text(folder, file.name))
        except (UseCaseError, ValueError):
            continue
        if entries.get("name") == name:
            return file.stem
    return None


# -- destinations ---------------------------------------------------------------------


def opened(
    named: DeclaredAudience,
    deployment: Deployment,
    secret: Secret,
    *,
    columns: Sequence[str] = (),
    clock: Clock = SYSTEM,
) -> Destination:
    """
    Open the destination of an audience; files where the deployment sends to nobody.

    Args:
        secret: Gives what ``${NAME}`` in a file stands for: no secret is in the file.
        columns: Names of the members' further columns, which a file may name.

    Raises:
        UseCaseError: The file is missing or wrong; the message says where.
        RequestError: Analytics does not know these users.
        SettingsError: There is no secret of a name.
    """
    if named.declared.destination == CSV:
        return CsvFiles(deployment.artifacts, named.declared.order)
    # Who sends to nobody still has the files, by which an audience can be looked at.
    if named.declared.destination == BUCKET or deployment.settings.sends == "no":
        return ParquetFiles(deployment.artifacts)
    folder = named.folder / "destinations"
    file = f"{named.declared.destination}.toml"
    variables: dict[str, str] = {}
    entries: Mapping[str, object] = {}
    kind: type[DestinationFile] = HttpFile
    try:
        if not (folder / file).is_file():
            raise FileNotFoundError
        template = tomllib.loads(read_text(folder, file))
        kind = kind_of(template)
        variables = {f"${name}": secret(name) for name in secrets_in(template)}
        entries = kind.entries(template, variables, named.name)
        chosen = msgspec.convert(entries, kind)
        return chosen.opened(deployment, variables, columns=columns, clock=clock)
    except (OSError, ValueError) as error:
        reason = "there is no such file"
        if isinstance(error, ValueError):
            reason = explain(error, entries, kind)
        raise UseCaseError(
            f"audiences/destinations/{file}: {concealed(reason, variables.values())}. "
            "docs/destinations.md has the entries of such a file; the destinations "
            f"{' and '.join(map(repr, FILES))} need none"
        ) from None


def kind_of(template: Mapping[str, object]) -> type[DestinationFile]:
    """Return what reads a file, by its kind; of an unknown one HttpFile tells."""
    return KINDS.get(template.get("kind"), HttpFile)
