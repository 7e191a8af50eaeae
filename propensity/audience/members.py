"""
The members of an audience: chosen once for an as-of date, and the same ever after.

Whoever is on the list of suppressed users is never chosen. The probabilities are those
of consenting users where the deployment demands consent.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from propensity.audience.selection import Control, Member, Plan, choose, read_by
from propensity.errors import RequestError
from propensity.privacy import consent, suppression
from propensity.registry.deployment import Deployment
from propensity.statements import statement
from propensity.tables import every as tables

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
    def key(self) -> dict[str, Any]:
        """Use case, name and date, as tables have them."""
        return {"use_case": self.use_case, "audience": self.name, "as_of": self.as_of}

    @property
    def treated(self) -> list[Member]:
        """The members who are not held out."""
        return [member for member in self.members if not member.is_control]


def find_or_choose(deployment: Deployment, plan: Plan, *, now: datetime) -> Audience:
    """
    Return the audience of the newest publication: stored members, or new ones.

    Nothing is written, but for the key of control groups.

    Raises:
        RequestError: There is no publication, the audience had another control group
            before, or was chosen or sent as of a newer date.
        Conflict: Another command has just created the key of control groups.
        MissingTable, SettingsError, Unavailable: As named.
    """
    use_case, warehouse = deployment.use_case, deployment.warehouse
    if use_case.reads_export:
        consent.check_view(warehouse, use_case)
    as_of, users = _publication(deployment, plan.until or now.date())
    sql = statement("audience_selections")
    selections = {
        row["as_of"]: row for row in deployment.rows(sql, audience=plan.audience)
    }
    control = Control(
        key=_key_of(deployment, is_new=not selections),
        group=plan.group or plan.audience,
        share=plan.control,
    )
    sent = deployment.rows(statement("audience_deliveries"), audience=plan.audience)
    newest = max({*selections, *(row["as_of"] for row in sent)}, default=as_of)
    if newest > as_of:
        raise RequestError(
            f"{plan.audience} was already chosen for {newest}, so it cannot be chosen "
            f"for the earlier {as_of}: that would add users again who have left, and "
            "distort the measured lift",
            field="as_of",
        )
    if selections:
        _check_comparable(plan, selections[max(selections)], control)
    stored = selections.get(as_of)
    parameters = {"use_case": use_case.name, "as_of": as_of}
    suppressed = suppression.read(warehouse)
    if stored is None:
        sql = statement("audience_candidates")
        parameters |= read_by(
            plan.rule, control, users=users, suppressed=len(suppressed)
        )
    else:
        sql = statement("audience_members")
        parameters["audience"] = plan.audience
    rows = warehouse.table(sql, parameters)
    allowed = suppressed.without(rows, use_case.name)
    if stored is None:
        # BigQuery says nothing of the order in which it hands over its rows.
        ordered = allowed.sort_by([("probability", "descending"), ("tie", "ascending")])
        candidates = _members(ordered.drop_columns(["tie"]))
        members = choose(candidates, plan.rule, control, users=users)
    else:
        members = _members(allowed)
    return Audience(
        use_case=use_case.name,
        name=plan.audience,
        as_of=as_of,
        control=control,
        selection=stored["selection"] if stored else str(plan.rule),
        members=members,
        suppressed=len(rows) - len(allowed),
        is_stored=stored is not None,
        chosen_at=stored["selected_at"] if stored else now,
    )


def store(deployment: Deployment, audience: Audience) -> None:
    """Write the members of an audience: all of them or none."""
    rows = [
        {
            **audience.key,
            "control_group": audience.control.group,
            "control_share": audience.control.share,
            "selection": audience.selection,
            "selected_at": audience.chosen_at,
            **asdict(member),
        }
        for member in audience.members
    ]
    if rows:
        deployment.warehouse.write(tables.AUDIENCE_MEMBERS, rows)


def _members(rows: pa.Table) -> list[Member]:
    return [Member(**row) for row in rows.to_pylist()]


def _key_of(deployment: Deployment, *, is_new: bool) -> bytes:
    """Return the key of control groups; one is made only for a new audience."""
    artifacts = deployment.artifacts
    if is_new and artifacts.find(KEY) is None:
        key = json.dumps({"key": secrets.token_hex(32)}).encode()
        artifacts.create(KEY, key, content_type="application/json")
    return bytes.fromhex(json.loads(artifacts.read(KEY).data)["key"])


def _check_comparable(plan: Plan, before: Mapping[str, Any], control: Control) -> None:
    """Raise RequestError if the audience had another control group before."""
    group, share = before["control_group"], before["control_share"]
    if (group, share) != (control.group, control.share):
        raise RequestError(
            f"{plan.audience} has a control group of {share:.3g} named {group}. You "
            f"asked for {control.share:.3g} named {control.group}, which would put "
            "users into it who were already contacted",
            hint="Keep the old values, or use another audience name",
            field="control",
        )


def _publication(deployment: Deployment, until: date) -> tuple[date, int]:
    """Return the date of the newest publication, and its number of users."""
    name = deployment.use_case.name
    if deployment.use_case.scores_events:
        raise RequestError(
            f"{name} scores events, and an audience consists of users", field="use_case"
        )
    sql = statement("newest_publication")
    rows = deployment.rows(sql, as_of=until)
    if not rows:
        raise RequestError(
            f"{name} has no predictions up to {until}",
            hint="Call 01-Predictions",
            field="as_of",
        )
    return rows[0]["as_of"], rows[0]["users"]
