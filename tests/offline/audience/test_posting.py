"""An HTTP request to a receiver, specified on one with limits and faults."""

from __future__ import annotations

import pytest

from local.processes import free_ports
from local.receiver import Faults, Limits, Receiver
from offline.audience.posting import Poster, Refused
from propensity.errors import AccessDenied, Unavailable

SECRET = "a secret of the file"


class Answering(Receiver):
    """A receiver that answers everything alike."""

    def __init__(self, status, headers, answer) -> None:
        super().__init__()
        self._answer = status, headers, answer

    def take(self, method, path, headers, body):
        self.heard = headers
        return self._answer


def send(receiver, *, url="", **changed):
    poster = Poster(rate=0, secrets=[SECRET], first_pause_s=0.0)
    return poster.send(
        "POST",
        url or receiver.url,
        body=b'{"users": [{"id": "u1"}]}',
        headers={"Idempotency-Key": "k"},
        **changed,
    )


class TestAnswer:
    @pytest.mark.parametrize("fault", [{"lost": 0.5}, {"unavailable": 0.5}])
    def test_that_does_not_come_is_waited_for_by_the_same_request(self, fault):
        """The receiver knows the repeat by its key: the user counts once."""
        with Receiver(faults=Faults(seed=3, **fault)) as receiver:
            for _ in range(5):
                send(receiver)

        assert receiver.taken.requests > 5
        assert receiver.taken.users == {("add", "u1"): 1}
        assert receiver.taken.changed == []

    def test_of_a_busy_receiver_is_waited_for_as_it_asks(self):
        with Receiver(Limits(rate=1)) as receiver:
            send(receiver)
            send(receiver)

        assert receiver.taken.refusals[429] == 1

    def test_that_never_comes_says_that_the_ledger_knows(self):
        port = free_ports(1)[0]
        with pytest.raises(Unavailable, match="is in the ledger"):
            send(None, url=f"http://127.0.0.1:{port}/secret/path")
        with Answering(503, {}, None) as receiver, pytest.raises(Unavailable) as raised:
            send(receiver, url=f"{receiver.url}/secret/path")

        assert receiver.taken.requests == 8
        assert "status 503" in raised.value.message
        assert "secret" not in raised.value.message

    @pytest.mark.parametrize("status", [400, 409, 413, 422])
    def test_that_is_about_users_refuses_them(self, status):
        answer = {"error": f"no {SECRET} of jo@example.com"}
        with Answering(status, {}, answer) as receiver, pytest.raises(Refused) as it:
            send(receiver)

        assert str(it.value).startswith(f"{status} ")
        assert "(an address)" in str(it.value)
        assert SECRET not in str(it.value)
        assert receiver.taken.requests == 1

    @pytest.mark.parametrize("status", [302, 401, 403, 404, 410, 415, 451])
    def test_that_is_about_no_user_stops_everything(self, status):
        """A redirection is not followed with users in it."""
        with (
            Receiver() as other,
            Answering(status, {"Location": other.url}, {}) as receiver,
            pytest.raises(AccessDenied, match=str(status)),
        ):
            send(receiver)

        assert other.taken.requests == 0

    def test_that_has_to_be_json_and_is_a_page_is_none(self):
        class Page(Answering):
            pass

        with Page(200, {}, {"ok": 1}) as receiver:
            assert send(receiver, is_json=True) == {"ok": 1}

    def test_is_of_a_request_without_a_password_of_netrc(self, tmp_path, monkeypatch):
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        with Answering(200, {}, {}) as receiver:
            send(receiver)

        assert receiver.heard.get("Authorization") is None
