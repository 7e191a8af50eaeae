"""
The examples of destinations in docs/, specified: each has the form that its service
publishes at the address in the file.
"""

from __future__ import annotations

import hashlib
import io
import json
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from propensity.audience.declared import Declared, DeclaredAudience
from propensity.audience.destination import Request, Sent, Stopped
from propensity.audience.members import Member
from propensity.audience.run import opened
from propensity.errors import RequestError
from tests.offline.audience.test_destinations import AUDIENCE, SECRET, SENDING
from tests.support.clocks import ManualClock

DOCS = Path(__file__).parents[3] / "docs"
COLUMNS = {"email": "a@b.com", "email_sha256": "0" * 64, "klaviyo_id": "01GX"}
CLOCK = ManualClock(AUDIENCE.chosen_at)
SENDS = SimpleNamespace(settings=SENDING)
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


def answered(body: object, status: int = 200) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response.raw = io.BytesIO(json.dumps(body).encode())
    return response


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_sends_what_the_service_publishes(name, monkeypatch):
    batch, *expected = EXPECTED[name]
    named = DeclaredAudience("winback", DOCS, Declared(destination=name, top=1))
    sent = []

    def answer(self, method, url, *, data, headers, **how):
        # Retries know a request by its key.
        assert headers.pop("Idempotency-Key")
        assert headers.pop("Accept-Encoding") == "identity"
        sent.append([method, url, headers, json.loads(data)])
        return answered({"events_received": 1})

    monkeypatch.setattr(requests.Session, "request", answer)
    client = opened(named, SENDS, lambda _: SECRET, columns=[*COLUMNS], clock=CLOCK)
    member = Member("u1", 0.5, attributes=json.dumps(COLUMNS))

    assert client.send(Request(AUDIENCE, name, "add", [member])).rejected == {}
    assert sent == [expected]
    assert client.batch == batch
    if "remove" in client.actions:
        client.send(Request(AUDIENCE, name, "remove", [member]))
        assert sent[1] != sent[0]


def sent(name: str, answer: requests.Response, monkeypatch, *, now=CLOCK) -> Sent:
    """Send two users to a service; return what its answer says of them."""
    named = DeclaredAudience("winback", DOCS, Declared(destination=name, top=1))
    client = opened(named, SENDS, lambda _: SECRET, columns=[*COLUMNS], clock=now)
    monkeypatch.setattr(requests.Session, "request", lambda *_, **__: answer)
    members = []
    for user in ("u1", "u2"):
        own = COLUMNS | {"email": f"{user}@b.com"}
        members.append(Member(user, 0.5, attributes=json.dumps(own)))
    return client.send(Request(AUDIENCE, name, "add", members))


def test_braze_rejects_a_user_by_the_place_in_the_request(monkeypatch):
    errors = [{"type": "no_such_user", "index": 1}]
    answer = answered({"message": "success", "errors": errors}, 201)

    assert sent("braze", answer, monkeypatch).rejected == {"u2": "no_such_user"}


def test_hubspot_rejects_a_contact_by_its_address(monkeypatch):
    """Defect: its 207 counted as all accepted."""
    errors = [
        {
            "status": "error",
            "category": "VALIDATION_ERROR",
            "message": "u2@b.com is wrong",
            "context": {"ids": ["u2@b.com"]},
        }
    ]
    answer = answered({"status": "COMPLETE", "numErrors": 1, "errors": errors}, 207)

    rejected = sent("hubspot", answer, monkeypatch).rejected
    assert rejected == {"u2": "VALIDATION_ERROR"}


def test_meta_takes_all_events_or_it_is_not_known_whose(monkeypatch):
    assert sent("meta", answered({"events_received": 2}), monkeypatch).rejected == {}
    with pytest.raises(Stopped, match="another form"):
        sent("meta", answered({"events_received": 1}), monkeypatch)


def test_meta_takes_no_events_after_seven_days(monkeypatch):
    late = ManualClock(AUDIENCE.chosen_at + timedelta(days=8))
    with pytest.raises(RequestError, match="meta accepts users for 168 hours"):
        sent("meta", answered({}), monkeypatch, now=late)
