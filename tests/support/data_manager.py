"""
Google's Data Manager API on this machine, as far as audiences use it.

The unmodified client reaches it by its endpoint. It has the API's limits and errors,
says late what became of a request, and takes some requests only in part. It reads
requests by the client's own types, so unknown fields are refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from google.ads import datamanager_v1 as api

from local.receiver import Answer, Receiver

# The only account that there is.
ACCOUNT = "123"
# Method of the API by path: the type of its request, where its records are, and how
# many of them it takes.
METHODS: dict[str, tuple[Any, str, int]] = {
    "events:ingest": (api.IngestEventsRequest, "events", 2_000),
    "audienceMembers:ingest": (
        api.IngestAudienceMembersRequest,
        "audience_members",
        10_000,
    ),
    "audienceMembers:remove": (
        api.RemoveAudienceMembersRequest,
        "audience_members",
        10_000,
    ),
}


class DataManager(Receiver):
    """
    The API, on a port of its own, as a context.

    Args:
        late: How often the status of a request is PROCESSING before it is known.
        fails: Gives the reason of a record that fails later, by its identifier; empty
            for others.

    Attributes:
        users: How often a record was taken, by action and identifier.
        taken: Requests that were taken, in their order.
        validated: Requests that were only checked.
    """

    def __init__(
        self,
        *,
        late: int = 1,
        fails: Callable[[str], str] = lambda user: "",
    ) -> None:
        super().__init__()
        self._late = late
        self._fails = fails
        self.taken: list[Any] = []
        self.validated: list[Any] = []
        # The status of requests by their ids, and how often each was asked for.
        self._statuses: dict[str, tuple[str, Counter[str]]] = {}
        self.asked: Counter[str] = Counter()

    def take(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        url = urlsplit(path)
        called = url.path.removeprefix("/v1/")
        if method == "GET" and called == "requestStatus:retrieve":
            return self._status(parse_qs(url.query)["requestId"][0])
        if called not in METHODS:
            return error(404, "NOT_FOUND", "NOT_FOUND")
        kind, name, limit = METHODS[called]
        try:
            request = kind.from_json(body.decode())
        except ValueError:
            return error(400, "INVALID_ARGUMENT", "INVALID_FORMAT")
        records = list(getattr(request, name))
        if refusal := _refusal(request, name, records, limit):
            return refusal
        if request.validate_only:
            self.validated.append(request)
            return 200, {}, {}
        # Records count at once, whatever the status says.
        failed: Counter[str] = Counter()
        for record in records:
            user = identifier(record)
            if reason := self._fails(user):
                failed[reason] += 1
            else:
                self.users["remove" if called.endswith("remove") else "add", user] += 1
        is_partial = failed.total() < len(records)
        status = "PARTIAL_SUCCESS" if is_partial else "FAILED"
        number = f"request-{len(self._statuses)}"
        self._statuses[number] = status if failed else "SUCCESS", failed
        self.taken.append(request)
        return 200, {}, {"requestId": number}

    def _status(self, number: str) -> Answer:
        if number not in self._statuses:
            return error(400, "INVALID_ARGUMENT", "INVALID_REQUEST_ID")
        self.asked[number] += 1
        status, failed = self._statuses[number]
        if self.asked[number] <= self._late:
            status = "PROCESSING"
            failed = Counter()
        counts = [
            {"reason": f"PROCESSING_ERROR_REASON_{reason}", "recordCount": str(count)}
            for reason, count in sorted(failed.items())
        ]
        said = {"requestStatus": status, "errorInfo": {"errorCounts": counts}}
        return 200, {}, {"requestStatusPerDestination": [said]}


def _refusal(
    request: Any, name: str, records: Sequence[Any], limit: int
) -> Answer | None:
    """Return the error of a request that the API does not take."""
    accounts = [one.operating_account.account_id for one in request.destinations]
    if accounts != [ACCOUNT]:
        return error(403, "PERMISSION_DENIED", "PERMISSION_DENIED")
    if not 0 < len(records) <= limit:
        return error(400, "INVALID_ARGUMENT", f"TOO_MANY_{name.upper()}")
    faults = [
        {"field": f"{name}.{name}[{index}]", "reason": reason}
        for index, record in enumerate(records)
        if (reason := _fault(record))
    ]
    if not faults:
        return None
    return error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", faults)


def identifier(record: Any) -> str:
    """Return what a record names its user by."""
    if isinstance(record, api.Event):
        return str(record.client_id)
    if record.user_id_data.user_id:
        return str(record.user_id_data.user_id)
    for one in record.user_data.user_identifiers:
        return str(one.email_address or one.phone_number)
    return ""


def _fault(record: Any) -> str:
    """Return why the API refuses a record; empty for one that it takes."""
    if not identifier(record):
        return "NO_IDENTIFIERS_PROVIDED"
    if isinstance(record, api.Event):
        return "" if record.event_timestamp else "REQUIRED_FIELD_MISSING"
    for one in record.user_data.user_identifiers:
        if not re.fullmatch("[0-9a-f]{64}", one.email_address or one.phone_number):
            return "INVALID_SHA256_FORMAT"
    return ""


def error(
    code: int, status: str, reason: str, faults: Sequence[dict[str, str]] = ()
) -> Answer:
    """Return an error in the form of Google's APIs."""
    kind = "type.googleapis.com/google.rpc."
    details: list[dict[str, Any]] = [{"@type": f"{kind}ErrorInfo", "reason": reason}]
    if faults:
        details.append({"@type": f"{kind}BadRequest", "fieldViolations": list(faults)})
    said = {"code": code, "status": status, "message": reason, "details": details}
    return code, {}, {"error": said}
