"""
What a refusal says: the permission that is missing, on what, for which account.

Google's services say it in words of their own, in the permission's name or in a name
for it that no role has, or not at all; a message of ours always says what to do.
"""

from __future__ import annotations

import re
from typing import Any

from propensity.errors import AccessDenied

# A permission as roles have it, such as bigquery.tables.updateData.
_PERMISSION = re.compile(r"\b[a-z]+\.[a-zA-Z]+\.[a-zA-Z]+\b(?=[\s'\"]|$)")
# As the Storage Write API has it: TABLES_UPDATE_DATA.
_SPELT = re.compile(r"\b(TABLES)_([A-Z_]+)\b")

_SERVICES = ("bigquery", "pubsub", "storage", "secretmanager", "run")

REMEDY = (
    "Run deploy/setup.sh again: it grants what deploy/functions.toml lists. A right "
    "that was granted minutes ago may need some more until it holds everywhere"
)


def denied(
    text: str,
    *,
    service: str,
    credentials: Any = None,
    needs: str = "",
    on: str = "",
    remedy: str = REMEDY,
) -> AccessDenied:
    """
    Return the error for a refusal.

    Args:
        text: What the service said.
        service: Its name, such as BigQuery.
        credentials: Of the client; theirs is the account that is named.
        needs: The permission that the call asks for, where the text may not say it.
        on: The resource, likewise.
        remedy: What to do about it.
    """
    missing = permission(text) or needs
    where = f" on {on}" if on else ""
    return AccessDenied(
        f"{service} refuses {account(credentials)}, which lacks "
        f"{missing or 'a permission'}{where}. It says: {text}. {remedy}",
        detail={"permission": missing, "resource": on},
    )


def permission(text: str) -> str:
    """Return the permission that a refusal names, empty where it names none."""
    for found in _PERMISSION.finditer(text):
        if found[0].partition(".")[0] in _SERVICES:
            return found[0]
    if spelt := _SPELT.search(text):
        first, *others = spelt[2].lower().split("_")
        name = first + "".join(word.title() for word in others)
        return f"bigquery.{spelt[1].lower()}.{name}"
    return ""


def account(credentials: Any) -> str:
    """Return who was refused, in words."""
    email = str(getattr(credentials, "service_account_email", "") or "")
    # Until it has fetched a token, an account of the platform is called so.
    if email and email != "default":
        return f"the account {email}"
    return "the account that this runs as"
