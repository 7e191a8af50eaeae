"""
How a person is spelled: one form for the draw of control groups, one for each receiver.

The draw's is the coarsest, so that people who are one to any receiver are one to it;
``audience_held_out.sql`` has the same form. A telephone number stays as it is written.

Source:
    How Google normalises addresses of Gmail:
    https://developers.google.com/data-manager/api/devguides/concepts/formatting
"""

from __future__ import annotations

from propensity.addresses import bare

_GMAIL = frozenset({"gmail.com", "googlemail.com"})


def plain(value: object) -> str:
    """
    Return what a receiver knows a person by, as most receivers compare it.

    A customer number may be a FLOAT64 in one table, and an integer or a text elsewhere.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip().lower()


def coarsest(value: object) -> str:
    """Return the form of the draw, which is also Google's form of an address."""
    text = plain(value)
    if "@" in text:
        text = bare(text)
    user, at, host = text.partition("@")
    if host in _GMAIL:
        user = user.partition("+")[0].replace(".", "")
    return f"{user}{at}{host}"
