"""
The examples of destinations in docs/, specified: each has the form that its service
publishes at the address in the file.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
import requests

from propensity.audience.declared import Declared, Named
from propensity.audience.destination import Request
from propensity.audience.members import Member
from propensity.audience.run import opened
from tests.offline.audience.test_destinations import AUDIENCE, SECRET

DOCS = Path(__file__).parents[3] / "docs"
COLUMNS = {"email": "a@b.com", "email_sha256": "0" * 64, "klaviyo_id": "01GX"}
# Of use case, audience, date, action and user.
KEY = hashlib.sha256(
    b'[["ga4_purchase", "winback", "2026-03-02", "add"], "u1"]'
).hexdigest()[:32]
EVENT = {"event_name": "PropensityAudience", "event_time": 1772431200,
         "event_id": KEY, "action_source": "system_generated",
         "user_data": {"em": ["0" * 64]},
         "custom_data": {"audience": "winback", "propensity": 0.5}}  # fmt: skip
# Each has users in a request, method, url, headers and body.
EXPECTED = {
    "braze": (
        75, "POST", "https://rest.iad-01.braze.com/users/track",
        {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"},
        {"attributes": [{"external_id": "u1", "_update_existing_only": True,
                         "propensity_audience": "winback add", "propensity": 0.5}]},
    ),
    "hubspot": (
        100, "POST",
        "https://api.hubapi.com/crm/objects/2026-03/contacts/batch/upsert",
        {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"},
        {"inputs": [{"idProperty": "email", "id": "a@b.com", "properties": {
            "propensity": 0.5, "propensity_audience": "winback add"}}]},
    ),
    "klaviyo": (
        1000, "POST", "https://a.klaviyo.com/api/lists/XXXXXX/relationships/profiles",
        {"Authorization": f"Klaviyo-API-Key {SECRET}", "revision": "2026-10-15",
         "Content-Type": "application/vnd.api+json"},
        {"data": [{"type": "profile", "id": "01GX"}]},
    ),
    "meta": (
        1000, "POST", "https://graph.facebook.com/v25.0/1234567890/events",
        {"Content-Type": "application/json"},
        {"access_token": SECRET, "data": [EVENT]},
    ),
    "webhook": (
        1, "POST", "https://hooks.example.com/propensity/winback",
        {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"},
        {"user_id": "u1", "probability": 0.5, "action": "add", "audience": "winback",
         "prediction_date": "2026-03-02"},
    ),
}  # fmt: skip


def test_each_example_has_a_form():
    files = (DOCS / "destinations").glob("*.toml")
    assert {file.stem for file in files} == {*EXPECTED}


def answered(body: object) -> requests.Response:
    """Return an answer of a service."""
    response = requests.Response()
    response.status_code, response.raw = 200, io.BytesIO(json.dumps(body).encode())
    return response


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_sends_what_the_service_publishes(name, monkeypatch):
    batch, *expected = EXPECTED[name]
    named = Named("winback", DOCS, Declared(destination=name, top=1))
    sent = []

    def answer(self, method, url, *, data, headers, **how):
        # Retries know a request by its key.
        assert headers.pop("Idempotency-Key")
        sent.append([method, url, headers, json.loads(data)])
        return answered({})

    monkeypatch.setattr(requests.Session, "request", answer)
    client = opened(named, None, lambda _: SECRET, columns=[*COLUMNS])
    member = Member("u1", 0.5, attributes=json.dumps(COLUMNS))

    assert client.send(Request(AUDIENCE, name, "add", [member])).rejected == {}
    assert sent == [expected]
    assert client.batch == batch
    if "remove" in client.actions:
        client.send(Request(AUDIENCE, name, "remove", [member]))
        assert sent[1] != sent[0]


def test_braze_rejects_a_user_by_the_place_in_the_request(monkeypatch):
    named = Named("winback", DOCS, Declared(destination="braze", top=1))
    client = opened(named, None, lambda _: SECRET)
    answer = {"message": "success", "errors": [{"type": "no such user", "index": 1}]}
    monkeypatch.setattr(requests.Session, "request", lambda *_, **__: answered(answer))
    request = Request(AUDIENCE, "braze", "add", [Member("u1"), Member("u2")])

    assert client.send(request).rejected == {"u2": "no such user"}
