"""Requests byte by byte, and what has to be true of every answer."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import pytest
import requests

from local.stack.state import FUNCTIONS
from tests.functions.streaming import USE_CASE
from tests.hostile.conftest import INTERNALS, TIMEOUT_S

HOST = "127.0.0.1"
ASYNCHRONOUS = ("get_proba", "score", "stream_features")
ALL = (*ASYNCHRONOUS, "model_evaluation")
# Others are hardly different to a client.
FUNCTION_OR_LONG = {
    function.target: function.target
    if function.target in ALL
    else pytest.param(function.target, marks=pytest.mark.long)
    for function in FUNCTIONS
}
THREADED = [
    FUNCTION_OR_LONG[function.target]
    for function in FUNCTIONS
    if not function.is_asynchronous
]
JSON = {"Content-Type": "application/json"}

# Whoever waits for more of a request than there is says nothing within this.
SILENCE_S = 0.5

# gunicorn itself closes a connection that is idle for so long.
GUNICORN_KEEPS_S = 2.0


def dialogue(
    port: int, data: bytes, *, timeout_s: float = TIMEOUT_S, ends: bool = False
) -> bytes:
    """
    Send bytes as they are, and return all that is answered until the end.

    Where the connection ``ends`` the server is told that no more bytes come.
    """
    with socket.create_connection((HOST, port), timeout=timeout_s) as connection:
        connection.sendall(data)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while part := connection.recv(65_536):
                received += part
    return received


def raw(
    method: str = "POST",
    path: str = "/",
    *,
    headers: tuple[str, ...] = ("Content-Type: application/json",),
    body: bytes = b"",
    length: str | None = None,
) -> bytes:
    """Return a request, with headers in any number and order."""
    length_header = f"Content-Length: {len(body) if length is None else length}"
    lines = [f"{method} {path} HTTP/1.1", "Host: f", "Connection: close", *headers]
    return "\r\n".join([*lines, length_header, "", ""]).encode("latin-1") + body


def status_of(received: bytes) -> int:
    """Return the status of the first answer; 0 where the connection was closed."""
    return int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/") else 0


def check_received(received: bytes) -> int:
    """Check that raw bytes are no 5xx and leak nothing; return the status."""
    status = status_of(received)
    assert status < 500, received
    # The platform's front end writes the header Server anew.
    body = received.partition(b"\r\n\r\n")[2].decode("latin-1")
    assert INTERNALS.search(body) is None, received
    return status


def valid_body(target: str) -> dict[str, Any]:
    """Return a body that the function would take."""
    if target == "get_proba":
        return {"user_ids": ["ana"], "use_case": USE_CASE}
    if target == "score":
        return {"use_case": USE_CASE, "user_id": "nobody"}
    if target == "stream_features":
        return {"message": {"messageId": "1", "data": ""}}
    return {"as_of": "2026-03-01", "use_case": USE_CASE}


def post(serve, target: str, data: Any, **arguments: Any) -> requests.Response:
    arguments = {"headers": JSON, "timeout": TIMEOUT_S, **arguments}
    return requests.post(serve(target).url, data=data, **arguments)
