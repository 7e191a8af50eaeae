"""Destinations and their files, specified against a receiver on this machine."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from local.processes import free_ports
from local.receiver import Faults, Limits, Receiver
from offline.audience.bucket import opened
from offline.audience.ga4 import Ga4, Ga4File
from offline.audience.http import Http, HttpFile
from offline.audience.ledger import Ledger
from offline.audience.members import Audience
from offline.audience.posting import Poster, Refused, Request
from offline.audience.selection import Control, Member
from propensity.errors import AccessDenied, RequestError, SettingsError, Unavailable

SECRET = "a secret of the file"
VARIABLES = {"CRM_TOKEN": SECRET}
HTTP = """
kind = "http"
name = "crm"
url = "{url}/lists/{{audience}}"
rate = 0
[headers]
Authorization = "Bearer ${{CRM_TOKEN}}"
X-List = "{{audience}}/{{as_of}}"
[body]
list = "{{audience}}"
users = "{{users}}"
[user]
id = "{{user_id}}"
score = "{{probability}}"
is_ours = true
[remove]
method = "DELETE"
[answer]
rejected = "errors"
user = "id"
reason = "message"
"""
SIMPLE = {"kind": "http", "name": "crm", "url": "https://crm.example.com/users"}
GA4 = {
    "kind": "ga4",
    "name": "analytics",
    "measurement_id": "G-ABC123",
    "api_secret": SECRET,
    "property": "winback",
    "consent": "GRANTED",
    "rate": 0,
}
CHOSEN_AT = datetime(2026, 3, 2, 6, tzinfo=UTC)


class Answering(Receiver):
    """A receiver that answers everything alike, and keeps what it heard."""

    def __init__(self, status=200, answer=None, headers=None) -> None:
        super().__init__()
        self._answer = status, headers or {}, answer
        self.heard = []

    def take(self, method, path, headers, body):
        self.heard.append((method, path, dict(headers), json.loads(body)))
        return self._answer


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(Poster, "first_pause_s", 0.0)


@pytest.fixture
def read(tmp_path):
    """Open the destination of a file."""

    def opening(text: str, audience="winback"):
        path = tmp_path / "of the crm.toml"
        path.write_text(text)
        use_case = SimpleNamespace(
            name="ga4_purchase", chosen=lambda _: {"user_column": "user_pseudo_id"}
        )
        deployment = SimpleNamespace(use_case=use_case, settings=None)
        return opened(str(path), deployment, audience=audience, variables=VARIABLES)

    return opening


def http(template) -> Http:
    file = msgspec.convert(template, HttpFile)
    return Http(file, variable=str, secrets=[SECRET])


AUDIENCE = Audience(
    use_case="ga4_purchase",
    name="winback",
    as_of=date(2026, 3, 2),
    control=Control(key=b"", group="winback", share=0.0),
    selection="",
    members=[],
    suppressed=0,
    is_stored=True,
    chosen_at=CHOSEN_AT,
)


def request_of(count=10, *, action="add", first=0) -> Request:
    members = [Member(f"u{n}", n / 100) for n in range(first, first + count)]
    return Request(AUDIENCE, "crm", action, members)


class TestHttp:
    def test_sends_the_template_with_its_values(self, read):
        with Answering() as receiver:
            client = read(HTTP.format(url=receiver.url))
            client.send(request_of(2))
            client.send(request_of(1, action="remove"))

        (method, path, headers, body), removal = receiver.heard
        assert (method, path) == ("POST", "/lists/winback")
        assert headers["Authorization"] == f"Bearer {SECRET}"
        assert headers["X-List"] == "winback/2026-03-02"
        assert headers["Idempotency-Key"] == request_of(2).key
        assert body == {
            "list": "winback",
            "users": [
                {"id": "u0", "score": 0.0, "is_ours": True},
                {"id": "u1", "score": 0.01, "is_ours": True},
            ],
        }
        assert removal[0] == "DELETE"
        assert client.actions == ("remove", "add")

    def test_has_one_key_for_the_same_users_alone(self):
        others = [request_of(9), request_of(action="remove"), request_of(first=1)]
        keys = {request_of().key, *(other.key for other in others)}

        assert (len(keys), request_of().key in keys) == (4, True)

    def test_is_recorded_at_once_however_many_users_it_has(self):
        """Defect: the key was computed for each user, half an hour for 100,000."""
        ledger = Ledger(SimpleNamespace(), {}, now=lambda: CHOSEN_AT)
        began = time.monotonic()
        ledger.record(request_of(20_000), "pending")

        assert time.monotonic() - began < 5
        assert {row["request"] for row in ledger.rows} == {request_of(20_000).key}

    def test_takes_no_place_in_a_secret_for_one(self, read, monkeypatch):
        """Defect: the token was refused and printed, or altered."""
        monkeypatch.setitem(VARIABLES, "CRM_TOKEN", "{as_of}${CRM_TOKEN}{word}")
        with Answering() as receiver:
            read(HTTP.format(url=receiver.url)).send(request_of(1))

        [(_, _, headers, _)] = receiver.heard
        assert headers["Authorization"] == "Bearer {as_of}${CRM_TOKEN}{word}"

    @pytest.mark.parametrize(
        "changed",
        [SIMPLE | {"method": "${CRM_TOKEN}"}, GA4 | {"consent": "${CRM_TOKEN}"}],
    )
    def test_names_no_secret_in_a_wrong_place(self, read, changed):
        text = "\n".join(f"{name} = {json.dumps(of)}" for name, of in changed.items())
        with pytest.raises(RequestError, match="enum") as raised:
            read(text)

        assert SECRET not in raised.value.message

    def test_names_the_variable_that_is_missing(self, read):
        text = HTTP.format(url="http://127.0.0.1").replace("CRM_TOKEN", "NOT_SET")
        with pytest.raises(SettingsError) as raised:
            read(text)

        assert raised.value.field == "NOT_SET"

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ('kind = "none"', "kind"),
            ("kind = ", "Invalid value"),
            ('name = "bucket"', "bucket"),
            ("name = 5", r"\$.name"),
            ("batch = 0", r"\$.batch"),
            ("batch = true", r"\$.batch"),
            ("rate = -1", r"\$.rate"),
            ("rate = inf", r"\$.rate"),
            ('method = "FLY"', r"\$.method"),
            ("unheard = 1", "unheard"),
            ('user = "{email}"', "{email}"),
            ('body = "{people}"', "{people}"),
            ('url = "http://example.com/"', "https"),
            ('url = "http://127.0.0.1.example.com"', "https"),
            ('url = "https://["', "https"),
            ('url = "https://example.com/{users}"', "{users}"),
            ('url = "https://{audience}.example.com"', "https"),
            ('url = "http://127.0.0.1{action}"', "https"),
            ('url = "https://example.com/a b"', "https"),
            # To some clients the host is what is before the backslash.
            (r"url = 'http://example.com\@127.0.0.1/'", "https"),
            ('headers = {X = "{users}"}', "{users}"),
            ('remove = {verb = "DELETE"}', "verb"),
            ('remove = {url = "http://example.com"}', "https"),
            ('answer = {user = "id"}', "rejected"),
        ],
    )
    def test_refuses_a_file_by_what_is_wrong_in_it(self, read, changed, message):
        key = changed.partition(" ")[0]
        lines = {name: f"{name} = {value!r}" for name, value in SIMPLE.items()}
        with pytest.raises(RequestError, match=message):
            read("\n".join((lines | {key: changed}).values()))

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"body": {"list": "{audience}"}}, "name its users"),
            ({"user": {"score": "{probability}"}}, "name its users"),
            ({"user": {"{user_id}": 1}}, "name its users"),
            ({"remove": {"body": {"list": "{audience}"}}}, "name its users"),
            ({"remove": {}}, "same as to add"),
            ({"remove": {"url": SIMPLE["url"]}}, "same as to add"),
        ],
    )
    def test_refuses_requests_that_a_receiver_would_misread(self, changed, message):
        """Else the ledger says that users were accepted of whom it never heard, or
        those who have left are added again."""
        with pytest.raises(RequestError, match=message):
            http(SIMPLE | changed)

    @pytest.mark.parametrize(
        ("listed", "rejected"),
        [
            ([7, {"id": 8, "message": "unknown"}], {"7": "rejected", "8": "unknown"}),
            (None, {}),
        ],
    )
    def test_learns_who_was_rejected(self, read, listed, rejected):
        request = replace(request_of(), members=[Member(user) for user in "789"])
        with Answering(answer={"errors": listed}) as receiver:
            client = read(HTTP.format(url=receiver.url))
            assert client.send(request) == rejected

    @pytest.mark.parametrize(
        "answer",
        [
            *({"errors": "all"}, {"errors": 3}, {"errors": [["u1"]]}),
            # Somebody was rejected, and nobody knows who: the file says id.
            *({"errors": [{"user": "u1"}]}, {"errors": [{"id": "U1"}]}),
            [{"id": "u1", "message": "unknown"}],
        ],
    )
    def test_takes_an_answer_in_another_form_for_none(self, read, answer):
        with Answering(answer=answer) as receiver, pytest.raises(Unavailable):
            read(HTTP.format(url=receiver.url)).send(request_of())


class TestPoster:
    """How a request is repeated, and what a receiver's answer means."""

    def send(self, url):
        http({**SIMPLE, "url": url, "rate": 0, "headers": {"X": SECRET}}).send(
            request_of(1)
        )

    @pytest.mark.parametrize("fault", [{"lost": 0.5}, {"unavailable": 0.5}])
    def test_repeats_what_is_not_answered(self, fault):
        """The receiver knows the repeat by its key: the user counts once."""
        with Receiver(faults=Faults(seed=3, **fault)) as receiver:
            template = {**SIMPLE, "url": receiver.url, "rate": 0}
            client = http({**template, "user": {"id": "{user_id}"}})
            for _ in range(5):
                client.send(request_of(1))

        assert receiver.taken.requests > 5
        assert receiver.taken.users == {("add", "u0"): 1}
        assert receiver.taken.changed == []

    def test_waits_as_a_busy_receiver_asks(self):
        with Receiver(Limits(rate=1)) as receiver:
            template = {**SIMPLE, "url": receiver.url, "user": {"id": "{user_id}"}}
            client = http({**template, "rate": 0})
            client.send(request_of(1))
            client.send(request_of(1, first=1))

        assert receiver.taken.refusals[429] == 1

    def test_gives_up_after_eight_tries_and_names_the_host_alone(self):
        port = free_ports(1)[0]
        with pytest.raises(Unavailable, match="is in the ledger"):
            self.send(f"http://127.0.0.1:{port}/a/path")
        with Answering(503) as receiver, pytest.raises(Unavailable) as raised:
            self.send(f"{receiver.url}/a/path")

        assert receiver.taken.requests == 8
        assert "status 503" in raised.value.message
        assert "path" not in raised.value.message

    @pytest.mark.parametrize("status", [400, 409, 413, 422])
    def test_takes_some_statuses_for_a_refusal_of_the_users(self, status):
        """The reason has no e-mail address and no secret of the file."""
        answer = {"error": f"no {SECRET} of jo@example.com"}
        with Answering(status, answer) as receiver, pytest.raises(Refused) as refused:
            self.send(receiver.url)

        assert str(refused.value).startswith(f"{status} ")
        assert "(an address)" in str(refused.value)
        assert SECRET not in str(refused.value)
        assert receiver.taken.requests == 1

    @pytest.mark.parametrize("status", [302, 401, 403, 404, 410, 415, 451])
    def test_stops_everything_where_the_answer_is_about_no_user(self, status):
        """A redirection is not followed with users in it."""
        with (
            Receiver() as other,
            Answering(status, {}, {"Location": other.url}) as receiver,
            pytest.raises(AccessDenied, match=str(status)),
        ):
            self.send(receiver.url)

        assert other.taken.requests == 0

    def test_takes_no_password_of_netrc(self, tmp_path, monkeypatch):
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        with Answering() as receiver:
            self.send(receiver.url)

        assert "Authorization" not in receiver.heard[0][2]

    def test_names_no_secret_that_cannot_be_sent(self):
        with pytest.raises(Unavailable) as raised:
            http(SIMPLE | {"headers": {"X": "a\nsecret"}}).send(request_of(1))

        assert "secret" not in str(raised.value)


