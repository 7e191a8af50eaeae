"""E-mail addresses and phone numbers as people store them."""

from __future__ import annotations

import re

# Marks that no one sees: of joining, of direction, of the order of bytes.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]")
# Around an address in a list, a header or a link.
_AROUND = re.compile(
    r"""^(?:mailto:)?["'<\s]*(?:mailto:)?(.*?)["'>\s]*[;,]?\s*$""", re.I
)
_PART = r"[^\W_](?:(?:[^\W_]|-)*[^\W_])?"
_ADDRESS = re.compile(
    rf"[\w!#$%&'*+/=?^`{{|}}~-]+(?:\.[\w!#$%&'*+/=?^`{{|}}~-]+)*@{_PART}(?:\.{_PART})+"
)


def visible(text: str) -> str:
    """Return a text without marks that no one sees, and with blanks for all spaces."""
    return re.sub(r"[^\S\n]", " ", _INVISIBLE.sub("", text)).strip()


def bare(text: str) -> str:
    """Return a text in small letters, without what may stand around an address."""
    plain = visible(text).lower()
    around = _AROUND.fullmatch(plain)
    return plain if around is None else around[1]


def address_of(text: str) -> str:
    """Return an e-mail address in small letters, without what stands around it."""
    address = bare(text)
    if len(address) > 254 or not _ADDRESS.fullmatch(address):
        raise ValueError("no e-mail address")
    if address.rpartition(".")[2].isdigit():
        raise ValueError("no e-mail address")
    return address
