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

from offline.audience.selection import MOST_USERS, Control, Member, Plan, Rule, choose
from offline.deployment import Deployment
from propensity.errors import Conflict, MissingTable, RequestError
from propensity.privacy import consent, suppression
from propensity.privacy.suppression import Suppressed
from propensity.statements import statement
from propensity.tables import every as tables

SQL = resources.files(__package__)

# The key of control groups; the first command that needs it creates it.
KEY = "audiences/key.json"


@dataclass(frozen=True, kw_only=True)
class Audience:
    """
    An audience of an as-of date.

    Attributes:
        selection: How members were chosen, in words.
        suppressed: Number of users who are no members because they are suppressed.
    """

    use_case: str
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


def find_or_choose(deployment: Deployment, plan: Plan, *, now: datetime) -> Audience:
    """
    Return the audience of the newest publication: stored members, or new ones.

    Nothing is written, but for the key of control groups.

    Raises:
        RequestError: There is no publication, or the audience had another control
            group before, or was chosen of a newer publication.
        MissingTable, SettingsError, Unavailable: As named.
    """
    use_case, name = deployment.use_case, plan.audience
    if use_case.reads_export:
        consent.check_view(deployment.warehouse, use_case)
    as_of = _publication(deployment, plan.until or now.date())
    suppressed = suppression.read(deployment.warehouse)
    earlier = deployment.rows(statement("audience_selections", own=SQL), audience=name)
    control = Control(
        key=_key_of(deployment, is_new=not earlier),
        group=plan.group or name,
        share=plan.control,
    )
    _check_earlier(plan, earlier, as_of, control)
    stored = next((row for row in earlier if row["as_of"] == as_of), None)
    if stored is None:
        members, left_out = _chosen(deployment, as_of, plan.rule, control, suppressed)
    else:
        rows = deployment.rows(
            statement("audience_members", own=SQL), audience=name, as_of=as_of
        )
        members = [
            Member(row["user_id"], row["probability"], row["is_control"])
            for row in rows
            if not suppressed.covers(row["user_id"], use_case.name)
        ]
        left_out = len(rows) - len(members)
    return Audience(
        use_case=use_case.name,
        name=name,
        as_of=as_of,
        control=control,
        selection=str(plan.rule) if stored is None else stored["selection"],
        members=members,
        suppressed=left_out,
        is_stored=stored is not None,
        chosen_at=now if stored is None else stored["selected_at"],
    )


def store(deployment: Deployment, audience: Audience) -> None:
    """Write the members of an audience: all of them or none."""
    rows = [
        {
            "use_case": audience.use_case,
            "audience": audience.name,
            "as_of": audience.as_of,
            "control_group": audience.control.group,
            "control_share": audience.control.share,
            "selection": audience.selection,
            "selected_at": audience.chosen_at,
            "user_id": member.user_id,
            "probability": member.probability,
            "is_control": member.is_control,
        }
        for member in audience.members
    ]
    table = tables.AUDIENCE_MEMBERS
    deployment.warehouse.write(
        table, pa.Table.from_pylist(rows, schema=table.arrow_schema())
    )


def _key_of(deployment: Deployment, *, is_new: bool) -> bytes:
    """Return the key of control groups; one is made only for a new audience."""
    artifacts = deployment.artifacts
    if is_new and artifacts.find(KEY) is None:
        key = json.dumps({"key": secrets.token_hex(32)}).encode()
        # Another command may create a key at the same moment.
        with contextlib.suppress(Conflict):
            artifacts.create(KEY, key, content_type="application/json")
    return bytes.fromhex(json.loads(artifacts.read(KEY).data)["key"])


def _check_earlier(
    plan: Plan, selections: list[Any], as_of: date, control: Control
) -> None:
    """Raise RequestError if what was chosen before does not allow this audience."""
    if not selections:
        return
    newest = selections[0]
    group, share = newest["control_group"], newest["control_share"]
    if (group, share) != (control.group, control.share):
        raise RequestError(
            f"{plan.audience} holds out {share:.3g} of its users by the control group "
            f"{group!r}, and is to hold out {control.share:.3g} by {control.group!r}: "
            "who was treated cannot be compared as held out. Keep it, or give the "
            "audience another name",
            field="control",
        )
    is_stored = any(row["as_of"] == as_of for row in selections)
    if newest["as_of"] > as_of and not is_stored:
        raise RequestError(
            f"{plan.audience} was chosen as of {newest['as_of']} already, and a user "
            f"counts in the first week as a member: nobody is chosen as of {as_of} "
            "after that",
            field="as_of",
        )


def _publication(deployment: Deployment, until: date) -> date:
    name = deployment.use_case.name
    if deployment.use_case.scores_events:
        raise RequestError(
            f"{name} scores events: an audience is of users", field="use_case"
        )
    newest: date | None = None
    # Without the table nothing was published either.
    with contextlib.suppress(MissingTable):
        sql = statement("newest_publication", own=SQL)
        newest = deployment.rows(sql, as_of=until)[0]["as_of"]
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
    suppressed: Suppressed,
) -> tuple[list[Member], int]:
    """
    Return members, and how many better or equal users are suppressed.

    No more is read than a rule needs: the best N, or a budget's users and as many more
    as can be held out of them by chance.
    """
    use_case, most = deployment.use_case.name, MOST_USERS
    if rule.by == "top":
        most = int(rule.value) + len(suppressed)
    elif rule.treated is not None:
        # Too few by chance once in 10^18 times, whatever the budget and the share.
        enough = 1.5 * rule.treated / (1 - control.share) + 1_000
        most = ceil(enough) + len(suppressed)
    parameters = {
        "use_case": use_case,
        "as_of": as_of,
        "least": float(rule.value) if rule.by == "threshold" else 0.0,
        "above": 100 - 10 * int(rule.value) if rule.by == "deciles" else 0,
        "most": min(most, MOST_USERS),
    }
    sql = statement("audience_candidates", own=SQL)
    rows = deployment.warehouse.table(sql, parameters)
    kept = suppressed.without(rows, use_case)
    columns = kept["user_id"].to_pylist(), kept["probability"].to_pylist()
    members = choose(list(zip(*columns, strict=True)), rule, control)
    return members, len(rows) - len(kept)
