"""
Errors of missing permissions: permission, resource, account, and what to do.

Each of Google's services words it differently: some name the permission as roles do,
some in another spelling, some not at all.
"""

from __future__ import annotations

import re
from typing import Any

from propensity.errors import AccessDenied

# A permission as roles have it, such as bigquery.tables.updateData.
_PERMISSION = re.compile(r"\b[a-z]+\.[a-zA-Z]+\.[a-zA-Z]+\b(?=[\s'\"]|$)")
# As the Storage Write API spells it: TABLES_UPDATE_DATA.
_UPPERCASE = re.compile(r"\b(TABLES)_([A-Z_]+)\b")

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
        text: Of the service.
        service: Its name, such as BigQuery.
        credentials: Of the client; the error names their account.
        needs: The permission of the call, in case the text does not name one.
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
    """Return the permission in a refusal, empty if it names none."""
    for match in _PERMISSION.finditer(text):
        if match[0].partition(".")[0] in _SERVICES:
            return match[0]
    if uppercase := _UPPERCASE.search(text):
        first, *others = uppercase[2].lower().split("_")
        name = first + "".join(word.title() for word in others)
        return f"bigquery.{uppercase[1].lower()}.{name}"
    return ""


def account(credentials: Any) -> str:
    """Return the account of credentials, in words."""
    email = str(getattr(credentials, "service_account_email", "") or "")
    # The platform's account is called "default" until it has fetched a token.
    if email and email != "default":
        return f"the account {email}"
    return "the account that this runs as"
