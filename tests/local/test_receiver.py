"""The receiver of audiences that one can practise with."""

from __future__ import annotations

import subprocess
import sys

import requests

from local.processes import free_ports, is_listening
from tests.local.projects import wait_until


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
                url = f"http://127.0.0.1:{port}"
                answer = requests.post(url, json=body, timeout=10)
            except requests.ConnectionError:
                seen.add("lost")
                continue
            seen.add(answer.status_code)
            if answer.ok:
                reasons.update(one["message"] for one in answer.json()["errors"])
        process.terminate()

    assert seen == {200, 503, "lost"}
    assert reasons == {"unsubscribed"}
