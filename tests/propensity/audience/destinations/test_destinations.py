"""Destinations and their files, specified against a receiver on this machine."""

from __future__ import annotations

import gzip
import io
import json
import re
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import requests

from local.receiver import Receiver
from propensity.audience.declared import Declared, DeclaredAudience
from propensity.audience.destinations import answers
from propensity.audience.destinations.answers import Answer, answer_to
from propensity.audience.destinations.destination import (
    Refused,
    Request,
    Sent,
    Stopped,
    Unanswered,
)
from propensity.audience.destinations.http import Http, HttpFile
from propensity.audience.destinations.kinds import opened
from propensity.audience.members import Audience, Control, Member
from propensity.errors import RequestError, UseCaseError
from tests.support.clocks import ManualClock
from tests.support.receivers import Playing

# The settings of a deployment that reaches receivers.
SENDS = SimpleNamespace(settings=SimpleNamespace(sends="yes"))
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
CHOSEN_AT = datetime(2026, 3, 2, 6, tzinfo=UTC)


def saying(status=200, answer=None, headers=None) -> Playing:
    return Playing(always=(status, headers or {}, answer))


@pytest.fixture
def read(tmp_path):
    """Open the destination of a file."""

    def opening(text: str):
        path = tmp_path / "destinations" / "crm.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        file = Declared(destination="crm", top=1)
        named = DeclaredAudience("winback", tmp_path, file)
        return opened(named, SENDS, VARIABLES.__getitem__)

    return opening


def toml(file: dict) -> str:
    """Return a file of one line for each entry."""
    lines = []
    for name, value in file.items():
        inline = json.dumps(value).replace('": ', '" = ')
        lines.append(f"{name} = {inline}")
    return "\n".join(lines)


AUDIENCE = Audience(
    use_case="ga4_purchase",
    name="winback",
    as_of=date(2026, 3, 2),
    control=Control(key=b"", group="winback", share=0.0),
    selection="",
    is_stored=True,
    chosen_at=CHOSEN_AT,
)


def request_of(count=10, *, action="add", first=0) -> Request:
    members = [Member(f"u{n}", n / 100) for n in range(first, first + count)]
    return Request(AUDIENCE, action, members)


class TestHttp:
    def test_an_http_destination_sends_the_template_with_its_values(self, read):
        with saying() as receiver:
            client = read(HTTP.format(url=receiver.url))
            client.send(request_of(2))
            client.send(request_of(1, action="remove"))

        (method, path, headers, body), removal = receiver.heard
        assert (method, path) == ("POST", "/lists/winback")
        assert headers["Authorization"] == f"Bearer {SECRET}"
        assert headers["X-List"] == "winback/2026-03-02"
        assert headers["Idempotency-Key"] == request_of(2).key
        assert json.loads(body) == {
            "list": "winback",
            "users": [
                {"id": "u0", "score": 0.0, "is_ours": True},
                {"id": "u1", "score": 0.01, "is_ours": True},
            ],
        }
        assert removal[0] == "DELETE"
        assert client.actions == ("remove", "add")

    def test_an_http_destination_sends_all_digits_of_a_number(self):
        """Also the last ones of a long NUMERIC."""
        with Receiver() as receiver:
            user = {"id": "{user_id}", "paid": "{paid}"}
            template = {**SIMPLE, "url": receiver.url, "rate": 0, "user": user}
            client = Http(msgspec.convert(template, HttpFile), {}, columns=["paid"])
            member = Member("u0", attributes='{"paid":12345678901234567.89}')
            client.send(Request(AUDIENCE, "add", [member]))

        [body] = receiver.bodies.values()
        assert b'"paid":12345678901234567.89' in body

    @pytest.mark.parametrize(
        "secret", ["a key", "schl\u00fcssel", "50%", "a#b", "a&b=c", "a+b"]
    )
    def test_a_secret_that_is_no_part_of_an_address_is_named(
        self, read, monkeypatch, secret
    ):
        """Not its value. One that is escaped already is sent as it is."""
        file = toml(SIMPLE | {"url": "https://crm.example.com/${CRM_TOKEN}/users"})
        monkeypatch.setitem(VARIABLES, "CRM_TOKEN", secret)
        with pytest.raises(UseCaseError, match="the secret CRM_TOKEN") as raised:
            read(file)
        monkeypatch.setitem(VARIABLES, "CRM_TOKEN", "T0/a%20key")

        assert secret not in raised.value.message
        assert read(file).name == "crm"

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"kind": "none"}, "kind"),
            ({"name": "bucket"}, "name is 'bucket'; use up to 64"),
            ({"batch": 0}, "batch is 0"),
            ({"method": "FLY"}, "method: there is no FLY"),
            ({"unheard": 1}, "unheard"),
            ({"user": "{email}"}, "{email}"),
            ({"headers": {"X": "{users}"}}, "{users}"),
            ({"headers": {"X": "a\tb"}}, "headers.X .* U.0009, .* Correct the header"),
            # One key for all requests would have one of them taken.
            ({"headers": {"idempotency-Key": "mine"}}, "Remove the entry"),
            # They cut the body, or ask another host.
            ({"headers": {"Host": "x.example"}}, "Remove the entry"),
            ({"url": "http://127.0.0.1.example.com"}, "https"),
            ({"url": "https://{audience}.example.com"}, "https"),
            # Some clients take what is before the backslash as the host.
            ({"url": "http://example.com\\@127.0.0.1/"}, "https"),
            # Else the ledger says that users were accepted of whom a receiver never
            # heard, or those who have left are added again.
            ({"body": {"list": "{audience}"}}, "must contain"),
            ({"remove": {"body": {"list": "{audience}"}}}, "must contain"),
            ({"remove": {}}, "same request as adding"),
        ],
    )
    def test_an_http_destination_refuses_a_wrong_file(self, read, changed, message):
        with pytest.raises(UseCaseError, match=message):
            read(toml(SIMPLE | changed))

    @pytest.mark.parametrize("form", [None, {"rejected": "errors"}])
    def test_an_http_destination_cannot_read_part_of_an_answer(self, read, form):
        """Who is rejected would count as accepted, as a 2xx means all users."""
        file = {**SIMPLE, "answer": form} if form else SIMPLE
        with saying(207, {"failed": [7]}) as receiver:
            client = read(toml(file | {"url": receiver.url}))
            with pytest.raises(Stopped, match=r"\[answer\]"):
                client.send(request_of())


