"""
Who is in an audience, and which of its users are held out. Pure.

The control group is drawn by a keyed hash of the user: so it is the same every week,
and a larger share holds out whom a smaller one did. Two audiences with a control group
of one name hold out the same users.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

# The largest audience.
MOST_USERS = 1_000_000_000


@dataclass(frozen=True)
class Rule:
    """
    How members are chosen.

    Attributes:
        by: ``top``, so many users with the highest probabilities; ``deciles``, so many
            tenths of the users, again with the highest; ``threshold``, users with this
            probability or more; or ``budget``, as many as it pays for: who is held out
            costs nothing.
        value: The number of users or deciles, the probability or the amount.
        cost_per_user: Of a treated user; a budget needs it.
    """

    by: str
    value: int | float | Decimal
    cost_per_user: Decimal | None = None

    def __str__(self) -> str:
        """Say how members are chosen, as the table of members does."""
        text = f"{self.by} {self.value}"
        return f"{text} at {self.cost_per_user}" if self.by == "budget" else text

    def most(self, users: int) -> int | None:
        """Return the largest number of members of ``users``; None for any number."""
        if self.by == "deciles":
            return users * int(self.value) // 10
        return int(self.value) if self.by == "top" else None

    @property
    def treated(self) -> int | None:
        """The largest number of treated users; None for any number."""
        if self.by != "budget" or not self.cost_per_user:
            return None
        pays_for = Decimal(self.value) / self.cost_per_user
        return int(min(pays_for, Decimal(MOST_USERS)))


@dataclass(frozen=True, slots=True)
class Member:
    """
    A user of an audience; without a probability, a user to be taken off a list.

    Attributes:
        percentile: Rank within the publication, 100 the highest.
        expected_value: Probability times amount; None where none is known.
        attributes: Further columns for the destination, as JSON; None without any.
    """

    user_id: str
    probability: float | None = None
    percentile: int | None = None
    expected_value: float | None = None
    is_control: bool = False
    attributes: str | None = None


@dataclass(frozen=True, kw_only=True)
class Control:
    """A control group: the deployment's key, its name, and a share of 0 to 0.9."""

    key: bytes
    group: str
    share: float

    @property
    def tie_key(self) -> str:
        """The key by which users who share a probability are put in order."""
        return hmac.digest(self.key, f"ties\0{self.group}".encode(), "sha256").hex()

    def holds_out(self, user_id: str) -> bool:
        """Return whether a user is in the control group."""
        digest = hmac.digest(self.key, f"{self.group}\0{user_id}".encode(), "sha256")
        return int.from_bytes(digest[:8], "big") < self.share * 2**64


def read_by(
    rule: Rule, control: Control, *, users: int, suppressed: int
) -> dict[str, Any]:
    """
    Return the parameters by which candidates are read: no more than a rule needs.

    Args:
        users: Number of users of the publication.
        suppressed: How many users are left out after that.
    """
    most = rule.most(users)
    if most is None:
        most = MOST_USERS
    if rule.treated is not None:
        # Too few by chance once in 10^18 times, whatever the budget and the share.
        most = int(1.5 * rule.treated / (1 - control.share)) + 1_000
    return {
        "least": float(rule.value) if rule.by == "threshold" else 0.0,
        "most": min(most + suppressed, MOST_USERS),
        "tie_key": control.tie_key,
    }


def choose(
    candidates: Iterable[Member], rule: Rule, control: Control, *, users: int
) -> list[Member]:
    """
    Return the members of an audience, in the order of the candidates.

    Args:
        candidates: At least all who can be members, the best first; without suppressed
            users. A threshold is what they were read by.
        users: Number of users of the publication.
    """
    members, treated = list[Member](), 0
    most = rule.most(users)
    for one in candidates:
        # End at the last user who is paid for: with more held-out users behind, a
        # small budget would have too large a control group.
        if treated == rule.treated or len(members) == most:
            break
        is_control = control.holds_out(one.user_id)
        treated += not is_control
        # The control group is never sent: its data for destinations are not kept.
        attributes = None if is_control else one.attributes
        members.append(replace(one, is_control=is_control, attributes=attributes))
    return members
