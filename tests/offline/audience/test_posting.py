"""
Where the secrets and the users of a request go, and what counts as its answer,
specified on the HTTP destination.
"""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local.receiver import Limits, Receiver
from offline.audience.destinations.templates import values_of
from offline.audience.posting import Refused
from propensity.errors import AccessDenied, PropensityError, Unavailable
from tests.offline.audience.test_http import Answering, destination, request_of

TODAY = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def listening():
    """A socket that waits for connections, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def signed_by_itself(tmp_path):
    """A certificate of 127.0.0.1 that no authority has signed, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(TODAY - datetime.timedelta(days=1))
        .not_valid_after(TODAY + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "receiver.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def serve(server, talk):
    """Let something talk with everybody who connects; return the receiver."""

    def each():
        while True:
            try:
                connection, _ = server.accept()
                with connection:
                    talk(connection)
            except OSError:
                if server.fileno() < 0:
                    return

    threading.Thread(target=each, daemon=True).start()
    host, port = server.getsockname()
    return SimpleNamespace(url=f"http://{host}:{port}")


def test_an_answer_that_ends_within_its_head_is_none(listening):
    """Whom it rejects would have been in its body, which may have been empty or not."""

    def talk(connection):
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-")

    receiver = serve(listening, talk)

    with pytest.raises(Unavailable, match="2 tries"):
        destination(receiver, tries=2).send(request_of(1))


def test_a_certificate_that_is_not_trusted_ends_it_and_says_why(
    listening, signed_by_itself
):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed_by_itself)
    receiver = serve(
        listening, lambda c: context.wrap_socket(c, server_side=True).close()
    )

    url = receiver.url.replace("http:", "https:")
    with pytest.raises(AccessDenied, match="not trusted: self-signed certificate"):
        destination(receiver, url=url, tries=2).send(request_of(1))


def test_a_redirection_that_leads_nowhere_is_one_all_the_same():
    """Its address is not looked at, and its words are told."""
    moved = Answering(302, {"Location": "http://[::1"}, b"moved away")
    with moved as receiver, pytest.raises(AccessDenied, match="302 moved away"):
        destination(receiver).send(request_of())


@pytest.mark.parametrize("status", [402, 407, 415, 451])
def test_an_answer_that_is_about_no_user_refuses_nobody(status):
    """A bill that is not paid, a proxy, a type or a law that forbids it."""
    with Answering(status, {}, b"no") as receiver, pytest.raises(AccessDenied):
        destination(receiver).send(request_of())


def test_an_answer_after_an_announcement_is_of_no_other_request():
    """It comes on the connection of the announcement, which is used no more."""
    connections = set()

    class Announcing(Receiver):
        def take(self, *_):
            # Each connection has a thread.
            connections.add(threading.current_thread())
            return 102, {}, b""

    with Announcing() as receiver, pytest.raises(Unavailable, match="status 102"):
        destination(receiver, tries=3).send(request_of())

    assert len(connections) == 3


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

    @pytest.mark.parametrize("status", [200, 401, 422])
    def test_are_not_told_where_a_receiver_repeats_them(self, status):
        """Its reasons stand in the ledger, for all who read that."""
        words = "no such token: Bearer secret"
        rejected = {"errors": [{"id": "u0", "message": words}]}
        with Answering(status, {}, rejected if status == 200 else words) as receiver:
            try:
                text = str(destination(receiver).send(request_of()))
            except (Refused, PropensityError) as error:
                text = str(error)

        assert "no such token: Bearer (a secret)" in text
        assert "Bearer secret" not in text

    def test_are_all_variables_of_the_file(self):
        template = {"url": "https://h/${KEY}", "body": {"all": [{"k": "a${TOKEN}b"}]}}

        assert values_of(template, {"KEY": "k1", "TOKEN": "t1", "HOME": "/"}) == [
            "k1",
            "t1",
        ]
