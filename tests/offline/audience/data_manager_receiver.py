"""
Google's Data Manager API as far as audiences need it, with its limits.

A request in which one member is not valid is refused as a whole, with the places of
those at fault, or of the first ``named`` of them. What is taken is on the list at once:
Google takes half an hour. The status of a request is ``PROCESSING`` until ``finish``
has said what became of it.

Sources: those of ``offline/audience/destinations/data_manager.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from local.receiver import Answer, Faults, Limits, Receiver
from offline.audience.destinations.data_manager import DataManager
from tests.offline.audience.people import VARIABLES, contacts_of, poster

MEMBERS = 10_000
IDENTIFIERS_A_USER = 10
TOKEN = "t"
LIST = "987654321"

# Everybody has an email address.
CONTACTS = """
CREATE OR REPLACE TABLE audience_contacts AS
SELECT
  user_id,
  CONCAT(user_id, '@a.io') AS email,
  CAST(NULL AS STRING) AS phone,
  CAST(NULL AS STRING) AS first_name,
  CAST(NULL AS STRING) AS last_name,
  CAST(NULL AS STRING) AS country_code,
  CAST(NULL AS STRING) AS postal_code,
  TRUE AS has_ads_consent
FROM
  (SELECT DISTINCT user_id FROM ma_predictions_history WHERE as_of >= '2026-01-01')
