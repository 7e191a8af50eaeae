"""The HTTP destination, Analytics and their files, specified against a receiver."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from types import SimpleNamespace

import pytest

from local.receiver import Limits, Receiver
from offline.audience.destinations import opened
from offline.audience.ga4 import Ga4
from offline.audience.http import Http
from offline.audience.posting import Poster
from offline.audience.requests import Request
from offline.audience.selection import Member
from propensity.errors import RequestError, SettingsError, Unavailable

TEMPLATE = {
    "kind": "http",
    "name": "crm",
    "batch": 10,
    "rate": 0,
    "headers": {"Authorization": "Bearer ${CRM_TOKEN}"},
    "body": {"list": "{audience}", "on": "{as_of}", "users": "{users}"},
    "user": {"id": "{user_id}", "score": "{probability}", "is_ours": True},
    "answer": {"rejected": "errors", "user": "id", "reason": "message"},
}
VARIABLES = {"CRM_TOKEN": "secret"}


SIMPLE = {"kind": "http", "name": "crm", "url": "https://crm.example.com/users"}


def destination(receiver, **changed):
    template = TEMPLATE | {"url": receiver.url + "/lists/{audience}"} | changed
    poster = partial(Poster, first_pause_s=0.0)
    return Http(template, poster=poster, variables=VARIABLES)


class Answering(Receiver):
    """A receiver that answers everything alike."""

    def __init__(self, status, headers, answer) -> None:
        super().__init__()
        self._answer = status, headers, answer

    def take(self, *_):
        return self._answer


def request_of(count=10, *, action="add", first=0):
    return Request(
        use_case="ga4_purchase",
        audience="winback",
        as_of=date(2026, 3, 2),
        action=action,
        members=[Member(f"u{n}", n / 100) for n in range(first, first + count)],
        destination="crm",
        chosen_at=datetime(2026, 3, 2, 6, tzinfo=UTC),
    )


class TestFile:
    def test_may_be_an_editor_s_of_windows(self, tmp_path):
        """Which begins it with a byte order mark, and ends lines in two characters."""
        path = tmp_path / "of the crm.toml"
        text = '\ufeffkind = "http"\r\nname = "crm"\r\nurl = "http://127.0.0.1/"\r\n'
        path.write_bytes(f'{text}[user]\r\nid = "{{user_id}}"\r\n'.encode())

        assert opened(str(path), SimpleNamespace(), audience="winback").name == "crm"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('kind = "none"', "known are"),
            ("kind = ", "not valid TOML"),
            (None, "cannot be read"),
        ],
    )
    def test_that_is_none_says_so(self, tmp_path, text, message):
        path = tmp_path / "destination.toml"
        if text is not None:
            path.write_text(text)

        with pytest.raises(RequestError, match=message):
            opened(str(path), SimpleNamespace(), audience="winback")


class TestRequest:
    def test_is_the_template_with_its_values(self):
        with Receiver(Limits(token="secret")) as receiver:
            assert destination(receiver).send(request_of(2)) == {}

        [body] = receiver.taken.bodies.values()
        assert json.loads(body) == {
            "list": "winback",
            "on": "2026-03-02",
            "users": [
                {"id": "u0", "score": 0.0, "is_ours": True},
                {"id": "u1", "score": 0.01, "is_ours": True},
            ],
        }

    def test_has_the_same_key_for_the_same_users_alone(self):
        assert request_of().key == request_of().key
        others = [request_of(9), request_of(action="remove"), request_of(first=1)]
        assert len({request_of().key, *(other.key for other in others)}) == 4

    def test_of_a_removal_is_its_own(self):
        with Receiver() as receiver:
            client = destination(receiver, remove={"method": "DELETE"})
            client.send(request_of(1, action="remove"))

        assert client.actions == ("remove", "add")
        assert receiver.taken.users == {("remove", "u0"): 1}

    def test_has_its_values_in_headers_too(self):
        class Noting(Receiver):
            def take(self, method, path, headers, body):
                self.heard = headers["X-List"]
                return super().take(method, path, headers, body)

        with Noting() as receiver:
            client = destination(receiver, headers={"X-List": "{audience}/{as_of}"})
            client.send(request_of(1))

        assert receiver.heard == "winback/2026-03-02"

    def test_names_the_variable_that_is_missing(self):
        with Receiver() as receiver, pytest.raises(SettingsError) as raised:
            destination(receiver, headers={"X": "${NOT_SET}"})

        assert raised.value.field == "NOT_SET"

    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"body": {"list": "{audience}"}}, "body"),
            ({"user": {"score": "{probability}"}}, "body"),
            ({"user": {"{user_id}": 1}}, "body"),
            ({"remove": {"body": {"list": "{audience}"}}}, "remove"),
        ],
    )
    def test_names_its_users(self, changed, field):
        """Else a receiver hears of nobody, and the ledger says that it accepted all."""
        with pytest.raises(RequestError, match="is missing") as refused:
            Http(SIMPLE | changed, variables={})

        assert refused.value.field == field

    @pytest.mark.parametrize("remove", [{}, {"url": SIMPLE["url"]}])
    def test_of_a_removal_is_no_addition(self, remove):
        """Else those who have left the audience are added again."""
        with pytest.raises(RequestError, match="the same request as an addition"):
            Http(SIMPLE | {"remove": remove}, variables={})
        by_action = {"remove": {}, "headers": {"X-Action": "{action}"}}
        assert Http(SIMPLE | by_action, variables={}).actions == ("remove", "add")

    def test_may_have_variables_anywhere_and_names_none(self):
        body = {"key": "${CRM_TOKEN}", "users": "{users}"}
        with Receiver(Limits(token="secret")) as receiver:
            destination(receiver, body=body).send(request_of(1))
            wrong = destination(receiver, headers={"X": "a\nsecret"})
            with pytest.raises(RequestError) as raised:
                wrong.send(request_of(1))

        assert "secret" not in str(raised.value)
        [sent] = receiver.taken.bodies.values()
        assert json.loads(sent)["key"] == "secret"


class TestAnswer:
    @pytest.mark.parametrize(
        ("listed", "rejected"),
        [
            ([7, {"id": 8, "message": "unknown"}], {"7": "rejected", "8": "unknown"}),
            ({"7": "unknown"}, {"7": "unknown"}),
            (None, {}),
        ],
    )
    def test_names_the_rejected_as_receivers_do(self, listed, rejected):
        members = [Member(user) for user in "789"]
        with Answering(200, {}, {"errors": listed}) as receiver:
            request = replace(request_of(), members=members)
            assert destination(receiver).send(request) == rejected

    @pytest.mark.parametrize(
        "answered",
        [
            *({"errors": "all"}, {"errors": 3}),
            # Somebody was rejected, and nobody knows who: the file says id.
            *({"errors": [["u1"]]}, {"errors": [{"id": {}}]}, {"errors": [None]}),
            *({"errors": [{"user": "u1"}]}, {"errors": [{"id": "U1"}]}),
            [{"id": "u1", "message": "unknown"}],
        ],
    )
    def test_that_is_not_what_the_file_says_is_none(self, answered):
        with Answering(200, {}, answered) as receiver, pytest.raises(Unavailable):
            destination(receiver).send(request_of())


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"url": ""}, "url"),
        ({"url": "http://example.com"}, "url"),
        ({"name": None}, "name"),
        ({"batch": 0}, "batch"),
        ({"batch": True}, "batch"),
        ({"rate": -1}, "rate"),
        ({"rate": float("inf")}, "rate"),
        ({"rate": True}, "rate"),
        ({"method": 5}, "method"),
        ({"headers": "X: 1"}, "headers"),
        ({"headers": {"X": 1}}, "headers.X"),
        ({"headers": {"X": "{users}"}}, "headers"),
        ({"url": "${CRM_TOKEN}"}, "url"),
        ({"url": "https://["}, "url"),
        ({"url": "http://127.0.0.1.example.com"}, "url"),
        ({"remove": {"url": "http://example.com"}}, "remove.url"),
        ({"remove": {"method": "FLY"}}, "remove.method"),
        ({"answer": {"rejected": 5}}, "answer.rejected"),
        ({"name": "bucket"}, "name"),
        ({"at_once": 0}, "at_once"),
        ({"at_once": 65}, "at_once"),
        ({"at_once": True}, "at_once"),
        ({"unheard": 1}, "unheard"),
        ({"remove": "yes"}, "remove"),
        ({"remove": {"verb": "DELETE"}}, "remove.verb"),
        ({"answer": {"user": "id"}}, "answer.rejected"),
        ({"user": {"id": "{email}"}}, "user"),
        ({"body": {"users": "{people}"}}, "body"),
        ({"body": {"on": date(2026, 3, 2)}}, "body"),
        ({"user": {"id": "{user_id}", "score": float("nan")}}, "user"),
        ({"remove": {"body": {"on": date(2026, 3, 2)}}}, "remove"),
        # To `requests` the host is what is before the backslash.
        ({"url": "http://example.com\\@127.0.0.1/"}, "url"),
        ({"url": "https://example.com/\n"}, "url"),
        ({"url": "https://example.com/a b"}, "url"),
    ],
)
def test_a_template_is_refused_by_its_field(changed, field):
    with Receiver() as receiver, pytest.raises(RequestError) as raised:
        destination(receiver, **changed)

    assert raised.value.field == field


class TestAnalytics:
    """Events of the Measurement Protocol, as the API takes them."""

    NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)
    FILE: Mapping[str, object] = {
        "kind": "ga4",
        "name": "analytics",
        "measurement_id": "G-ABC123",
        "api_secret": "${GA4_API_SECRET}",
        "consent": "GRANTED",
        "rate": 0,
    }

    def opened(self, *, at=NOW, audience="winback", **changed):
        return Ga4(
            {**self.FILE, **changed},
            audience=audience,
            now=lambda: at,
            poster=partial(Poster, first_pause_s=0.0),
            variables={"GA4_API_SECRET": "a secret"},
        )

    def test_set_a_property_of_the_browser(self):
        """In, or out; with the time at which the audience was chosen."""
        with Receiver() as receiver:
            receiver.take = lambda method, path, headers, body: (
                heard.append((path, json.loads(body))) or (204, {}, None)
            )
            heard: list = []
            client = self.opened(url=receiver.url + "/mp/collect")
            for action in client.actions:
                assert client.send(request_of(1, action=action)) == {}

        (path, out), (_, added) = heard
        assert path == "/mp/collect?measurement_id=G-ABC123&api_secret=a+secret"
        assert out["user_properties"] == {"winback": {"value": "out"}}
        assert added["user_properties"] == {"winback": {"value": "in"}}
        assert added["client_id"] == "u0"
        assert added["timestamp_micros"] == int(self.NOW.timestamp()) * 10**6
        assert added["consent"]["ad_user_data"] == "GRANTED"
        [event] = added["events"]
        assert event["name"] == "propensity_audience"
        assert event["params"]["as_of"] == "2026-03-02"

    def test_are_refused_once_analytics_takes_them_no_more(self):
        late = self.opened(at=self.NOW + timedelta(hours=73))

        with pytest.raises(RequestError, match="72 hours"):
            late.send(request_of(1))

    def test_are_of_client_ids(self):
        users = [Member("GA1.2.3"), Member("a b"), Member("猫")]

        assert self.opened().problems(users).keys() == {"a b", "猫"}

    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"measurement_id": "UA-1"}, "measurement_id"),
            ({"api_secret": ""}, "api_secret"),
            ({"consent": "YES"}, "consent"),
            ({"event": "ga_mine"}, "event"),
            ({"event": "e" * 41}, "event"),
            ({"property": "user_id"}, "property"),
            ({"audience": "a_name_longer_than_a_property"}, "property"),
            ({"url": "http://example.com"}, "url"),
            ({"other": 1}, "other"),
        ],
    )
    def test_that_its_limits_forbid_are_refused(self, changed, field):
        """Analytics answers invalid events like valid ones."""
        with pytest.raises(RequestError) as raised:
            self.opened(**changed)

        assert raised.value.field == field
