"""
The draw of a control group: one for all audiences of a deployment that share its name.

It is a keyed hash of the user id, or of what the destination knows people by: so it is
the same every week and in every use case, and a person who is known by several ids is
held out by all of them. Each group has a key of its own, derived from the deployment's:
whoever knows it can't tell the draw of another group.

An audience of another draw would contact those who are held out, and is refused: by the
files of the others, and by the plans of all that was sent.
"""

from __future__ import annotations

import hmac
import json
import math
import secrets
from dataclasses import asdict, dataclass
from functools import cached_property

from propensity.audience.declared import DeclaredAudience, all_audiences
from propensity.errors import ArtifactError, RequestError
from propensity.gcp.artifacts import Artifacts
from propensity.ids import USER
from propensity.registry.deployment import Deployment
from propensity.statements import statement

# The key of control groups; the first audience of a deployment creates it.
KEY = "audiences/key.json"


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How a control group is drawn: by users or a column, a share of 0 to 0.9."""

    group: str
    share: float
    by: str = USER

    def words(self, column: str | None = None) -> str:
        """Return the draw in words, with the column that names users if that is it."""
        text = f"{100 * self.share:.3g}% by {self.by}"
        return f"{text} ({column})" if column and self.by == USER else text


@dataclass(frozen=True, kw_only=True)
class Control(Draw):
    """A control group: its draw, and the deployment's key."""

    key: bytes

    @property
    def fingerprint(self) -> str:
        """Sixteen digits by which the key is recognised, and which do not reveal it."""
        return hmac.digest(self.key, b"", "sha256").hex()[:16]

    @property
    def tie_key(self) -> str:
        """The key by which users who share a probability are put in order."""
        return hmac.digest(self.key, f"ties\0{self.group}".encode(), "sha256").hex()

    @cached_property
    def group_key(self) -> bytes:
        """The key by which this group is drawn, and no other."""
        return hmac.digest(self.key, f"draw\0{self.group}".encode(), "sha256")

    @property
    def parameters(self) -> dict[str, object]:
        """What SQL draws with: without the root of the keys, as BigQuery keeps it."""
        key = self.group_key.ljust(64, b"\0")
        return {
            "inner_pad": bytes(byte ^ 0x36 for byte in key),
            "outer_pad": bytes(byte ^ 0x5C for byte in key),
            "share": f"{math.ceil(self.share * 2**64):016x}",
            "tie_key": self.tie_key,
        }


def control_of(deployment: Deployment, named: DeclaredAudience) -> Control:
    """
    Return the control group of an audience, unless it would contact who is held out.

    Nothing is written, but the key, if the deployment has never sent an audience.
    """
    draw = draw_of(named)
    column = deployment.use_case.user_column(deployment.settings)
    if draw.by == USER and draw.share and column == "person":
        raise RequestError(
            f"{named.name} draws its control group by user id, and with "
            "PROPENSITY_USER_COLUMN=person the id changes when a browser logs in: "
            "users of the control group would be contacted then",
            hint="Set control_by to a column of the audience's SQL that a person "
            "keeps, such as the e-mail address or the customer number",
            field="control_by",
        )
    plans = deployment.warehouse.rows(statement("audience_draws"), {})
    key = _key_of(deployment.artifacts, is_first=not plans)
    control = Control(**asdict(draw), key=key)
    who = f"{named.name} of {deployment.use_case.name}"
    sent = {f"{row['audience']} of {row['use_case']}" for row in plans}
    others = list[tuple[str, Draw, str | None]]()
    for use_case, other_audience in all_audiences():
        other = f"{other_audience.name} of {use_case.name}"
        # An audience that was never sent does not stop one that was: it is refused.
        if who not in sent or other in sent:
            of_other = use_case.user_column(deployment.settings)
            others.append((other, draw_of(other_audience), of_other))
    for row in plans:
        other = f"{row['audience']} of {row['use_case']}"
        if row["control_key"] != control.fingerprint:
            raise ArtifactError(
                f"{KEY} is not the key that drew the control group of {other}: users "
                "would be contacted who were held out",
                hint="Restore the generation of that key",
            )
        former = Draw(
            group=row["control_group"], share=row["control_share"], by=row["control_by"]
        )
        if other == who and former != draw:
            raise RequestError(
                f"{named.name} has the control group {former.group}, "
                f"{former.words()}. You asked for {draw.group}, {draw.words()}, which "
                "would contact users who were held out, or hold out users who were "
                "contacted",
                hint="Keep the old values, or use another audience name",
                field="control",
            )
        others.append((other, former, None))
    for other, shared, of_other in others:
        is_one = shared == draw
        if is_one and draw.by == USER and draw.share:
            is_one = column is None or of_other in (None, column)
        if shared.group == draw.group and other != who and not is_one:
            raise RequestError(
                f"{named.name} and {other} share the control group {draw.group}, but "
                f"hold out different users: {draw.words(column)}, and "
                f"{shared.words(of_other)}. Each would contact people whom the other "
                "one holds out",
                hint="Give both the same control and control_by, a column that both "
                "have; or name another control_group, and leave each other's members "
                "out: docs/audiences-reference.md#who-may-be-a-member",
                field="control",
            )
    return control


def draw_of(named: DeclaredAudience) -> Draw:
    """Return how the file of an audience has its control group drawn."""
    declared = named.declared
    return Draw(group=named.group, share=declared.share, by=declared.control_by)


def _key_of(artifacts: Artifacts, *, is_first: bool) -> bytes:
    """Return the key; one is made only if nobody was ever drawn."""
    if artifacts.find(KEY) is None:
        if not is_first:
            raise ArtifactError(
                f"{artifacts.uri(KEY)} does not exist, and the control groups of all "
                "audiences were drawn by it: with another key, users would be "
                "contacted who were held out",
                hint="Restore its newest generation",
            )
        key = json.dumps({"key": secrets.token_hex(32)}).encode()
        artifacts.create(KEY, key, content_type="application/json")
    return bytes.fromhex(json.loads(artifacts.read(KEY).data)["key"])
