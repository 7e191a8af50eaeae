"""
Google's Data Manager API: customer match, by requests that fill or empty one list.

    kind = "google-data-manager"
    name = "ads"
    customer_id = "1234567890"
    user_list = "987654321"
    access_token = "${DATA_MANAGER_ACCESS_TOKEN}"
    terms_of_service = "ACCEPTED"

Who a user is, ``contacts`` says: who is not known or has not consented is rejected
here, and nothing but hashes leaves.

An answer says that a request is valid, and its name, the receipt. Google works on it
later: half an hour to a day after that ``requestStatus:retrieve`` has counts, but no
user's name. So who is accepted in the ledger is taken in by the API, under a receipt,
and ``outcome`` asks what has become of it.
A request in which one user is not valid is refused as a whole; the refusal names users
by their place, and the others are sent again, which changes nothing on the list.

Sources, below https://developers.google.com/data-manager/api:
    reference/rest/v1: audienceMembers/ingest, /remove; Destination; UserData;
    devguides/limits: 10,000 members a request, 10 identifiers each, 300 a minute;
    devguides/audiences/send-audience-members, for what a refusal looks like;
    devguides/concepts/understand-errors: one member at fault fails a whole request;
    devguides/diagnostics: a status after 30 minutes, up to 24 hours; there it is
    FAILURE what reference/rest/v1/requestStatus/retrieve calls FAILED;
    https://cloud.google.com/docs/quotas/set-quota-project, the header of a project.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from offline.audience.destinations import templates
from offline.audience.destinations.base import ADD, REMOVE, Outcome, Request
from offline.audience.destinations.contacts import Contacts, People
from offline.audience.posting import Poster, Refused, excerpt
from offline.audience.selection import Member
from propensity.errors import RequestError, Unavailable
from propensity.pages.words import cleaned

URL = "https://datamanager.googleapis.com/v1"
MEMBERS, A_USER = 10_000, 10
RATE = 5.0
ADS, ACCEPTED = "GOOGLE_ADS", "ACCEPTED"
# Times that the rest of a request is sent: after that its halves are, and so on.
ROUNDS = 5

# What the API calls the identifiers of ``contacts``.
NAMES = {
    "email": "emailAddress",
    "phone": "phoneNumber",
    "address": "address",
    "first_name": "givenName",
    "last_name": "familyName",
    "country_code": "regionCode",
    "postal_code": "postalCode",
}
# The user of a field, as in "audience_members.audience_members[0].user_data".
_PLACE = re.compile(r"audience_?members\[([0-9]+)\]", re.IGNORECASE)
SUCCESS, PARTLY, FAILED = "SUCCESS", "PARTIAL_SUCCESS", ("FAILED", "FAILURE")
# A reason that says no more than that something is wrong.
_ANY = "INVALID_ARGUMENT"


class DataManager:
    """A customer list."""

    batch = MEMBERS
    at_once = 1
    actions = (REMOVE, ADD)

    def __init__(
        self,
        template: Mapping[str, Any],
        *,
        poster: Callable[[float, int], Poster],
        contacts: Contacts,
        variables: Mapping[str, str] = os.environ,
    ) -> None:
        """Check a template; ``contacts`` reads contact data of users."""
        known = {"customer_id": "", "user_list": "", "access_token": "",
                 "terms_of_service": "", "login_customer_id": "", "quota_project": "",
                 "url": URL, "rate": RATE}  # fmt: skip
        needed = ("customer_id", "user_list", "access_token", "terms_of_service")
        values = templates.checked(template, known, required=needed)
        values = templates.with_variables(values, variables)
        templates.check_digits(values, "customer_id", "user_list")
        if values["login_customer_id"]:
            templates.check_digits(values, "login_customer_id")
        if values["terms_of_service"] != ACCEPTED:
            templates.fail(
                "terms_of_service",
                f'terms_of_service is "{ACCEPTED}", once those of customer match are',
            )
        self.name: str = values["name"]
        self.receipts: dict[str, str] = {}
        self._url: str = values["url"]
        self._list: dict[str, Any] = {"productDestinationId": values["user_list"]}
        accounts = {
            "operatingAccount": "customer_id",
            "loginAccount": "login_customer_id",
        }
        for field, key in accounts.items():
            if values[key]:
                self._list[field] = {"accountType": ADS, "accountId": values[key]}
        self._headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {values['access_token']}",
        }
        if values["quota_project"]:
            self._headers["x-goog-user-project"] = values["quota_project"]
        self._people = People(contacts, names=NAMES, most=A_USER, is_tag_kept=False)
        self._poster = poster(float(values["rate"]), self.at_once)

    def problems(self, action: str, members: Sequence[Member]) -> Mapping[str, str]:
        """Return users without anything to know them by, or without consent."""
        return self._people.problems(action, members)

    def send(self, request: Request) -> Mapping[str, str]:
        """Send users, without those at fault; return these, with reasons."""
        rejected: dict[str, str] = {}
        for _ in range(ROUNDS):
            left = [m for m in request.members if m.user_id not in rejected]
            if not left:
                return rejected
            try:
                self.receipts[request.key] = self._post(request.action, left)
            except Refused as refusal:
                rejected |= self._at_fault(refusal, left)
            else:
                return rejected
        raise Refused(next(iter(rejected.values())))

    def outcome(self, receipt: str, *, users: int) -> Outcome:
        """Return what has become of a request, as far as Google has got with it."""
        answer = self._poster.send(
            "GET",
            f"{self._url}/requestStatus:retrieve",
            body=b"",
            headers=self._headers,
            secrets={"requestId": receipt},
            is_json=True,
        )
        try:
            [status] = answer["requestStatusPerDestination"] or [{}]
            return _outcome(status, users)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise Unavailable(f"{self.name} answers with no status") from error

    def _post(self, action: str, members: Sequence[Member]) -> str:
        """Send users; return the name of the request."""
        body: dict[str, Any] = {
            "destinations": [self._list],
            "audienceMembers": [
                {"userData": {"userIdentifiers": self._people.identifiers(m.user_id)}}
                for m in members
            ],
            "encoding": "HEX",
        }
        if action == ADD:
            # A removal has neither field.
            kinds = ("adUserData", "adPersonalization")
            body["consent"] = dict.fromkeys(kinds, "CONSENT_GRANTED")
            body["termsOfService"] = {"customerMatchTermsOfServiceStatus": ACCEPTED}
        verb = "ingest" if action == ADD else "remove"
        answer = self._poster.send(
            "POST",
            f"{self._url}/audienceMembers:{verb}",
            body=json.dumps(body).encode(),
            headers=self._headers,
            is_json=True,
        )
        name = answer.get("requestId") if isinstance(answer, dict) else None
        if not name:
            raise Unavailable(f"{self.name} answers without a requestId")
        return str(name)

    def _at_fault(self, refusal: Refused, members: Sequence[Member]) -> dict[str, str]:
        """
        Return the users whom a refusal names, with reasons.

        Raises:
            RequestError: It names something else, such as the list: nobody's fault.
            Refused: It names nothing.
        """
        rejected: dict[str, str] = {}
        others: list[str] = []
        for field, reason in _violations(refusal.answer):
            place = _PLACE.search(field)
            if place and int(place[1]) < len(members):
                rejected[members[int(place[1])].user_id] = reason
            elif field or reason != _ANY:
                others.append(f"{field} {reason}".strip())
        if others and not rejected:
            raise RequestError(
                f"{self.name} refuses requests whoever is in them ({others[0]}): see "
                "the destination's file, the list and its account",
                field="to",
            )
        if not rejected:
            raise refusal
        return rejected

    def close(self) -> None:
        """Close the connections."""
        self._poster.close()


def _outcome(status: Mapping[str, Any], users: int) -> Outcome:
    """Read a status; Google counts what was sent, whatever has become of it."""
    if (word := status.get("requestStatus")) not in (*FAILED, SUCCESS, PARTLY):
        return Outcome(is_over=False)
    counts = status.get("audienceMembersIngestionStatus", {}) or status.get(
        "audienceMembersRemovalStatus", {}
    )
    sent = users
    for kind in ("userDataIngestionStatus", "userDataRemovalStatus"):
        sent = int(counts.get(kind, {}).get("recordCount", sent))
    failed = _reasons(status.get("errorInfo", {}).get("errorCounts", []))
    if word in FAILED and sent > failed.total():
        failed[str(word)] += sent - failed.total()
    return Outcome(
        is_over=True,
        done=max(sent - failed.total(), 0),
        failed=failed,
        warned=_reasons(status.get("warningInfo", {}).get("warningCounts", [])),
    )


def _reasons(counts: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Add up the users of each reason."""
    users: Counter[str] = Counter()
    for entry in counts:
        reason = cleaned(excerpt(str(entry.get("reason", _ANY))))
        users[reason] += int(entry.get("recordCount", 0))
    return users


def _violations(answer: Any) -> list[tuple[str, str]]:
    """Return fields and reasons of a refusal; a reason for all of it has no field."""
    violations = []
    try:
        for detail in answer["error"]["details"]:
            for entry in detail.get("fieldViolations", [detail]):
                field = cleaned(str(entry.get("field", ""))[:200])
                reason = cleaned(excerpt(str(entry.get("reason", _ANY))))
                violations.append((field, reason))
    except (TypeError, KeyError, AttributeError):
        # No answer of the API, but of something before it.
        return []
    return violations