class TestAnalytics:
    """Events of the Measurement Protocol, as the API takes them."""

    def opened(self, *, at=CHOSEN_AT, **changed) -> Ga4:
        return Ga4(msgspec.convert(GA4 | changed, Ga4File), now=lambda: at)

    def test_sets_a_property_of_the_browser(self):
        """In, or out; with the time at which the audience was chosen."""
        with Answering(204) as receiver:
            client = self.opened(url=receiver.url + "/mp/collect")
            for action in client.actions:
                assert client.send(request_of(1, action=action)) == {}

        (_, path, _, removed), (_, _, _, added) = receiver.heard
        assert parse_qs(urlsplit(path).query) == {
            "measurement_id": ["G-ABC123"],
            "api_secret": [SECRET],
        }
        assert removed["user_properties"] == {"winback": {"value": "out"}}
        assert added["user_properties"] == {"winback": {"value": "in"}}
        assert added["client_id"] == "u0"
        assert added["timestamp_micros"] == int(CHOSEN_AT.timestamp()) * 10**6
        assert added["consent"]["ad_user_data"] == "GRANTED"
        [event] = added["events"]
        assert event["name"] == "propensity_audience"
        assert event["params"]["as_of"] == "2026-03-02"

    def test_is_refused_once_analytics_takes_the_events_no_more(self):
        late = self.opened(at=CHOSEN_AT + timedelta(hours=73))

        with pytest.raises(RequestError, match="72 hours"):
            late.send(request_of(1))

    def test_takes_client_ids_alone(self):
        with Answering(204) as receiver:
            client = self.opened(url=receiver.url + "/mp/collect")
            rejected = [
                rejected
                for user in ("GA1.2.3", "a b", "猫")
                for rejected in client.send(
                    Request(AUDIENCE, "ga4", "add", [Member(user)])
                )
            ]

        assert rejected == ["a b", "猫"]
        assert len(receiver.heard) == 1

    @pytest.mark.parametrize(
        "changed",
        [
            {"measurement_id": "UA-1"},
            {"api_secret": ""},
            {"consent": "YES"},
            {"property": "user_id"},
            {"property": "ga_mine"},
            {"property": "a_name_longer_than_a_property"},
            {"other": 1},
        ],
    )
    def test_refuses_what_its_limits_forbid(self, read, changed):
        """Analytics answers invalid events like valid ones."""
        values = GA4 | changed
        text = "\n".join(f"{name} = {json.dumps(of)}" for name, of in values.items())
        [name] = changed
        with pytest.raises(RequestError, match=name):
            read(text)

    def test_has_the_audience_s_name_as_property(self, read):
        text = "\n".join(
            f"{name} = {json.dumps(of)}"
            for name, of in GA4.items()
            if name != "property"
        ).replace(SECRET, "${CRM_TOKEN}")

        assert read(text, audience="loyal").name == "analytics"
        with pytest.raises(RequestError, match="property"):
            read(text, audience="a_name_longer_than_a_property")
