"""Servers on this machine: for its programs alone, and as faulty as real ones."""

from __future__ import annotations

import subprocess
import sys

import pytest
import requests

from local.processes import answers, free_ports
from local.receiver import Receiver
from local.stack.stack import LOOPBACK
from tests.functions.streaming import eventually

FOREIGN = (
    {"Host": "evil.example"},
    {"Host": ""},
    {"Host": "127.0.0.1.evil.example:80"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
)
OWN = ({}, {"Host": "localhost"}, {"Host": "[::1]:9"}, {"Origin": "http://localhost:3"})


@pytest.fixture
def pages(tmp_path):
    (tmp_path / "index.html").write_text("page")
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [sys.executable, LOOPBACK, f"{port}"], cwd=tmp_path
    ) as server:
        eventually(lambda: answers(f"{url}/not-there"))
        yield f"{url}/index.html"
        server.terminate()


def test_a_server_on_this_machine_refuses_web_pages(emulators, pages):
    """The receiver and the dashboard as well as the emulators."""
    with Receiver() as receiver:
        for method, url in (
            ("GET", f"{emulators.url('bigquery')}/bigquery/v2/projects"),
            ("GET", f"{emulators.url('storage')}/storage/v1/b/nowhere/o"),
            ("POST", f"{receiver.url}/users"),
            ("GET", pages),
        ):
            foreign, own = (
                {
                    requests.request(method, url, json={}, headers=one).status_code
                    for one in headers
                }
                for headers in (FOREIGN, OWN)
            )
            assert (foreign, 421 in own) == ({421}, False), url
