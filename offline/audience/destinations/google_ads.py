"""
Google Ads: customer match, by jobs of one list.

    kind = "google-ads"
    name = "ads"
    customer_id = "1234567890"
    user_list = "987654321"
    developer_token = "${GOOGLE_ADS_DEVELOPER_TOKEN}"
    access_token = "${GOOGLE_ADS_ACCESS_TOKEN}"

Who a user is, the data team says in ``audience_contacts``, a table or view of the
dataset: user_id, email, phone, first_name, last_name, country_code, postal_code and
has_ads_consent. A user without consent, or without an email address, a phone number or
a whole postal address, is rejected here. Nothing but hashes leaves: SHA-256 of what is
normalised as Google says; country and postal code, which Google takes as they are, go
with the hashes of a name only.

A job adds or removes, never both: it is made, filled and run, and recorded after that.
A job that is sent again changes nothing on the list.

Sources:
    https://developers.google.com/google-ads/api/docs/remarketing/audience-segments/customer-match/get-started;
    the same, manage: jobs that only create or only remove;
    OfflineUserDataJobError: 100,000 identifiers a request, 20 a user;
    https://support.google.com/google-ads/answer/7659867, how data are formatted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from offline.audience.destinations import templates
from offline.audience.destinations.base import ADD, REMOVE, Request
from offline.audience.posting import Poster, Refused
from offline.audience.selection import Member
from propensity.errors import Unavailable

URL = "https://googleads.googleapis.com/v26"
# Identifiers a request that Google recommends at most, at three a user; and of a user.
IDENTIFIERS, A_USER = 10_000, 20
RATE = 5.0
# Jobs that are made for a request, where answers are lost.
JOBS = 5

_GMAIL = ("gmail.com", "googlemail.com")
# Without what stands around an address, as in "Anna <anna@example.com>".
_PART = r"[^@\s<>()\[\],;:\"\\]+"
_EMAIL = re.compile(rf"{_PART}@{_PART}\.{_PART}")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_COUNTRY = re.compile(r"[A-Z]{2}")
# What Google wants left out of names, as in "Dr. Anna" and "Smith, Jr.".
_TITLES = re.compile(r"^(?:(?:mr|mrs|ms|dr|prof)\.\s*)+")
_SUFFIX = re.compile(r"(?:,\s*|\s+)(?:(?:jr|sr)\.?|ii|iii|iv)$")

Contact = Mapping[str, Any]


class _NotRun(Exception):
    """A job was refused when it was to be run."""


class CustomerMatch:
    """A customer list."""

    batch = IDENTIFIERS // 3
    # A job only adds or only removes, one after another.
    at_once = 1
    actions = (REMOVE, ADD)

    def __init__(
        self,
        template: Mapping[str, Any],
        *,
        poster: Callable[[float, int], Poster],
        contacts: Callable[[Sequence[str]], Sequence[Contact]],
        variables: Mapping[str, str] = os.environ,
    ) -> None:
        """Check a template; ``contacts`` reads those of some users."""
        known = {"customer_id": "", "user_list": "", "developer_token": "",
                 "access_token": "", "login_customer_id": "", "url": URL,
                 "rate": RATE}  # fmt: skip
        needed = ("customer_id", "user_list", "developer_token", "access_token")
        values = templates.checked(template, known, required=needed)
        for key in ("customer_id", "user_list"):
            if not values[key].isdecimal():
                templates.fail(key, f"{key} has digits only, without dashes")
        self.name: str = values["name"]
        self._customer = f"customers/{values['customer_id']}"
        self._list = f"{self._customer}/userLists/{values['user_list']}"
        self._url: str = values["url"]
        self._headers = {
            "Content-Type": "application/json",
            "Authorization": "Bearer "
            + templates.with_variables(values["access_token"], variables),
            "developer-token": templates.with_variables(
                values["developer_token"], variables
            ),
        }
        if values["login_customer_id"]:
            self._headers["login-customer-id"] = values["login_customer_id"]
        self._contacts = contacts
        self._known: dict[str, list[dict[str, Any]]] = {}
        self._poster = poster(float(values["rate"]), self.at_once)

    def problems(self, action: str, members: Sequence[Member]) -> Mapping[str, str]:
        """
        Return users without anything to know them by, or without consent.

        To be taken off a list needs no consent.
        """
        rejected = {}
        for start in range(0, len(members), self.batch):
            chunk = [member.user_id for member in members[start : start + self.batch]]
            contacts: dict[str, list[Contact]] = {}
            for row in self._contacts(chunk):
                contacts.setdefault(row["user_id"], []).append(row)
            for user in chunk:
                known = contacts.get(user, [])
                reason, listed = "no contact", []
                if known:
                    # A user may have several addresses, once each.
                    each = [one for contact in known for one in identifiers(contact)]
                    listed = [
                        one for at, one in enumerate(each) if one not in each[:at]
                    ]
                    del listed[A_USER:]
                    reason = "" if listed else "no email, phone or address"
                    # Nothing but TRUE is a consent: not a text such as "false". Of
                    # several rows the one without it counts.
                    if action == ADD and not all(
                        contact["has_ads_consent"] is True for contact in known
                    ):
                        reason = "no consent to ads"
                self._known[user] = listed
                if reason:
                    rejected[user] = reason
        return rejected

    def send(self, request: Request) -> Mapping[str, str]:
        """
        Make a job, fill it and run it; return who was refused.

        A job that ran although the answer was lost is refused when it is run again:
        then another one, which changes nothing more, says for certain.
        """
        for _ in range(JOBS):
            with contextlib.suppress(_NotRun):
                return self._job(request)
        raise Unavailable(f"{self.name} creates jobs, but refuses to run them")

    def _job(self, request: Request) -> dict[str, str]:
        metadata: dict[str, Any] = {"userList": self._list}
        if request.action == ADD:
            # Google wants no consent to remove somebody.
            metadata["consent"] = {
                "adUserData": "GRANTED",
                "adPersonalization": "GRANTED",
            }
        job = self._post(
            f"{self._customer}/offlineUserDataJobs:create",
            {
                "job": {
                    "type": "CUSTOMER_MATCH_USER_LIST",
                    "customerMatchUserListMetadata": metadata,
                }
            },
        ).get("resourceName")
        if not job:
            raise Unavailable(f"{self.name} created no job, and gave no reason")
        kind = "create" if request.action == ADD else "remove"
        answer = self._post(
            f"{job}:addOperations",
            {
                "enablePartialFailure": True,
                "operations": [
                    {kind: {"userIdentifiers": self._known[member.user_id]}}
                    for member in request.members
                ],
            },
        )
        # Before the job runs: one that refuses something unknown is left as it is.
        refused = _refused(answer, request)
        try:
            self._post(f"{job}:run", {})
        except Refused as error:
            raise _NotRun from error
        return refused

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._poster.send(
            "POST",
            f"{self._url}/{path}",
            body=json.dumps(body).encode(),
            headers=self._headers,
        )
        return answer if isinstance(answer, dict) else {}

    def close(self) -> None:
        """Close the connections."""
        self._poster.close()


def identifiers(contact: Contact) -> list[dict[str, Any]]:
    """Return what Google knows a user by: hashes, and an address as a whole."""
    listed: list[dict[str, Any]] = []
    if email := email_of(_text(contact["email"])):
        listed.append({"hashedEmail": hashed(email)})
    if phone := phone_of(_text(contact["phone"])):
        listed.append({"hashedPhoneNumber": hashed(phone)})
    first, last, country, postcode = (
        " ".join(_text(contact[name]).split())
        for name in ("first_name", "last_name", "country_code", "postal_code")
    )
    first, last = _TITLES.sub("", first.lower()), _SUFFIX.sub("", last.lower())
    if first and last and postcode and _COUNTRY.fullmatch(country.upper()):
        listed.append(
            {
                "addressInfo": {
                    "hashedFirstName": hashed(first),
                    "hashedLastName": hashed(last),
                    "countryCode": country.upper(),
                    "postalCode": postcode,
                }
            }
        )
    return listed


def email_of(text: str) -> str:
    """Return an email address as Google hashes it, empty for none."""
    email = "".join(text.split()).lower()
    if not _EMAIL.fullmatch(email):
        return ""
    name, _, domain = email.rpartition("@")
    if domain in _GMAIL:
        name = name.replace(".", "")
    return f"{name}@{domain}" if name else ""


def phone_of(text: str) -> str:
    """Return a phone number in E.164, with the sign and the country, empty for none."""
    # What some write in brackets is dialled within the country only: +44 (0)20...
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


def _refused(answer: Mapping[str, Any], request: Request) -> dict[str, str]:
    """
    Return the users whose operations an answer refuses, with reasons.

    Raises:
        Refused: It refuses something, and does not say whose.
    """
    failure = answer.get("partialFailureError")
    if not failure:
        return {}
    rejected: dict[str, str] = {}
    for detail in failure.get("details", ()):
        for error in detail.get("errors", ()):
            path = error.get("location", {}).get("fieldPathElements", ())
            message = str(error.get("message", "refused"))[:200]
            refused = [
                request.members[int(element["index"])].user_id
                for element in path
                if element.get("fieldName") == "operations"
                and 0 <= int(element.get("index", -1)) < len(request.members)
            ]
            if not refused:
                raise Refused(message)
            rejected |= dict.fromkeys(refused, message)
    if not rejected:
        raise Refused(str(failure.get("message", "refused"))[:200])
    return rejected
