"""
The emulator's process, specified: what it refuses, how much it holds, how it ends.
"""

from __future__ import annotations

import itertools
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.api_core import exceptions
from google.pubsub_v1 import types

from local.emulators.pubsub.server import google_command, is_serving
from tests.local.emulators.pubsub.conftest import (
    OK,
    PATIENCE_S,
    Endpoint,
    our_command,
    push_to,
    running,
)


class TestRefusals:
    """What would have to be ignored is refused."""

    @pytest.mark.parametrize(
        "settings",
        [
            {"filter": "attributes:city"},
            {"enable_message_ordering": True},
            {"enable_exactly_once_delivery": True},
            {"bigquery_config": types.BigQueryConfig(table="p.d.t")},
            {
                "push_config": types.PushConfig(
                    push_endpoint="http://127.0.0.1:9",
                    no_wrapper=types.PushConfig.NoWrapper(),
                )
            },
        ],
    )
    def test_of_settings(self, ours, settings):
        """A subscription cannot ask for what there is not."""
        with pytest.raises(exceptions.MethodNotImplemented):
            ours.subscription(ours.topic(), **settings)

    def test_of_a_pull_from_a_push_subscription(self, ours):
        """What is pushed is not pulled as well."""
        name = ours.subscription(ours.topic(), push_config=push_to("http://[::1]:9/"))
        with pytest.raises(exceptions.FailedPrecondition):
            ours.subscriber.pull(subscription=name, max_messages=1)


class TestProcess:
    def test_stops_at_once(self):
        """SIGTERM ends it with success, whatever pushes are under way."""
        hung = threading.Event()

        def answer(_):
            hung.wait(PATIENCE_S)
            return OK

        with running(our_command) as emulator, Endpoint(answer) as endpoint:
            topic = emulator.topic()
            emulator.subscription(topic, "push", push_config=push_to(endpoint.url))
            emulator.publish(topic, "x")
            endpoint.wait_for(1)
            emulator.process.send_signal(signal.SIGTERM)

            assert emulator.process.wait(timeout=5) == 0
            hung.set()

    def test_does_not_share_its_port(self, ours):
        """A second emulator on a port fails instead of taking half of the calls."""
        second = subprocess.run(
            our_command(int(ours.address.rpartition(":")[2])),
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE_S,
            check=False,
        )

        assert second.returncode != 0
        assert is_serving(ours.address)

    def test_listens_on_this_machine_alone(self, ours):
        """No other address of this machine answers."""
        with socket.socket() as other:
            other.settimeout(5)
            port = int(ours.address.rpartition(":")[2])

            assert other.connect_ex(("127.0.0.2", port)) != 0

    def test_serves_many_at_once(self, ours):
        """Sixteen threads publish and pull through one client: nothing is lost."""
        topic = ours.topic()
        subscription = ours.subscription(topic)
        numbers = itertools.count()

        def publish(_):
            return ours.publish(topic, *[str(next(numbers)) for _ in range(50)])

        with ThreadPoolExecutor(16) as pool:
            ids = [one for batch in pool.map(publish, range(16)) for one in batch]
            received = ours.pull(subscription, len(ids))

        assert sorted(one.message.message_id for one in received) == sorted(ids)


def test_googles_emulator_is_not_made_up(monkeypatch, tmp_path):
    """Where gcloud or its emulator is not installed there is no command for it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert google_command(8085, tmp_path) is None

    for program in ("bin/gcloud", "java"):
        (tmp_path / program).parent.mkdir(exist_ok=True)
        (tmp_path / program).touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{tmp_path}")

    assert google_command(8085, tmp_path) is None
