"""
The account of an audience: what became of its users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from offline import promote
from propensity.errors import RequestError
from propensity.pages.words import plural
from propensity.statements import statement

SQL = resources.files(__package__)

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Account:
    """The ledger of an audience: members by date, and users by what became of them."""

    use_case: str
    audience: str
    members: Sequence[Row] = field(default_factory=list)
    rows: Sequence[Row] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.audience} of {self.use_case}"]
        chosen = {
            row["as_of"]: f"{plural(row['users'], 'member')} ({row['selection']}), "
            f"{row['control_users']:,} held out"
            for row in self.members
        }
        for as_of in sorted({*chosen, *(r["as_of"] for r in self.rows)}, reverse=True):
            lines += ["", f"{as_of}  {chosen.get(as_of, 'no member')}"]
            lines += [
                f"  {r['destination']:<12} {r['action']:<6} {r['status']:<8} "
                f"{r['users']:>9,}  {r['reason']}".rstrip()
                for r in self.rows
                if r["as_of"] == as_of
            ]
        return "\n".join(lines)


def account(name: str, *, use_case: str | None = None) -> Account:
    """
    Return what the ledger has of an audience.

    Raises:
        RequestError: There is no audience of this name.
        AccessDenied, MissingTable, Unavailable: As named.
    """
    with promote.opened(use_case) as deployment:
        members, rows = (
            [
                dict(row.items())
                for row in deployment.rows(statement(query, own=SQL), audience=name)
            ]
            for query in ("audience_selections", "audience_deliveries")
        )
        if not members:
            raise RequestError(
                f"{deployment.use_case.name} has no audience {name}", field="audience"
            )
        return Account(
            use_case=deployment.use_case.name,
            audience=name,
            members=members,
            rows=rows,
        )
