"""
How Google knows users: by hashes of their contact data.

The data team keeps the contact data in ``audience_contacts``, a table or view of the
dataset: user_id, email, phone, first_name, last_name, country_code, postal_code and
has_ads_consent. A user without consent, or without an email address, a phone number or
a whole postal address, is rejected here. Nothing but hashes leaves: SHA-256 of what is
normalised as Google says; country and postal code, which Google takes as they are, go
with the hashes of a name only.

Sources:
    https://support.google.com/google-ads/answer/7659867, how data are formatted;
    https://developers.google.com/data-manager/api/devguides/concepts/formatting, where
    an address of Gmail loses what follows a plus sign, too;
    https://github.com/googleads/data-manager-node, util/src/formatter.ts, for suffixes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from offline.audience.destinations.base import ADD
from offline.audience.selection import Member

# Users whose contact data are read at once.
READ_AT_ONCE = 5_000

_GMAIL = ("gmail.com", "googlemail.com")
# Without what stands around an address, as in "Anna <anna@example.com>".
_PART = r"[^@\s<>()\[\],;:\"\\]+"
_EMAIL = re.compile(rf"{_PART}@{_PART}\.{_PART}")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_COUNTRY = re.compile(r"[A-Z]{2}")
# What Google wants left out of names, as in "Dr. Anna" and "Smith, Jr.".
_TITLES = re.compile(r"^(?:(?:mr|mrs|ms|dr|prof)\.\s*)+")
_SUFFIXES = re.compile(
    r"(?:(?:,\s*|\s+)"
    r"(?:jr\.?|sr\.?|2nd|3rd|ii|iii|iv|v|vi|cpa|dc|dds|vm|jd|md|phd))+$"
)

Contact = Mapping[str, Any]
# Reads the contact data of some users.
Contacts = Callable[[Sequence[str]], Sequence[Contact]]
# ``email``, ``phone``, or the four parts of an address.
Identifier = dict[str, str]


class People:
    """Users with contact data, as one of Google's APIs writes them."""

    def __init__(
        self,
        contacts: Contacts,
        *,
        names: Mapping[str, str],
        most: int,
        is_tag_kept: bool = True,
    ) -> None:
        """
        Args:
            names: What the API calls an email address and so on.
            most: Identifiers of a user; the first ones count.
            is_tag_kept: Whether what follows a plus sign is part of a Gmail address.
        """
        self._contacts = contacts
        self._names = names
        self._most = most
        self._is_tag_kept = is_tag_kept
        self._known: dict[str, list[Identifier]] = {}

    def problems(self, action: str, members: Sequence[Member]) -> dict[str, str]:
        """
        Return users without anything to know them by, or without consent.

        To be taken off a list needs no consent.
        """
        rejected = {}
        for start in range(0, len(members), READ_AT_ONCE):
            chunk = [m.user_id for m in members[start : start + READ_AT_ONCE]]
            contacts: dict[str, list[Contact]] = {}
            for row in self._contacts(chunk):
                contacts.setdefault(row["user_id"], []).append(row)
            for user in chunk:
                self._known[user], reason = self._read(action, contacts.get(user, []))
                if reason:
                    rejected[user] = reason
        return rejected

    def identifiers(self, user: str) -> list[dict[str, Any]]:
        """Return what a user without a problem is known by, as the API writes it."""
        return [self._written(identifier) for identifier in self._known[user]]

    def _read(
        self, action: str, known: Sequence[Contact]
    ) -> tuple[list[Identifier], str]:
        """Return what rows say of a user, and why the user cannot be sent."""
        if not known:
            return [], "no contact"
        # A user may have several addresses, once each.
        listed: list[Identifier] = []
        for contact in known:
            for identifier in identifiers(contact, is_tag_kept=self._is_tag_kept):
                if identifier not in listed:
                    listed.append(identifier)
        # Nothing but TRUE is a consent: not a text such as "false". Of several rows
        # the one without it counts.
        if action == ADD and not all(
            contact["has_ads_consent"] is True for contact in known
        ):
            return [], "no consent to ads"
        return listed[: self._most], "" if listed else "no email, phone or address"

    def _written(self, identifier: Identifier) -> dict[str, Any]:
        written = {self._names[name]: value for name, value in identifier.items()}
        is_address = "postal_code" in identifier
        return {self._names["address"]: written} if is_address else written


def identifiers(contact: Contact, *, is_tag_kept: bool = True) -> list[Identifier]:
    """Return what Google knows a user by: hashes, and an address as a whole."""
    listed: list[Identifier] = []
    if email := email_of(_text(contact["email"]), is_tag_kept=is_tag_kept):
        listed.append({"email": hashed(email)})
    if phone := phone_of(_text(contact["phone"])):
        listed.append({"phone": hashed(phone)})
    first, last, country, postcode = (
        " ".join(_text(contact[name]).split())
        for name in ("first_name", "last_name", "country_code", "postal_code")
    )
    first, last = _TITLES.sub("", first.lower()), _SUFFIXES.sub("", last.lower())
    if first and last and postcode and _COUNTRY.fullmatch(country.upper()):
        listed.append(
            {
                "first_name": hashed(first),
                "last_name": hashed(last),
                "country_code": country.upper(),
                "postal_code": postcode,
            }
        )
    return listed


def email_of(text: str, *, is_tag_kept: bool = True) -> str:
    """Return an email address as Google hashes it, empty for none."""
    email = "".join(text.split()).lower()
    if not _EMAIL.fullmatch(email):
        return ""
    name, _, domain = email.rpartition("@")
    if domain in _GMAIL:
        name = (name if is_tag_kept else name.partition("+")[0]).replace(".", "")
    return f"{name}@{domain}" if name else ""


def phone_of(text: str) -> str:
    """Return a phone number in E.164, with the sign and the country, empty for none."""
    # A zero in brackets is dialled within the country only: +44 (0)20...
    phone = re.sub(r"\(0\)|[\s()./\-\u2010-\u2015]", "", text)
    return phone if _PHONE.fullmatch(phone) else ""


def _text(value: Any) -> str:
    """Return a column's value as a text: a postal code may be a number there."""
    if isinstance(value, float):
        # A data frame with gaps makes floats of whole numbers, and NaN of the gaps.
        return str(int(value)) if value.is_integer() else ""
    return "" if value is None else str(value)


def hashed(text: str) -> str:
    """Return SHA-256 in hexadecimal, small letters."""
    return hashlib.sha256(text.encode()).hexdigest()
