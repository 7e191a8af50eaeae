"""
Ids: what the id of a user or an event can be, and the name of a use case.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import re

MAXIMUM_ID_CHARACTERS = 256

# Of a use case, which is a folder, and of an event type.
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

# Control characters, and halves of surrogate pairs, which are not text.
_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def problem_of(value: object) -> str:
    """Return what is wrong with an id in a request, empty where nothing is."""
    if not isinstance(value, str):
        return "must be a string"
    if not value:
        return "must not be empty"
    if len(value) > MAXIMUM_ID_CHARACTERS:
        return f"has at most {MAXIMUM_ID_CHARACTERS} characters"
    return "has no control characters" if _NOT_TEXT.search(value) else ""
