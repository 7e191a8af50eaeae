"""
Where the secrets and the users of a request go, specified on the HTTP destination.
"""

from __future__ import annotations

from local.receiver import Limits, Receiver
from tests.offline.audience.test_http import destination, request_of


class TestSecrets:
    """Of a request, which are those of the file and nobody else's."""

    def test_are_not_those_of_netrc(self, tmp_path, monkeypatch):
        """Its `default` stands for every host."""
        netrc = tmp_path / "netrc"
        netrc.write_text("default login me password mine\n")
        monkeypatch.setenv("NETRC", str(netrc))

        with Receiver(Limits(token="secret")) as receiver:
            assert destination(receiver).send(request_of(1)) == {}

    def test_may_be_in_the_address(self):
        class Asking(Receiver):
            def answer(self, method, path, headers, body):
                assert headers["Authorization"] == "Basic dXM6c2VjcmV0"
                return 200, {}, {}

        with Asking() as receiver:
            url = receiver.url.replace("//", "//us:${CRM_TOKEN}@")
            client = destination(receiver, url=url, headers={}, tries=1)
            assert client.send(request_of(1)) == {}

    def test_do_not_leave_the_machine_without_tls(self, monkeypatch):
        with Receiver() as receiver, Receiver() as proxy:
            for name in ("http_proxy", "all_proxy"):
                monkeypatch.setenv(name, proxy.url)
            for name in ("no_proxy", "NO_PROXY"):
                monkeypatch.delenv(name, raising=False)
            destination(receiver).send(request_of(1))

        assert proxy.taken.requests == 0
        assert receiver.taken.requests == 1
