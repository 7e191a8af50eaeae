"""
Google Analytics and Google Ads as far as audiences need them, with their limits.

``/mp/collect`` is the Measurement Protocol: it answers 204 to anything, as Google does,
and counts what it would have dropped in ``dropped``, by the limit. The paths of
``offlineUserDataJobs`` are customer match: a job of adds or of removals, which changes
its list once it is run.

Sources: those of ``offline/audience/destinations``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local.receiver import Answer, Faults, Limits, Receiver

EVENTS = PARAMETERS = PROPERTIES = 25
BODY_BYTES = 130_000
BACKDATED = timedelta(hours=72)
IDENTIFIERS, IDENTIFIERS_A_USER = 100_000, 20

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_HASH = re.compile(r"[0-9a-f]{64}")
_JOB = re.compile(r"/v\d+/(customers/\d+/offlineUserDataJobs(?:/\d+)?):(\w+)")


class GoogleReceiver(Receiver):
    """Both services; ``now`` is the time of theirs."""

    def __init__(
        self, faults: Faults | None = None, *, now: datetime | None = None
    ) -> None:
        super().__init__(Limits(size_bytes=10_000_000), faults)
        self.now = now or datetime.now(UTC)
        # Events, each once, as far as Analytics can tell them apart.
        self.events: set[str] = set()
        self.properties: dict[str, dict[str, str]] = {}
        self.dropped: Counter[str] = Counter()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.listed: set[str] = set()

    def take(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        """Return the answer to a request."""
        address = urlsplit(path)
        if address.path == "/mp/collect":
            self._collect(parse_qs(address.query), body)
            return 204, {}, None
        if match := _JOB.fullmatch(address.path):
            return self._job(match[1], match[2], headers, json.loads(body))
        return 404, {}, {"error": "no such path"}

    def _collect(self, query: dict[str, list[str]], body: bytes) -> None:
        sent = json.loads(body)
        moment = datetime.fromtimestamp(sent["timestamp_micros"] / 1e6, UTC)
        problems = {
            "secret": not (query.get("api_secret") and query.get("measurement_id")),
            "client_id": not sent.get("client_id"),
            "size": len(body) >= BODY_BYTES,
            "age": not timedelta(0) <= self.now - moment <= BACKDATED,
            "events": not 1 <= len(sent["events"]) <= EVENTS,
            "parameters": any(len(e["params"]) > PARAMETERS for e in sent["events"]),
            "name": any(
                not _NAME.fullmatch(name) or len(name) > 40
                for e in sent["events"]
                for name in (e["name"], *e["params"])
            ),
            "value": any(
                len(str(value)) > 100
                for e in sent["events"]
                for value in e["params"].values()
            ),
            "property": len(sent["user_properties"]) > PROPERTIES
            or any(
                len(name) > 24 or len(str(value["value"])) > 36
                for name, value in sent["user_properties"].items()
            ),
        }
        wrong = [name for name, is_wrong in problems.items() if is_wrong]
        self.dropped.update(wrong)
        if not wrong:
            self.events.add(json.dumps(sent, sort_keys=True))
            own = self.properties.setdefault(sent["client_id"], {})
            own |= {k: v["value"] for k, v in sent["user_properties"].items()}

    def _job(self, name: str, verb: str, headers: Any, body: Any) -> Answer:
        if not (headers.get("developer-token") and headers.get("Authorization")):
            return 401, {}, {"error": "UNAUTHENTICATED"}
        if verb == "create":
            job = f"{name}/{len(self.jobs) + 1}"
            self.jobs[job] = {"operations": [], "job": body["job"], "is_run": False}
            return 200, {}, {"resourceName": job}
        job = self.jobs.get(name)
        if job is None or job["is_run"]:
            return 400, {}, {"error": "no such job, or it runs"}
        if verb == "run":
            job["is_run"] = True
            for kind, key in job["operations"]:
                (self.listed.add if kind == "create" else self.listed.discard)(key)
            return 200, {}, {}
        return self._fill(job, body["operations"])

    def _fill(self, job: dict[str, Any], operations: list[dict[str, Any]]) -> Answer:
        kinds = {kind for operation in operations for kind in operation}
        if len(kinds | {kind for kind, _ in job["operations"]}) > 1:
            return 400, {}, {"error": "INCOMPATIBLE_OPERATIONS"}
        consent = job["job"]["customerMatchUserListMetadata"].get("consent", {})
        if "create" in kinds and set(consent.values()) != {"GRANTED"}:
            return 400, {}, {"error": "CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS"}
        users = [next(iter(operation.values())) for operation in operations]
        counts = [len(user["userIdentifiers"]) for user in users]
        if sum(counts) > IDENTIFIERS or max(counts) > IDENTIFIERS_A_USER:
            return 400, {}, {"error": "TOO_MANY_USER_IDENTIFIERS"}
        errors = []
        for at, operation in enumerate(operations):
            [(kind, user)] = operation.items()
            reason = _wrong(user["userIdentifiers"])
            key = json.dumps(user["userIdentifiers"][0], sort_keys=True)
            reason = reason or self.faults.rejects(key)
            if reason:
                element = {"fieldName": "operations", "index": at}
                where = {"fieldPathElements": [element]}
                errors.append({"message": reason, "location": where})
            else:
                job["operations"].append((kind, key))
        if not errors:
            return 200, {}, {}
        return 200, {}, {"partialFailureError": {"details": [{"errors": errors}]}}


def _wrong(identifiers: list[dict[str, Any]]) -> str:
    hashes = [
        value
        for identifier in identifiers
        for holder in (identifier, identifier.get("addressInfo", {}))
        for name, value in holder.items()
        if name.startswith("hashed")
    ]
    is_hashed = hashes and all(_HASH.fullmatch(value) for value in hashes)
    return "" if is_hashed else "BAD_SHA256_HASH"
