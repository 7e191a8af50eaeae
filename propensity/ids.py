"""
Rules for the ids of users and events, and for the names of use cases and GA4's events.
"""

from __future__ import annotations

import re

# Columns that connect a row with a user: the user's id; where there is none, the id of
# an event of the user.
USER = "user_id"
EVENT = "event_id"
# The column of features that says whether a user was active, or a customer was away;
# and the category of this name.
PRESENCE = "presence"

MAXIMUM_ID_CHARACTERS = 256
# A number from here on may have lost digits on its way, and is no id.
INEXACT = 2**53

# The name of a use case, which is a folder, or of an event type, and in words.
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
NAME_RULE = "lower-case letters, digits and underscores, for example ga4_purchase"

# The export of a property: a project and a dataset. No ending of a file's name has an
# underscore.
EXPORT = re.compile(r"[a-z0-9.:-]{1,63}\.[A-Za-z0-9_]*_[A-Za-z0-9_]*")

# The name of an event; some languages write vowels as marks, which are no letters.
_EVENT = re.compile(r"[^\W\d_](?:[\w -]|[^\w\x00-\xbf\ud800-\udfff]){0,39}(?<! )")

# Lone surrogates cannot be written as UTF-8. Python uses them for bytes of a command
# line that are not UTF-8.
_HALF = re.compile(r"[\ud800-\udfff]")

# Control characters and lone surrogates are not text.
_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

# Ids that pages and servers send where they have none, as in meaningless_ids.sql.
MEANINGLESS = frozenset(
    {
        "",
        "-",
        "0",
        "nan",
        "none",
        "null",
        "undefined",
        "(none)",
        "(not set)",
        "(data deleted)",
    }
)


def is_meaningless(value: str) -> bool:
    """Return whether an id is a placeholder such as "null" or "(not set)"."""
    return value.strip().lower() in MEANINGLESS


def is_encodable(value: str) -> bool:
    """Return whether a text can be written in UTF-8."""
    return _HALF.search(value) is None


def is_text(value: str) -> bool:
    """Return whether an id is free of control characters and lone surrogates."""
    return value.isprintable() or _NOT_TEXT.search(value) is None


def is_event_name(value: str) -> bool:
    """
    Return whether an event of GA4 can have this name.

    Letters, digits and underscores, 40 at most, with a letter first: of any language.
    Blanks and hyphens are against the rules, but Analytics collects them.
    Source: https://support.google.com/analytics/answer/13316687, event naming rules.
    """
    return _EVENT.fullmatch(value) is not None


def problem_of(value: object) -> str:
    """Return the problem of an id in a request; empty if it is valid."""
    if not isinstance(value, str):
        return "must be a string"
    if not value:
        return "is empty"
    if len(value) > MAXIMUM_ID_CHARACTERS:
        limit = f"the limit is {MAXIMUM_ID_CHARACTERS}"
        return f"is too long: {len(value)} characters; {limit}"
    return "" if is_text(value) else "contains a control character; remove it"