"""

_PATH = re.compile(r"/v1/audienceMembers:(ingest|remove)")
_STATUS = "/v1/requestStatus:retrieve?requestId="
_HASH = re.compile(r"[0-9a-f]{64}")
_REGION = re.compile(r"[A-Z]{2}")
_FIELDS = {
    "remove": {"destinations", "audienceMembers", "validateOnly", "encoding",
               "encryptionInfo"},
}  # fmt: skip
_FIELDS["ingest"] = _FIELDS["remove"] | {"consent", "termsOfService"}
_ADDRESS = {"givenName", "familyName", "regionCode", "postalCode"}

Violation = tuple[str, str]


class DataManagerReceiver(Receiver):
    """The API, with one list."""

    def __init__(
        self, faults: Faults | None = None, *, named: int = MEMBERS, rate: float = 0.0
    ) -> None:
        limits = Limits(size_bytes=50_000_000, token=TOKEN, rate=rate)
        super().__init__(limits, faults)
        self.named = named
        # Members by their identifiers.
        self.listed: set[str] = set()
        # Verb and members of each request that was taken.
        self.requests: list[tuple[str, list[str]]] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        # Status of each request that is over.
        self._over: dict[str, dict[str, Any]] = {}

    def take(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        """Return the answer to a request."""
        if method == "GET" and path.startswith(_STATUS):
            return self._status(path.removeprefix(_STATUS))
        match = _PATH.fullmatch(path)
        if method != "POST" or not match:
            return 404, {}, {"error": {"code": 404, "status": "NOT_FOUND"}}
        sent = json.loads(body)
        self.bodies.append(sent)
        self.headers.append(dict(headers.items()))
        if violations := [*self._wrong_request(match[1], sent)]:
            return _refusal(violations)
        members = [json.dumps(m, sort_keys=True) for m in sent["audienceMembers"]]
        if violations := [*self._wrong_members(sent["audienceMembers"], members)]:
            return _refusal(violations[: self.named])
        self.requests.append((match[1], members))
        if match[1] == "ingest":
            self.listed.update(members)
        else:
            self.listed.difference_update(members)
        return 200, {}, {"requestId": f"request-{len(self.requests)}"}

    def finish(
        self,
        number: int,
        status: str = "SUCCESS",
        *,
        errors: dict[str, int] | None = None,
        warnings: dict[str, int] | None = None,
    ) -> None:
        """Say what became of a request; the first has the number 1."""
        verb, members = self.requests[number - 1]
        kind = "Ingestion" if verb == "ingest" else "Removal"
        answer: dict[str, Any] = {
            "requestStatus": status,
            # Numbers of 64 bits are texts in the API's JSON.
            f"audienceMembers{kind}Status": {
                f"userData{kind}Status": {"recordCount": str(len(members))}
            },
        }
        for name, counts in (("error", errors), ("warning", warnings)):
            listed = [
                {"reason": reason, "recordCount": str(count)}
                for reason, count in (counts or {}).items()
            ]
            if listed:
                answer[f"{name}Info"] = {f"{name}Counts": listed}
        self._over[f"request-{number}"] = answer

    def _status(self, name: str) -> Answer:
        if name not in {f"request-{n + 1}" for n in range(len(self.requests))}:
            error = {"code": 400, "message": "No such request.", "details": []}
            return 400, {}, {"error": error | {"status": "INVALID_ARGUMENT"}}
        status = self._over.get(name, {"requestStatus": "PROCESSING"})
        return 200, {}, {"requestStatusPerDestination": [status]}

    def _wrong_request(self, verb: str, sent: dict[str, Any]) -> Iterator[Violation]:
        if unknown := sent.keys() - _FIELDS[verb]:
            yield min(unknown), "INVALID_ARGUMENT"
        for at, destination in enumerate(sent["destinations"]):
            where = f"destinations.destinations[{at}]"
            account = destination["operatingAccount"]
            if account["accountType"] != "GOOGLE_ADS" or "-" in account["accountId"]:
                yield f"{where}.operating_account", "INVALID_DESTINATION"
            if destination["productDestinationId"] != LIST:
                yield f"{where}.product_destination_id", "INVALID_USER_LIST_ID"
        if sent["encoding"] != "HEX":
            yield "encoding", "REQUIRED_FIELD_MISSING"
        if not 1 <= len(sent["audienceMembers"]) <= MEMBERS:
            yield "audience_members", "TOO_MANY_AUDIENCE_MEMBERS"
        if verb == "ingest":
            granted = {"adUserData": "CONSENT_GRANTED"}
            granted["adPersonalization"] = "CONSENT_GRANTED"
            if sent["consent"] != granted:
                yield "consent", "INVALID_ENUM_VALUE"
            terms = {"customerMatchTermsOfServiceStatus": "ACCEPTED"}
            if sent["termsOfService"] != terms:
                yield "terms_of_service", "TERMS_AND_CONDITIONS_NOT_SIGNED"

    def _wrong_members(self, sent: list[Any], keys: list[str]) -> Iterator[Violation]:
        for at, (member, key) in enumerate(zip(sent, keys, strict=True)):
            where = f"audience_members.audience_members[{at}]"
            listed = member["userData"]["userIdentifiers"]
            if len(listed) > IDENTIFIERS_A_USER:
                yield where, "TOO_MANY_USER_IDENTIFIERS"
            elif not listed or not all(map(_is_valid, listed)):
                yield f"{where}.user_data.user_identifiers", "INVALID_SHA256_FORMAT"
            elif reason := self.faults.rejects(key):
                yield f"{where}.user_data.user_identifiers", reason


def _is_valid(identifier: dict[str, Any]) -> bool:
    [(name, value)] = identifier.items()
    if name != "address":
        is_known = name in ("emailAddress", "phoneNumber")
        return is_known and bool(_HASH.fullmatch(value))
    return (
        value.keys() == _ADDRESS
        and bool(_HASH.fullmatch(value["givenName"]))
        and bool(_HASH.fullmatch(value["familyName"]))
        and bool(_REGION.fullmatch(value["regionCode"]))
        and bool(value["postalCode"])
    )


def _refusal(violations: list[Violation]) -> Answer:
    """Answer as in the guide to sending audience members."""
    kind = "type.googleapis.com/google.rpc."
    details = [
        {
            "@type": f"{kind}ErrorInfo",
            "reason": "INVALID_ARGUMENT",
            "domain": "datamanager.googleapis.com",
        },
        {
            "@type": f"{kind}BadRequest",
            "fieldViolations": [
                {"field": field, "description": "It is wrong.", "reason": reason}
                for field, reason in violations
            ],
        },
    ]
    error = {
        "code": 400,
        "message": "There was a problem with the request.",
        "status": "INVALID_ARGUMENT",
        "details": details,
    }
    return 400, {}, {"error": error}


def ads(receiver, *contacts, **changed):
    """Return the destination of a receiver, for users with contact data."""
    template = {
        "kind": "google-data-manager",
        "name": "ads",
        "customer_id": "123",
        "user_list": LIST,
        "access_token": "${TOKEN}",
        "terms_of_service": "ACCEPTED",
        "url": receiver.url + "/v1",
    }
    return DataManager(
        template | changed,
        poster=poster,
        contacts=contacts_of(*contacts),
        variables=VARIABLES,
    )


def destination_file(folder, receiver, user_list=LIST):
    """Write the file of a receiver as a destination; return its path."""
    path = folder / "ads.toml"
    path.write_text(
        'kind = "google-data-manager"\nname = "ads"\ncustomer_id = "123"\n'
        f'user_list = "{user_list}"\naccess_token = "t"\nrate = 0\n'
        f'terms_of_service = "ACCEPTED"\nurl = "{receiver.url}/v1"\n'
    )
    return str(path)