class TestAnswers:
    """What a receiver's answer to a request means."""

    def send(self, url):
        file = {**SIMPLE, "url": url, "rate": 0, "headers": {"X": SECRET}}
        client = Http(msgspec.convert(file, HttpFile), {"$CRM_TOKEN": SECRET})
        client.send(request_of(1))

    def test_a_request_without_an_answer_may_be_sent_again(self):
        """The message names the host alone."""

        class Silent(Receiver):
            def answer(self, *_):
                return None

        with Silent() as receiver, pytest.raises(Unanswered) as raised:
            self.send(f"{receiver.url}/a/path")

        assert str(raised.value) == "127.0.0.1 did not answer: no connection"

    @pytest.mark.parametrize(
        ("statuses", "error"),
        [
            # They are about the request's users.
            ((408, 425, 429, 503), Unanswered),
            ((400, 409, 413, 422), Refused),
            # A redirection is not followed with users in it; 999 is no status.
            ((302, 403, 999), Stopped),
        ],
    )
    def test_a_delivery_says_who_is_at_fault(self, statuses, error):
        """Log and ledger have the status alone; a terminal has no secret."""
        answer = {"error": f"no {SECRET} of jo@example.com, u0"}
        for status in statuses:
            with Receiver() as other:
                more = {"Location": other.url, "Retry-After": "7"}
                with (
                    saying(status, answer, more) as receiver,
                    pytest.raises(error) as no,
                ):
                    self.send(receiver.url)

            said = '{"error": "no (a secret) of jo@example.com, u0"}'
            assert f"status {status}" in str(no.value)
            assert "jo@" not in str(no.value)
            assert getattr(no.value, "words", said) == said
            assert getattr(no.value, "reason", f"status {status}") == f"status {status}"
            assert getattr(no.value, "pause_s", 7) == 7
            assert (receiver.requests, other.requests) == (1, 0)

    @pytest.mark.parametrize("page", ["\n<!DOCTYPE html><title>Log in", "\ufeff<HTML>"])
    def test_a_web_page_accepts_nobody(self, page):
        """Such as a login page, whose status is 200."""
        text = page.encode()
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text
        with (
            receiver(answer) as url,
            pytest.raises(Stopped, match="status 200 and a web page"),
        ):
            self.send(url)

    def test_a_delivery_takes_no_password_of_netrc(self, tmp_path, monkeypatch):
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        with saying() as receiver:
            self.send(receiver.url)

        assert "Authorization" not in receiver.heard[0][2]


DOCS = Path(__file__).parents[4] / "docs"
COLUMNS = {"email": "a@b.com", "email_sha256": "0" * 64, "klaviyo_id": "01GX"}
CLOCK = ManualClock(AUDIENCE.chosen_at)


