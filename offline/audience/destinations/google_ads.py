"""
Google Ads: customer match, by jobs of one list.

    kind = "google-ads"
    name = "ads"
    customer_id = "1234567890"
    user_list = "987654321"
    developer_token = "${GOOGLE_ADS_DEVELOPER_TOKEN}"
    access_token = "${GOOGLE_ADS_ACCESS_TOKEN}"

Who a user is, ``contacts`` says: who is not known or has not consented is rejected
here, and nothing but hashes leaves.

A job adds or removes, never both: it is made, filled and run, and recorded after that.
A job that is sent again changes nothing on the list.

Sources:
    https://developers.google.com/google-ads/api/docs/remarketing/audience-segments/customer-match/get-started;
    the same, manage: jobs that only create or only remove;
    OfflineUserDataJobError: 100,000 identifiers a request, 20 a user.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from offline.audience.destinations import templates
from offline.audience.destinations.base import ADD, NO_RECEIPTS, REMOVE, Request
from offline.audience.destinations.contacts import Contacts, People
from offline.audience.posting import Poster, Refused
from offline.audience.selection import Member
from propensity.errors import Unavailable

URL = "https://googleads.googleapis.com/v26"
# Identifiers a request that Google recommends at most, at three a user; and of a user.
IDENTIFIERS, A_USER = 10_000, 20
RATE = 5.0
# Jobs that are made for a request, where answers are lost.
JOBS = 5

# What Google Ads calls the identifiers of ``contacts``.
NAMES = {
    "email": "hashedEmail",
    "phone": "hashedPhoneNumber",
    "address": "addressInfo",
    "first_name": "hashedFirstName",
    "last_name": "hashedLastName",
    "country_code": "countryCode",
    "postal_code": "postalCode",
}


class _NotRun(Exception):
    """A job was refused when it was to be run."""


class CustomerMatch:
    """A customer list."""

    batch = IDENTIFIERS // 3
    # A job only adds or only removes, one after another.
    at_once = 1
    actions = (REMOVE, ADD)
    receipts = NO_RECEIPTS

    def __init__(
        self,
        template: Mapping[str, Any],
        *,
        poster: Callable[[float, int], Poster],
        contacts: Contacts,
        variables: Mapping[str, str] = os.environ,
    ) -> None:
        """Check a template; ``contacts`` reads contact data of users."""
        known = {"customer_id": "", "user_list": "", "developer_token": "",
                 "access_token": "", "login_customer_id": "", "url": URL,
                 "rate": RATE}  # fmt: skip
        needed = ("customer_id", "user_list", "developer_token", "access_token")
        values = templates.checked(template, known, required=needed)
        values = templates.with_variables(values, variables)
        templates.check_digits(values, "customer_id", "user_list")
        self.name: str = values["name"]
        self._customer = f"customers/{values['customer_id']}"
        self._list = f"{self._customer}/userLists/{values['user_list']}"
        self._url: str = values["url"]
        self._headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {values['access_token']}",
            "developer-token": values["developer_token"],
        }
        if values["login_customer_id"]:
            self._headers["login-customer-id"] = values["login_customer_id"]
        self._people = People(contacts, names=NAMES, most=A_USER)
        self._poster = poster(float(values["rate"]), self.at_once)

    def problems(self, action: str, members: Sequence[Member]) -> Mapping[str, str]:
        """Return users without anything to know them by, or without consent."""
        return self._people.problems(action, members)

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
            # A removal needs no consent.
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
                    {
                        kind: {
                            "userIdentifiers": self._people.identifiers(member.user_id)
                        }
                    }
                    for member in request.members
                ],
            },
        )
        # Before the job runs: a job with a refusal of nobody in particular never runs.
        try:
            refused = _refused(answer, request)
        except (TypeError, AttributeError, ValueError) as error:
            raise Unavailable(
                f"{self.name} answers with a failure that cannot be read, so nobody "
                "knows who was refused"
            ) from error
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
            is_json=True,
        )
        return answer if isinstance(answer, dict) else {}

    def close(self) -> None:
        """Close the connections."""
        self._poster.close()


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
