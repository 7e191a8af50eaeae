"""
The HTTP destination, specified against a receiver with limits and faults.

No test waits: pauses are counted, and not slept.
"""

from __future__ import annotations

import gzip
import json
import tracemalloc
from dataclasses import replace
from datetime import UTC, date, datetime
from unittest.mock import Mock

import pytest

from local.receiver import Faults, Limits, Receiver
from offline.audience import posting
from offline.audience.delivery import Streak, as_taken, rejected_of
from offline.audience.destinations.base import Request
from offline.audience.destinations.http import Http
from offline.audience.destinations.opened import opened
from offline.audience.pace import Stop
from offline.audience.posting import Poster, Refused, Stopped
from offline.audience.selection import Member
from propensity.errors import AccessDenied, RequestError, SettingsError, Unavailable

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


class Pauses(list[float]):
    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def destination(receiver, *, pauses=None, tries=8, stop=None, **changed):
    template = TEMPLATE | {"url": receiver.url + "/lists/{audience}"} | changed

    def poster(rate, at_once):
        return Poster(
            stop or Stop(),
            rate=rate,
            at_once=at_once,
            tries=tries,
            hidden=VARIABLES.values(),
            sleep=Pauses() if pauses is None else pauses,
        )

    return Http(template, poster=poster, variables=VARIABLES)


class Answering(Receiver):
    """A receiver that answers everything alike."""

    def __init__(self, status, headers, answer) -> None:
        super().__init__()
        self._answer = status, headers, answer

    def take(self, *_):
        return self._answer


def nested(depth: int) -> list:
    """A list in a list, so deep."""
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


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

        client = opened(str(path), Mock(), Stop(), audience="winback")

        assert client.name == "crm"


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


class TestAnswer:
    def test_says_who_was_rejected_and_why(self):
        faults = Faults(rejects=lambda user: "unknown" if user == "u3" else "")
        with Receiver(faults=faults) as receiver:
            assert destination(receiver).send(request_of()) == {"u3": "unknown"}

    def test_that_refuses_a_request_is_brought_down_to_the_users_at_fault(self):
        faults = Faults(
            rejects=lambda user: "no consent" if user in ("u3", "u8") else "",
            refuses_whole=True,
        )
        with Receiver(faults=faults) as receiver:
            parts = as_taken(request_of(), destination(receiver), Streak("crm"))

        rejected = rejected_of(parts)
        assert rejected.keys() == {"u3", "u8"}
        assert all("no consent" in reason for reason in rejected.values())
        assert sum(receiver.taken.users.values()) == 8
        assert set(receiver.taken.users.values()) == {1}
        # Each under the key that the receiver has it by.
        keys = {request.key for request, reasons in parts if not reasons}
        assert keys == receiver.taken.bodies.keys()

    def test_that_was_lost_is_got_by_the_same_request(self):
        with Receiver(faults=Faults(lost=0.6, seed=1)) as receiver:
            client = destination(receiver, tries=30)
            for first in range(0, 100, 10):
                client.send(request_of(first=first))

        assert receiver.taken.requests > 10
        assert len(receiver.taken.users) == 100
        assert set(receiver.taken.users.values()) == {1}
        assert receiver.taken.changed == []

    def test_of_a_busy_receiver_is_waited_for_as_it_demands(self):
        pauses = Pauses()
        with Receiver(Limits(rate=1)) as receiver:
            client = destination(receiver, pauses=pauses, tries=2)
            client.send(request_of())
            with pytest.raises(Unavailable, match="status 429"):
                client.send(request_of(first=10))

        assert pauses == [1.0]

    @pytest.mark.parametrize(
        ("asked", "paused"),
        [
            ("120", [120.0]),
            ("3600", []),
            ("9" * 400, []),
            ("no time", None),
            ("Mon, 1 Jan 99999999999999999999 00:00:00 GMT", None),
        ],
    )
    def test_that_demands_a_long_pause_is_waited_for_or_ends_it(self, asked, paused):
        pauses, busy = Pauses(), Answering(503, {"Retry-After": asked}, {})
        with busy as receiver, pytest.raises(Unavailable, match="goes on from there"):
            destination(receiver, pauses=pauses, tries=2).send(request_of())

        if paused is not None:
            assert pauses == paused
        assert all(pause <= 900 for pause in pauses)

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
            *(b"<html>", {"errors": "all"}, {"errors": 3}),
            # Somebody was rejected, and nobody knows who: the file says id.
            *({"errors": [["u1"]]}, {"errors": [{"id": {}}]}, {"errors": [None]}),
            *({"errors": [{"user": "u1"}]}, {"errors": [{"id": "U1"}]}),
            [{"id": "u1", "message": "unknown"}],
            # Deeper than can be read.
            b"[" * 200_000,
        ],
    )
    def test_that_is_not_what_the_file_says_is_none(self, answered):
        with Answering(200, {}, answered) as receiver, pytest.raises(Unavailable):
            destination(receiver, tries=2).send(request_of())

    def test_that_never_comes_says_that_the_ledger_knows(self):
        with Receiver(faults=Faults(unavailable=1.0)) as receiver:
            pauses = Pauses()
            with pytest.raises(Unavailable, match="goes on from there"):
                destination(receiver, pauses=pauses).send(request_of())

        assert len(pauses) == 7
        assert receiver.taken.users == {}

    def test_that_never_comes_names_no_password_of_the_address(self):
        with Receiver(faults=Faults(unavailable=1.0)) as receiver:
            url = receiver.url.replace("//", "//us:${CRM_TOKEN}@")
            with pytest.raises(Unavailable) as raised:
                destination(receiver, url=url).send(request_of())

        assert raised.value.message.startswith(receiver.url.removeprefix("http://"))
        assert "secret" not in raised.value.message

    def test_that_denies_access_stops_everything(self):
        with (
            Receiver(Limits(token="another")) as receiver,
            pytest.raises(AccessDenied, match="401"),
        ):
            destination(receiver).send(request_of())

        assert receiver.taken.requests == 1

    @pytest.mark.parametrize("status", [302, 410])
    def test_that_is_elsewhere_or_gone_stops_everything(self, status):
        """Users are not sent where a redirection leads."""

        class Moved(Receiver):
            def take(self, *_):
                return status, {"Location": self.url + "/elsewhere"}, {}

        with Moved() as receiver, pytest.raises(AccessDenied, match=str(status)):
            destination(receiver).send(request_of())

        assert receiver.taken.requests == 1

    @pytest.mark.parametrize(
        ("status", "headers"),
        [(103, {"Link": "</a>; rel=preload"}), (200, {"Content-Length": "5, 7"})],
    )
    def test_that_is_still_to_come_or_broken_takes_nobody(self, status, headers):
        """An announcement is no answer, and a broken one no fault of the request."""

        class Announcing(Receiver):
            def take(self, *_):
                return status, headers, {}

        with Announcing() as receiver, pytest.raises(Unavailable, match="3 tries"):
            destination(receiver, tries=3).send(request_of())

        assert receiver.taken.requests == 3

    def test_to_too_many_users_is_a_refusal(self):
        with Receiver(Limits(users=5)) as receiver, pytest.raises(Refused, match="413"):
            destination(receiver).send(request_of())

    @pytest.mark.parametrize("status", [200, 302, 400])
    def test_without_an_end_is_read_up_to_a_size(self, status, monkeypatch):
        """Packed it takes a thousandth of that on the way."""
        monkeypatch.setattr(posting, "LARGEST_ANSWER_BYTES", 2**20)

        packed = gzip.compress(bytes(2**25))

        headers = {"Content-Encoding": "gzip", "Location": "/elsewhere"}
        endless = Answering(status, headers, packed)
        tracemalloc.start()
        try:
            ended = (Unavailable, AccessDenied, Refused)
            with endless as receiver, pytest.raises(ended):
                destination(receiver, tries=1).send(request_of())
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert most < 2**23

    def test_that_drips_is_read_up_to_a_time(self, monkeypatch):
        monkeypatch.setattr(posting, "LONGEST_ANSWER_S", 0.0)
        with (
            Receiver() as receiver,
            pytest.raises(Unavailable, match="an answer of over"),
        ):
            destination(receiver, tries=2).send(request_of())

    @pytest.mark.parametrize("status", [200, 401, 422])
    def test_names_no_email_address(self, status):
        """Which would be in the ledger, and on the terminal, of all who read it."""
        words = "no user ann.lee+x@example.com, nor bob%40example.com."

        rejected = {"errors": [{"id": "u0", "message": words}]}
        answer = rejected if status == 200 else words
        with Answering(status, {}, answer) as receiver:
            client = destination(receiver)
            try:
                text = str(client.send(request_of()))
            except (Refused, AccessDenied) as error:
                text = str(error)

        assert "no user (an address), nor (an address)" in text
        assert "ann" not in text
        assert "bob" not in text


