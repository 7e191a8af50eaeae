"""
Emulators of Pub/Sub, ours and Google's where it is installed, and what is pushed to.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from google.cloud import pubsub_v1
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import PublisherClient, types

from local.emulators.pubsub.server import google_command, is_serving
from local.processes import free_ports
from tests.local.waiting import wait_until

PATIENCE_S = 15
OK = 204
ERROR = 500


@dataclass(frozen=True)
class Emulator:
    """A running emulator, its clients, and short ways to do the usual."""

    address: str
    process: subprocess.Popen
    publisher: pubsub_v1.PublisherClient
    subscriber: pubsub_v1.SubscriberClient

    def topic(self):
        """Make a topic, in a project of its own."""
        unique = uuid.uuid4().hex[:10]
        return self.publisher.create_topic(name=f"projects/p-{unique}/topics/new").name

    def subscription(self, topic, name="all", **settings):
        """Make a subscription in the topic's project."""
        project = topic.split("/")[1]
        full_name = f"projects/{project}/subscriptions/{name}"
        request = {"name": full_name, "topic": topic, **settings}
        return self.subscriber.create_subscription(request=request).name

    def publish(self, topic, *texts, **attributes):
        """Publish, and return the ids once they are known."""
        futures = [
            self.publisher.publish(topic, text.encode(), **attributes) for text in texts
        ]
        return [future.result(PATIENCE_S) for future in futures]

    def pull(self, subscription, count=1):
        """Pull until so many messages have come."""
        received = []
        deadline = time.monotonic() + PATIENCE_S
        while len(received) < count and time.monotonic() < deadline:
            answer = self.subscriber.pull(
                subscription=subscription, max_messages=count, timeout=3, retry=None
            )
            received += answer.received_messages
        return received

    def is_empty(self, subscription):
        """Whether a pull that waits for half a second finds nothing."""
        # Both emulators answer a second before the client would give up.
        answer = self.subscriber.pull(
            subscription=subscription, max_messages=10, timeout=1.5, retry=None
        )
        return not answer.received_messages

    def acknowledge(self, subscription, messages):
        ids = [message.ack_id for message in messages]
        self.subscriber.acknowledge(subscription=subscription, ack_ids=ids)

    def set_deadline(self, subscription, messages, seconds):
        ids = [message.ack_id for message in messages]
        self.subscriber.modify_ack_deadline(
            subscription=subscription, ack_ids=ids, ack_deadline_seconds=seconds
        )


@contextlib.contextmanager
def running(command_for):
    """Run the emulator that a command starts on a given port."""
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", address)
        publisher = pubsub_v1.PublisherClient()
        subscriber = pubsub_v1.SubscriberClient()
    process = subprocess.Popen(command_for(port), stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_serving(address), "it serves")
        yield Emulator(address, process, publisher, subscriber)
    finally:
        publisher.stop()
        publisher.transport.close()
        subscriber.close()
        process.kill()
        process.wait()


def our_command(port):
    return [sys.executable, "-m", "local.emulators.pubsub", "--port", str(port)]


@pytest.fixture(
    scope="module", params=["ours", pytest.param("google", marks=pytest.mark.long)]
)
def emulator(request, tmp_path_factory):
    """Each of the two emulators in turn."""
    command_for = our_command
    if request.param == "google":
        folder = tmp_path_factory.mktemp("google")

        def command_for(port):
            return google_command(port, folder)

        if command_for(0) is None:
            pytest.skip("gcloud's pubsub-emulator or Java is not installed")
    with running(command_for) as emulator:
        yield emulator


@pytest.fixture
def topic(emulator):
    """A topic in a project of its own."""
    return emulator.topic()


@pytest.fixture
def subscription(emulator, topic):
    """A subscription of the topic."""
    return emulator.subscription(topic)


@pytest.fixture(scope="module")
def ours():
    """Our emulator."""
    with running(our_command) as emulator:
        yield emulator


@dataclass(frozen=True)
class Push:
    """One request that an endpoint was sent."""

    path: str
    headers: dict[str, str]
    body: dict
    time: float

    @property
    def text(self):
        return base64.b64decode(self.body["message"].get("data", "")).decode()


class Endpoint:
    """
    A web server that notes what it is sent, and answers as it is told.

    Args:
        answer: Given a push, returns a status, or None to hang up without one.
        port: To listen on; a free one by default.
    """

    def __init__(self, answer=lambda _: OK, port=0):
        self.pushes = []
        self.answer = answer
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                push = Push(
                    self.path, dict(self.headers), json.loads(body), time.monotonic()
                )
                endpoint.pushes.append(push)
                status = endpoint.answer(push)
                if status is None:
                    # A reset, as from a process that is killed.
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, linger
                    )
                    self.close_connection = True
                    return
                self.send_response(status)
                if status != OK:
                    self.send_header("Content-Length", "5")
                self.end_headers()
                if status != OK:
                    self.wfile.write(b"error")

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.02,)).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    @property
    def texts(self):
        return [push.text for push in self.pushes]

    def wait_for(self, count):
        """Wait until so many pushes have come, and return all."""
        wait_until(lambda: len(self.pushes) >= count, f"{count} pushes")
        return list(self.pushes)


def pubsub_api(emulator):
    """Return the client that sends requests as they are, unbatched and unchecked."""
    return PublisherClient(transport=emulator.publisher.transport)


def push_to(url):
    return types.PushConfig(push_endpoint=url)


def dead_letters_to(topic):
    return types.DeadLetterPolicy(dead_letter_topic=topic, max_delivery_attempts=5)


def backing_off(shortest, longest):
    durations = []
    for seconds in (shortest, longest):
        durations.append(Duration())
        durations[-1].FromNanoseconds(int(seconds * 1e9))
    return types.RetryPolicy(minimum_backoff=durations[0], maximum_backoff=durations[1])