FILES = [
    file
    for file in sorted((DOCS / "destinations").glob("*.toml"))
    if 'kind = "http"' in file.read_text()
]


def ask(name: str, monkeypatch, answer, status=200, *, clock=CLOCK) -> tuple[Sent, str]:
    """Send two users to a service; return what its answer says, and what it heard."""
    named = DeclaredAudience("winback", DOCS, Declared(destination=name, top=1))
    columns = list(COLUMNS)
    client = opened(named, SENDS, lambda _: SECRET, columns=columns, clock=clock)
    asked = []

    def respond(self, method, url, *, data, headers, **how):
        asked.append(f"{url} {headers} {data.decode()}")
        response = requests.Response()
        response.status_code = status
        response.raw = io.BytesIO(json.dumps(answer).encode())
        return response

    monkeypatch.setattr(requests.Session, "request", respond)
    members = []
    for user in ("u1", "u2")[: client.batch]:
        own = COLUMNS | {"email": f"{user}@b.com"}
        members.append(Member(user, 0.5, attributes=json.dumps(own)))
    sent = client.send(Request(AUDIENCE, "add", members))
    return sent, asked[0]


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_an_example_of_the_page_sends_users_with_nothing_left_to_fill_in(
    name, monkeypatch
):
    sent, text = ask(name, monkeypatch, {"events_received": 2})

    assert sent.rejected == {}
    assert text.startswith("https://")
    assert SECRET in text
    assert "Idempotency-Key" in text
    assert not re.search(r"\{\w+\}", text)


@pytest.mark.parametrize(
    ("name", "status", "error", "reason"),
    [
        ("braze", 201, {"type": "no_such_user", "index": 1}, "no_such_user"),
        # Its 207 is no word that all were accepted.
        (
            "hubspot",
            207,
            {"category": "WRONG", "context": {"ids": ["u2@b.com"]}},
            "WRONG",
        ),
    ],
)
def test_a_service_rejects_a_user_by_the_place_or_the_address(
    monkeypatch, name, status, error, reason
):
    sent, _ = ask(name, monkeypatch, {"errors": [error]}, status)

    assert sent.rejected == {"u2": reason}


def test_meta_takes_all_events_of_seven_days_or_it_is_not_known_whose(monkeypatch):
    with pytest.raises(Stopped, match="another form"):
        ask("meta", monkeypatch, {"events_received": 1})
    late = ManualClock(AUDIENCE.chosen_at + timedelta(days=8))
    with pytest.raises(RequestError, match="meta accepts users for 168 hours"):
        ask("meta", monkeypatch, {}, clock=late)


OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def receiver(*parts: bytes, pause_s: float = 0.0, times: int = 1) -> Iterator[str]:
    """A receiver of one request; it answers in parts, the last one again and again."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer():
        with server.accept()[0] as connection:
            connection.recv(65_536)
            for number in range(len(parts) + times - 1):
                try:
                    connection.sendall(parts[min(number, len(parts) - 1)])
                except OSError:
                    return
                time.sleep(pause_s)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.close()
    thread.join(5)
    assert not thread.is_alive()


def hear(url: str) -> Answer:
    with requests.Session() as session:
        return answer_to(session, "POST", url, data=b"", headers={})


def sized(body: bytes, size: int, headers: bytes = b"") -> bytes:
    return OK + headers + b"Content-Length: %d\r\n\r\n" % size + body


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (sized(b"\xef\xbb\xbf{}", 5), "{}"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "{}"),
        # It is shorter than it says.
        (sized(b"{}", 50), None),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nsoon\r\n{}", None),
        (sized(b"no gzip", 7, b"Content-Encoding: gzip\r\n"), None),
        (sized(b"x" * answers.LARGEST_BYTES, answers.LARGEST_BYTES), "x" * 2**20),
    ],
)
def test_an_answer_is_its_text_unless_it_lies(answer, text):
    with receiver(answer) as url:
        assert hear(url).text == text


PACKED = gzip.compress(bytes(2**26))


@pytest.mark.parametrize(
    "parts",
    [
        (OK + b"\r\n", b"x" * 2**20),
        (sized(PACKED, len(PACKED), b"Content-Encoding: gzip\r\n"),),
    ],
    ids=["a long one", "a packed one"],
)
def test_an_answer_that_is_too_large_does_not_fill_memory(parts):
    """306 kB can become 600 MiB."""
    with receiver(*parts, times=100) as url:
        tracemalloc.start()
        try:
            assert hear(url) == Answer(200)
            assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        finally:
            tracemalloc.stop()
