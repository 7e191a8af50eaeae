"""Errors of a service that did not answer, specified on real connections."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import grpc
import pytest
import requests
import urllib3
from google.api_core import exceptions as api

from local.processes import HOST, free_ports
from propensity.gcp.unanswered import unanswered


def by_urllib3(port: int) -> None:
    """As lookups read the bucket."""
    pool = urllib3.PoolManager(retries=urllib3.Retry(1, backoff_factor=0), timeout=0.2)
    pool.request("GET", f"http://{HOST}:{port}/")


def by_requests(port: int) -> None:
    """As Google's clients, which wrap the failure that they gave up with."""
    try:
        requests.get(f"http://{HOST}:{port}/", timeout=0.2)
    except requests.RequestException as error:
        raise api.RetryError("gave up", error) from error


def by_grpc(port: int) -> None:
    """As rows are read."""
    with grpc.insecure_channel(f"{HOST}:{port}") as channel:
        try:
            channel.unary_unary("/a.B/C")(b"", timeout=1)
        except grpc.RpcError as error:
            raise api.from_grpc_error(error) from error


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and answers nothing."""
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def message_of(call: Callable[[int], None], port: int) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011 any client's
        call(port)
    return unanswered("It", caught.value, emulator=f"http://{HOST}:{port} (X)").message


@pytest.mark.parametrize("call", [by_urllib3, by_requests, by_grpc])
class TestUnanswered:
    def test_says_that_nothing_listens(self, call):
        """A refused connection is no matter of time."""
        [port] = free_ports(1)
        message = message_of(call, port)

        assert message.startswith("It did not answer: the connection was refused. ")
        assert f"Nothing listens at http://{HOST}:{port} (X)" in message
        assert "`make up`" in message

    def test_says_that_it_took_too_long(self, call, silent):
        """Somebody listens there, and does not answer."""
        message = message_of(call, silent)

        assert message.startswith("It did not answer in time: ")
        assert f"The emulator at http://{HOST}:{silent} (X)" in message
