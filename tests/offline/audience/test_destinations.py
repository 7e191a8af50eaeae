"""Destinations and their files, specified against a receiver on this machine."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.processes import free_ports
from local.receiver import Receiver
from propensity.audience.declared import Declared, DeclaredAudience
from propensity.audience.destination import Refused, Request, Stopped, Unanswered
from propensity.audience.http import Http, HttpFile, pause_of
from propensity.audience.members import Audience, Control, Member
from propensity.audience.run import opened
from propensity.errors import AccessDenied, UseCaseError
from tests.offline.audience.test_answers import receiver as answering
from tests.support.receivers import Playing

# The settings of a deployment that reaches receivers.
SENDING = SimpleNamespace(sends="yes")
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
GOOGLE = {
    "kind": "google",
    "name": "analytics",
    "account_type": "GOOGLE_ANALYTICS_PROPERTY",
    "account": "123",
    "target": "G-ABC123",
}
CHOSEN_AT = datetime(2026, 3, 2, 6, tzinfo=UTC)


def saying(status=200, answer=None, headers=None) -> Playing:
    return Playing(always=(status, headers or {}, answer))


@pytest.fixture
def read(tmp_path):
    """Open the destination of a file."""

    def opening(text: str, audience="winback", columns=()):
        path = tmp_path / "destinations" / "of_the_crm.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        named = DeclaredAudience(
            audience, tmp_path, Declared(destination="of_the_crm", top=1)
        )
        use_case = SimpleNamespace(
            name="ga4_purchase",
            statement_parameters=lambda _: {"user_column": "user_pseudo_id"},
        )
        deployment = SimpleNamespace(use_case=use_case, settings=SENDING)
        return opened(named, deployment, VARIABLES.__getitem__, columns=columns)

    return opening


def toml(file: dict) -> str:
    """Return a file of one line for each entry."""

    def of(value) -> str:
        if not isinstance(value, dict):
            return json.dumps(value)
        inside = (f"{json.dumps(name)} = {of(one)}" for name, one in value.items())
        return f"{{{', '.join(inside)}}}"

    return "\n".join(f"{name} = {of(value)}" for name, value in file.items())


def http(template) -> Http:
    file = msgspec.convert(template, HttpFile)
    return Http(file, {"$CRM_TOKEN": SECRET})


AUDIENCE = Audience(
    use_case="ga4_purchase",
    name="winback",
    as_of=date(2026, 3, 2),
    control=Control(key=b"", group="winback", share=0.0),
    selection="",
    source=None,
    is_stored=True,
    chosen_at=CHOSEN_AT,
)


def request_of(count=10, *, action="add", first=0) -> Request:
    members = [Member(f"u{n}", n / 100) for n in range(first, first + count)]
    return Request(AUDIENCE, "crm", action, members)


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

    @pytest.mark.parametrize("digits", ["12345678901234567.89", "0.1", "1e+300"])
    def test_an_http_destination_sends_all_digits_of_a_number(self, digits):
        """Defect: the last digits of a long NUMERIC were others."""
        with Receiver() as receiver:
            user = {"id": "{user_id}", "paid": "{paid}"}
            template = {**SIMPLE, "url": receiver.url, "rate": 0, "user": user}
            client = Http(msgspec.convert(template, HttpFile), {}, columns=["paid"])
            member = Member("u0", attributes=f'{{"paid":{digits}}}')
            client.send(Request(AUDIENCE, "crm", "add", [member]))

        [body] = receiver.bodies.values()
        text = body.decode().lower().replace("+", "")
        assert f'"paid":{digits.replace("+", "")}' in text

    def test_an_http_destination_has_one_key_for_the_same_users_alone(self):
        others = [request_of(9), request_of(action="remove"), request_of(first=1)]
        keys = {request_of().key, *(other.key for other in others)}

        assert (len(keys), request_of().key in keys) == (4, True)

    def test_an_http_destination_takes_no_place_in_a_secret_for_one(
        self, read, monkeypatch
    ):
        """Defect: the token was refused and printed, or altered."""
        monkeypatch.setitem(VARIABLES, "CRM_TOKEN", "{as_of}${CRM_TOKEN}{word}")
        with saying() as receiver:
            read(HTTP.format(url=receiver.url)).send(request_of(1))

        [(_, _, headers, _)] = receiver.heard
        assert headers["Authorization"] == "Bearer {as_of}${CRM_TOKEN}{word}"

    @pytest.mark.parametrize(
        "changed",
        [SIMPLE | {"method": "${CRM_TOKEN}"}, GOOGLE | {"consent": "${CRM_TOKEN}"}],
    )
    def test_an_http_destination_names_no_secret_in_a_wrong_place(self, read, changed):
        with pytest.raises(UseCaseError, match="Use one of") as raised:
            read(toml(changed))

        assert SECRET not in raised.value.message

    @pytest.mark.parametrize("secret", ["two\nlines", "T\u20acKEN", "\ufffdT\0O\0"])
    def test_an_http_destination_names_a_wrong_secret(self, read, monkeypatch, secret):
        """Defect: nothing was sent, and the receiver was said to have failed."""
        monkeypatch.setitem(VARIABLES, "CRM_TOKEN", secret)
        with pytest.raises(UseCaseError) as raised:
            read(HTTP.format(url="https://crm.example.com"))

        assert "headers.Authorization contains" in raised.value.message
        assert "the secret CRM_TOKEN: add its value again" in raised.value.message
        assert secret not in raised.value.message

    def test_an_http_destination_needs_no_secret_of_a_comment(self, read):
        """Defect: every delivery stopped for a secret that nothing needed."""
        read(f"# ${{OLD_TOKEN}}\n{toml(SIMPLE)}")

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"kind": "none"}, "kind"),
            ({"name": "bucket"}, "name is 'bucket'; use up to 64"),
            ({"name": "a\n"}, "use up to 64"),
            ({"batch": 0}, "batch is 0"),
            ({"rate": -1}, "rate is -1"),
            ({"method": "FLY"}, "method: there is no FLY"),
            ({"unheard": 1}, "unheard"),
            ({"user": "{email}"}, "{email}"),
            ({"headers": {"X": "{users}"}}, "{users}"),
            # Defect: a quotation mark in a user id got out of the text around it.
            ({"user": '{{"id": "{user_id}"}}'}, "Give it an entry of its own"),
            ({"body": {"users": "{users}", "text": "all: {users}"}}, "of its own"),
            # Defect: a misspelt placeholder was sent as it stood.
            ({"body": {"users": "{users}", "n": "{first-name}"}}, "write the brace"),
            ({"url": "https://example.com:65536/"}, "cannot exist"),
            ({"url": "https://example..com/"}, "cannot exist"),
            ({"headers": {"X": "a\tb"}}, "headers.X .* U.0009, .* Correct the header"),
            # Defect: all requests had the key of the file, and one was taken.
            ({"headers": {"idempotency-Key": "mine"}}, "Remove the entry"),
            # Defect: a body was cut, or another host was asked.
            ({"headers": {"Host": "x.example"}}, "Remove the entry"),
            ({"headers": {"Content-Length": "5"}}, "Remove the entry"),
            ({"headers": {"transfer-encoding": "chunked"}}, "Remove the entry"),
            ({"remove": {"verb": "DELETE"}}, "verb"),
            ({"remove": {"url": "http://example.com"}}, "https"),
            *(
                ({"url": url}, "https")
                for url in (
                    "http://example.com/",
                    "http://127.0.0.1.example.com",
                    "https://{audience}.example.com",
                    "http://127.0.0.1{action}",
                    # Some clients take what is before the backslash as the host.
                    "http://example.com\\@127.0.0.1/",
                )
            ),
            # Else the ledger says that users were accepted of whom a receiver never
            # heard, or those who have left are added again.
            ({"body": {"list": "{audience}"}}, "must contain"),
            ({"user": {"score": "{probability}"}}, "must contain"),
            ({"remove": {"body": {"list": "{audience}"}}}, "must contain"),
            ({"remove": {}}, "same request as adding"),
            ({"remove": {"url": SIMPLE["url"]}}, "same request as adding"),
        ],
    )
    def test_an_http_destination_refuses_a_wrong_file(self, read, changed, message):
        with pytest.raises(UseCaseError, match=message):
            read(toml(SIMPLE | changed))

    @pytest.mark.parametrize(
        ("answer", "rejected"),
        [
            (
                {"errors": [7, {"id": 8, "message": "unknown"}]},
                {"7": "rejected", "8": "unknown"},
            ),
            ({"errors": None}, {}),
            # Somebody was rejected, and nobody knows who: the file says id.
            ({"errors": [{"user": "7"}]}, None),
            ({"errors": "all"}, None),
            ({"errors": {"7": "unknown"}}, None),
            ({"errors": [{"id": []}]}, None),
            ([{"id": "7", "message": "unknown"}], None),
        ],
    )
    def test_an_http_destination_learns_who_was_rejected(self, read, answer, rejected):
        """An answer in another form is none."""
        request = replace(request_of(), members=[Member(user) for user in "789"])
        with saying(answer=answer) as receiver:
            client = read(HTTP.format(url=receiver.url))
            if rejected is None:
                with pytest.raises(Stopped) as raised:
                    client.send(request)
                assert raised.value.error.retryable
            else:
                assert client.send(request).rejected == rejected

    @pytest.mark.parametrize(
        ("form", "status", "answer", "rejected"),
        [
            # Defect: who was rejected counted as accepted, as a 2xx meant all users.
            (None, 207, {"errors": [{"context": {"ids": ["7"]}}]}, None),
            ({"rejected": "errors"}, 207, {"failed": [7]}, None),
            ({"rejected": "errors"}, 207, "", None),
            ({"taken": "result.n"}, 200, {"result": {"n": 3}}, {}),
            ({"taken": "n", "rejected": "no"}, 200, {"n": 2, "no": [7]},
             {"7": "rejected"}),
        ],
    )  # fmt: skip
    def test_an_http_destination_reads_what_services_answer(
        self, read, form, status, answer, rejected
    ):
        request = replace(request_of(), members=[Member(user) for user in "789"])
        with saying(status, answer) as receiver:
            file = SIMPLE | {"url": receiver.url} | ({"answer": form} if form else {})
            client = read(toml(file))
            if rejected is None:
                with pytest.raises(Stopped, match=r"\[answer\]"):
                    client.send(request)
            else:
                assert client.send(request).rejected == rejected

    def test_an_http_destination_notes_a_stranger(self, read):
        """Defect: it stopped, and each try sent again who had been taken."""
        with saying(answer={"errors": [{"id": "U7"}, {"id": "u0"}]}) as receiver:
            sent = read(HTTP.format(url=receiver.url)).send(request_of(2))

        assert sent.rejected == {"u0": "rejected"}
        assert sent.note == "the answer also rejects 1 user not in the request"


class TestAnswers:
    """What a receiver's answer to a request means."""

    def send(self, url):
        http({**SIMPLE, "url": url, "rate": 0, "headers": {"X": SECRET}}).send(
            request_of(1)
        )

    @pytest.mark.parametrize(
        ("words", "pause_s"), [("7", 7), ("0.4", 1), ("soon", 0), (None, 0)]
    )
    @pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 599])
    def test_a_busy_receiver_may_ask_for_a_pause(self, status, words, pause_s):
        """Fractions are rounded up; what is no pause is none."""
        headers = {"Retry-After": words} if words else {}
        with (
            saying(status, headers=headers) as receiver,
            pytest.raises(Unanswered, match=f"status {status}") as raised,
        ):
            self.send(receiver.url)

        assert (raised.value.pause_s, receiver.requests) == (pause_s, 1)

    @given(st.text(st.characters(max_codepoint=255)) | st.floats().map(str))
    def test_any_words_are_a_pause(self, words):
        assert pause_of(words) >= 0

    @pytest.mark.parametrize("status", [200, 204, 400])
    def test_a_delivery_knows_a_status_of_any_encoding(self, status):
        """The users of a success were taken: none is sent again."""
        lie = {"Content-Encoding": "gzip"}
        with saying(status, {"errors": []}, lie) as receiver:
            if status == 400:
                with pytest.raises(Refused, match="400"):
                    self.send(receiver.url)
            else:
                self.send(receiver.url)

        assert len(receiver.heard) == 1

    @pytest.mark.parametrize("fault", [{"lost": 1.0}, {"unavailable": 1.0}, None])
    def test_a_request_without_an_answer_may_be_sent_again(self, fault):
        """The message names the host alone."""
        with Receiver(**fault or {}) as receiver:
            url = receiver.url if fault else f"http://127.0.0.1:{free_ports(1)[0]}"
            with pytest.raises(Unanswered) as raised:
                self.send(f"{url}/a/path")

        unavailable = fault == {"unavailable": 1.0}
        came = "status 503" if unavailable else "no connection"
        assert str(raised.value) == f"127.0.0.1 did not answer: {came}"

    @pytest.mark.parametrize(
        ("statuses", "error"),
        [
            # They are about the request's users.
            ((400, 409, 413, 422), Refused),
            # A redirection is not followed with users in it; 999 is no status.
            ((302, 401, 403, 404, 410, 415, 451, 999), Stopped),
        ],
    )
    def test_a_delivery_says_who_is_at_fault(self, statuses, error):
        """Log and ledger have the status alone; a terminal has no secret."""
        answer = {"error": f"no {SECRET} of jo@example.com, u0"}
        for status in statuses:
            with (
                Receiver() as other,
                saying(status, answer, {"Location": other.url}) as receiver,
                pytest.raises(error) as raised,
            ):
                self.send(receiver.url)

            said = '{"error": "no (a secret) of jo@example.com, u0"}'
            assert raised.value.words == said
            if error is Refused:
                assert str(raised.value) == f"status {status}"
            else:
                assert raised.value.reason == f"status {status}"
                assert isinstance(raised.value.error, AccessDenied)
                assert "jo@" not in str(raised.value)
            assert (receiver.requests, other.requests) == (1, 0)

    @pytest.mark.parametrize(
        "page", ["\n<!DOCTYPE html><title>Log in", "<html lang=de>", "\ufeff<HTML>"]
    )
    def test_a_web_page_accepts_nobody(self, page):
        """Defect: a login page, whose status is 200, counted as an acceptance."""
        text = page.encode()
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text
        with (
            answering(answer) as url,
            pytest.raises(Stopped, match="status 200 and a web page"),
        ):
            self.send(url)

    def test_a_delivery_takes_no_password_of_netrc(self, tmp_path, monkeypatch):
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        with saying() as receiver:
            self.send(receiver.url)

        assert "Authorization" not in receiver.heard[0][2]


def test_analytics_sets_a_property_of_the_audience_s_name(read):
    assert read(toml(GOOGLE), audience="loyal").name == "analytics"
    with pytest.raises(UseCaseError, match="property"):
        read(toml(GOOGLE), audience="a_name_longer_than_a_property")