def test_takes_variables_anywhere_and_names_none():
    body = {"key": "${CRM_TOKEN}", "users": "{users}"}
    with Receiver(Limits(token="secret")) as receiver:
        destination(receiver, body=body).send(request_of(1))
        wrong = destination(receiver, headers={"X": "a\nsecret"})
        with pytest.raises(RequestError) as raised:
            wrong.send(request_of(1))

    assert "secret" not in str(raised.value)
    assert [json.loads(sent)["key"] for sent in receiver.taken.bodies.values()] == [
        "secret"
    ]


def test_after_ctrl_c_nothing_is_sent():
    stop = Stop()
    stop.is_asked = True
    with Receiver() as receiver, pytest.raises(Stopped):
        destination(receiver, stop=stop).send(request_of())

    assert receiver.taken.requests == 0


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
        ({"body": nested(600)}, "body"),
        ({"body": nested(20_000)}, "body"),
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


def test_a_file_without_an_end_is_no_destination(tmp_path):
    """It is read up to a bound: a device would fill the memory first."""
    path = tmp_path / "destination.toml"
    path.write_bytes(b"#" * 1_000_001)

    with pytest.raises(RequestError, match="1,000,000 bytes at most") as refused:
        opened(str(path), Mock(), Stop(), audience="winback")

    assert refused.value.field == "to"
    path.write_text('kind = "none"')
    with pytest.raises(RequestError, match="known are"):
        opened(str(path), Mock(), Stop(), audience="winback")


@pytest.mark.parametrize("value", ["[" * 5_000 + "]" * 5_000, "9" * 5_000])
def test_a_file_that_python_cannot_read_is_refused(tmp_path, value):
    """Not by a traceback."""
    path = tmp_path / "crm.toml"
    path.write_text(f"kind = {value}")

    with pytest.raises(RequestError, match="thousands"):
        opened(str(path), Mock(), Stop(), audience="winback")
