"""
The members of an audience: chosen once for an as-of date, and the same ever after.

Whoever is on the list of suppressed users is never chosen. The probabilities are those
of consenting users where the deployment demands consent.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from dataclasses import dataclass
from datetime import date, datetime
from importlib import resources
from math import ceil
from typing import Any

import pyarrow as pa

from offline.audience.selection import MOST_USERS, Control, Member, Rule, choose
from offline.promote import Deployment
from propensity import tables
from propensity.errors import Conflict, MissingTable, RequestError
from propensity.privacy import consent, suppression
from propensity.statements import statement

SQL = resources.files(__package__)

# The key of control groups; the first command that needs it creates it.
KEY = "audiences/key.json"
_KEY_BYTES = 32
# Columns that differ by member, in the order of the fields of ``Member``.
_OF_MEMBER = ("user_id", "probability", "is_control")


@dataclass(frozen=True, kw_only=True)
class Audience:
    """
    An audience of an as-of date.

    Attributes:
        selection: How members were chosen, in words.
        suppressed: Number of users who are no members because they are suppressed.
    """

    name: str
    as_of: date
    control: Control
    selection: str
    members: list[Member]
    suppressed: int
    is_stored: bool
    chosen_at: datetime

    @property
    def treated(self) -> list[Member]:
        """The members who are not held out."""
        return [member for member in self.members if not member.is_control]


def key_of(deployment: Deployment) -> bytes:
    """Return the key of control groups; create it if there is none."""
    stored = deployment.artifacts.find(KEY)
    if stored is None:
        key = json.dumps({"key": secrets.token_hex(_KEY_BYTES)}).encode()
        # Another command may create a key at the same moment.
        with contextlib.suppress(Conflict):
            deployment.artifacts.create(KEY, key, content_type="application/json")
        stored = deployment.artifacts.read(KEY)
    return bytes.fromhex(json.loads(stored.data)["key"])


def find_or_choose(
    deployment: Deployment,
    name: str,
    *,
    rule: Rule,
    group: str,
    share: float,
    until: date,
    now: datetime,
) -> Audience:
    """
    Return the audience of the newest publication: stored members, or new ones.

    Nothing is written, but for the key of control groups.

    Raises:
        RequestError: There is no publication, or the audience had another control
            group before: users who were treated cannot be held out any more. Or the
            audience was chosen of a newer one before, or drawn by another key.
        MissingTable: The set-up is older than audiences.
        PropensityError: As the warehouse's reads and ``suppression.read``.
    """
    warehouse, use_case = deployment.warehouse, deployment.use_case.name
    if deployment.use_case.reads_export:
        consent.check_view(warehouse, deployment.use_case)
    as_of = _publication(deployment, until)
    parameters = {"use_case": use_case, "audience": name}
    selections = deployment.rows(
        statement("audience_selections", own=SQL), audience=name
    )
    for earlier in selections[:1]:
        known = (earlier["control_group"], earlier["control_share"])
        if known != (group, share):
            raise RequestError(
                f"{name} has held out {known[1]:.3g} of its users by the control group "
                f"{known[0]!r} since {selections[-1]['as_of']}, and is to hold out "
                f"{share:.3g} by {group!r}: who was treated cannot be compared as held "
                "out. Keep it, or give the audience another name",
                field="control",
            )
    control = Control(key=key_of(deployment), group=group, share=share)
    suppressed = suppression.read(warehouse)
    stored = next((row for row in selections if row["as_of"] == as_of), None)
    if stored is None and selections and selections[0]["as_of"] > as_of:
        raise RequestError(
            f"{name} was chosen as of {selections[0]['as_of']} already, and a user "
            f"counts in the first week as a member: nobody is chosen as of {as_of} "
            "after that",
            field="as_of",
        )
    if stored is None:
        if selections:
            _check_key(
                deployment, parameters | {"as_of": selections[0]["as_of"]}, control
            )
        members, left_out = _chosen(deployment, as_of, rule, control, suppressed)
    else:
        rows = warehouse.table(
            statement("audience_members", own=SQL), parameters | {"as_of": as_of}
        )
        kept = suppressed.without(rows, use_case)
        left_out = len(rows) - len(kept)
        members = [
            Member(*row)
            for row in zip(
                *(kept[name].to_pylist() for name in _OF_MEMBER), strict=True
            )
        ]
    return Audience(
        name=name,
        as_of=as_of,
        control=control,
        selection=str(rule) if stored is None else stored["selection"],
        members=members,
        suppressed=left_out,
        is_stored=stored is not None,
        chosen_at=now if stored is None else stored["selected_at"],
    )


def store(deployment: Deployment, audience: Audience) -> None:
    """Write the members of an audience: all of them or none."""
    count = len(audience.members)
    fixed = {
        "use_case": deployment.use_case.name,
        "audience": audience.name,
        "as_of": audience.as_of,
        "control_group": audience.control.group,
        "control_share": audience.control.share,
        "selection": audience.selection,
        "selected_at": audience.chosen_at,
    }
    schema = tables.AUDIENCE_MEMBERS.arrow_schema()
    columns = {
        name: [getattr(member, name) for member in audience.members]
        for name in _OF_MEMBER
    } | {name: [value] * count for name, value in fixed.items()}
    deployment.warehouse.write(
        tables.AUDIENCE_MEMBERS,
        pa.table({field.name: columns[field.name] for field in schema}, schema=schema),
    )


def _check_key(
    deployment: Deployment, parameters: dict[str, Any], control: Control
) -> None:
    """Raise RequestError if earlier members were held out by another key."""
    rows = deployment.warehouse.table(
        statement("audience_members", own=SQL), parameters
    )
    drawn = zip(
        rows["user_id"].to_pylist(), rows["is_control"].to_pylist(), strict=True
    )
    if any(control.holds_out(user) != is_control for user, is_control in drawn):
        raise RequestError(
            f"{parameters['audience']} as of {parameters['as_of']} was drawn by "
            f"another key than {KEY} of the bucket has: who was held out would be "
            "treated. Restore that object, or give the audience another name",
            field="control",
        )


def _publication(deployment: Deployment, until: date) -> date:
    name = deployment.use_case.name
    if deployment.use_case.scores_events:
        raise RequestError(
            f"{name} scores events: an audience is of users", field="use_case"
        )
    try:
        [row] = deployment.rows(statement("newest_publication", own=SQL), as_of=until)
        newest: date | None = row["as_of"]
    except MissingTable:
        newest = None
    if newest is None:
        raise RequestError(
            f"{name} has published no probability up to {until}: run 01-Predictions",
            field="as_of",
        )
    return newest


def _chosen(
    deployment: Deployment,
    as_of: date,
    rule: Rule,
    control: Control,
    suppressed: suppression.Suppressed,
) -> tuple[list[Member], int]:
    """
    Return members, and how many better or equal users are suppressed.

    No more is read than a rule needs: the best N, or a budget's users and as many more
    as are probably held out.
    """
    most = MOST_USERS
    if rule.top is not None:
        most = rule.top + len(suppressed)
    elif rule.treated is not None:
        most = ceil(1.1 * rule.treated / (1 - control.share)) + 1_000
    while True:
        rows = deployment.warehouse.table(
            statement("audience_candidates", own=SQL),
            {
                "use_case": deployment.use_case.name,
                "as_of": as_of,
                "least": rule.threshold or 0.0,
                "above": 100 - 10 * rule.deciles if rule.deciles else 0,
                "most": min(most, MOST_USERS),
            },
        )
        kept = suppressed.without(rows, deployment.use_case.name)
        columns = kept["user_id"].to_pylist(), kept["probability"].to_pylist()
        members = choose(list(zip(*columns, strict=True)), rule, control)
        treated = sum(not member.is_control for member in members)
        if len(rows) < most or rule.treated is None or treated >= rule.treated:
            return members, len(rows) - len(kept)
        most *= 2
