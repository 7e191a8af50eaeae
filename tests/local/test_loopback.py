"""Servers on this machine: for its programs alone, and as faulty as real ones."""

from __future__ import annotations

import subprocess
import sys

import pytest
import requests

from local.processes import HOST, answers, free_ports, is_listening
from local.receiver import Receiver
from local.stack.stack import LOOPBACK
from tests.programs import wait_until

FOREIGN = (
    {"Host": "evil.example"},
    {"Host": ""},
    {"Host": "127.0.0.1.evil.example:80"},
    {"Host": "127.0.0.1:80@evil.example"},
    {"Host": "[::1"},
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
        wait_until(lambda: answers(f"{url}/not-there"))
        yield f"{url}/index.html"
        server.terminate()


@pytest.fixture
def servers(emulators, pages):
    """An address of each server that answers 200."""
    bigquery, storage = emulators.url("bigquery"), emulators.url("storage")
    with Receiver() as receiver:
        yield {
            "bigquery": ("GET", f"{bigquery}/bigquery/v2/projects"),
            "storage": ("GET", f"{storage}/storage/v1/b/nowhere/o"),
            "receiver": ("POST", f"{receiver.url}/users"),
            "dashboard": ("GET", pages),
        }


@pytest.mark.parametrize("name", ["bigquery", "storage", "receiver", "dashboard"])
def test_a_server_on_this_machine_refuses_what_a_page_of_the_web_can_send(
    servers, name
):
    method, url = servers[name]

    def status(headers):
        return requests.request(method, url, json={}, headers=headers, timeout=10)

    assert {status(headers).status_code for headers in FOREIGN} == {421}
    assert 421 not in {status(headers).status_code for headers in OWN}


def test_the_receiver_to_practise_with_has_the_faults_of_real_ones():
    """It loses answers, returns 503 and rejects users, as docs/audiences.md says."""
    [port] = free_ports(1)
    seen, reasons = set[object](), set[str]()
    command = [sys.executable, "-m", "local.receiver", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: is_listening(port))
        for number in range(100):
            body = {"users": [{"id": f"u{number}"}]}
            try:
                answer = requests.post(f"http://{HOST}:{port}", json=body, timeout=10)
            except requests.ConnectionError:
                seen.add("lost")
                continue
            seen.add(answer.status_code)
            if answer.ok:
                reasons.update(one["message"] for one in answer.json()["errors"])
        process.terminate()

    assert seen == {200, 503, "lost"}
    assert reasons == {"unsubscribed"}
