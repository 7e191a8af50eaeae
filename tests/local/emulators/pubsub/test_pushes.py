"""
Pushes of the emulator, specified: in what form they come, how fast, and when again.
"""

from __future__ import annotations

import base64
import contextlib
import random
import socket
import threading
import time
from collections import Counter
from datetime import datetime

import pytest
from google.pubsub_v1 import types

from local.emulators.pubsub.push import MAX_WINDOW
from local.processes import free_ports
from tests.local.emulators.pubsub.conftest import (
    ERROR,
    OK,
    PATIENCE_S,
    Endpoint,
    backing_off,
    dead_letters_to,
    push_to,
)
from tests.local.waiting import wait_until


class TestContractOfPushes:
    def test_post_the_message(self, emulator):
        """The body is the envelope that Pub/Sub documents."""
        topic = emulator.topic()
        with Endpoint() as endpoint:
            subscription = emulator.subscription(
                topic, push_config=push_to(f"{endpoint.url}/events?a=b")
            )
            [message_id] = emulator.publish(topic, "Köln", use_case="x")
            [push] = endpoint.wait_for(1)

        message = push.body["message"]
        publish_time = message["publishTime"]
        assert push.path == "/events?a=b"
        assert push.headers["Content-Type"] == "application/json"
        assert push.body == {
            "message": {
                "attributes": {"use_case": "x"},
                "data": base64.b64encode("Köln".encode()).decode(),
                "messageId": message_id,
                "message_id": message_id,
                "publishTime": publish_time,
                "publish_time": publish_time,
            },
            "subscription": subscription,
        }
        assert publish_time.endswith("Z")
        assert datetime.fromisoformat(publish_time).tzinfo is not None

    def test_end_with_success(self, emulator):
        """A message is acknowledged by each of four answers, and not pushed again."""
        topic = emulator.topic()
        statuses = ["200", "201", "202", "204"]
        with Endpoint(lambda push: int(push.text)) as endpoint:
            emulator.subscription(topic, push_config=push_to(endpoint.url))
            emulator.publish(topic, *statuses)
            endpoint.wait_for(4)
            emulator.publish(topic, "200")
            endpoint.wait_for(5)

        assert sorted(endpoint.texts) == ["200", *statuses]

    def test_are_repeated_until_they_succeed(self, emulator):
        """A message is pushed again after an error, a refusal, and a hung-up call."""
        topic = emulator.topic()
        answers = iter([ERROR, None, 404, OK])
        with Endpoint(lambda _: next(answers)) as endpoint:
            emulator.subscription(topic, push_config=push_to(endpoint.url))
            [message_id] = emulator.publish(topic, "tough")
            pushes = endpoint.wait_for(4)

        assert {push.body["message"]["messageId"] for push in pushes} == {message_id}
        assert next(answers, "all given") == "all given"

    def test_wait_for_their_server(self, emulator):
        """Messages published while nothing listens arrive once something does."""
        topic = emulator.topic()
        [port] = free_ports(1)
        emulator.subscription(topic, push_config=push_to(f"http://127.0.0.1:{port}"))
        emulator.publish(topic, *"abc")
        time.sleep(0.2)

        with Endpoint(port=port) as endpoint:
            endpoint.wait_for(3)

        assert sorted(set(endpoint.texts)) == list("abc")

    def test_back_off(self, emulator):
        """With a retry policy a failed message is not pushed again before its time."""
        topic = emulator.topic()
        with Endpoint(lambda _: ERROR) as endpoint:
            policy = backing_off(1, 600)
            emulator.subscription(
                topic, push_config=push_to(endpoint.url), retry_policy=policy
            )
            emulator.publish(topic, "bad")
            first, second = endpoint.wait_for(2)

        assert second.time - first.time >= 0.99

    def test_can_be_turned_on_and_off(self, emulator):
        """A subscription is pushed to while it has an endpoint, else pulled from."""
        topic = emulator.topic()
        subscription = emulator.subscription(topic)
        with Endpoint() as endpoint:
            emulator.publish(topic, "kept")
            emulator.subscriber.modify_push_config(
                subscription=subscription, push_config=push_to(endpoint.url)
            )
            endpoint.wait_for(1)
            emulator.subscriber.modify_push_config(
                subscription=subscription, push_config=types.PushConfig()
            )
            emulator.publish(topic, "pulled")
            [received] = emulator.pull(subscription)

        assert endpoint.texts == ["kept"]
        assert received.message.data == b"pulled"


class TestBackOff:
    def test_doubles_from_minimum_to_maximum(self, ours):
        """A nacked message is away for longer each time, up to a bound."""
        topic = ours.topic()
        policy = backing_off(0.05, 0.2)
        subscription = ours.subscription(topic, retry_policy=policy)
        ours.publish(topic, "x")
        received = ours.pull(subscription)
        for seconds in (0.05, 0.1, 0.2, 0.2):
            before = time.monotonic()
            ours.set_deadline(subscription, received, 0)
            received = ours.pull(subscription)

            assert time.monotonic() - before >= seconds


class TestPushes:
    def test_leave_out_what_is_empty(self, ours):
        """Without attributes there is no field for them, and the same for data."""
        topic = ours.topic()
        with Endpoint() as endpoint:
            ours.subscription(topic, push_config=push_to(endpoint.url))
            ours.publish(topic, "text")
            ours.publish(topic, "", only="attributes")
            text, only = (push.body["message"] for push in endpoint.wait_for(2))

        assert set(text) & {"data", "attributes"} == {"data"}
        assert set(only) & {"data", "attributes"} == {"attributes"}

    def test_number_their_attempts(self, ours):
        """With a dead-letter policy the envelope counts its deliveries."""
        topic = ours.topic()
        answers = iter([ERROR, ERROR, OK])
        with Endpoint(lambda _: next(answers)) as endpoint:
            ours.subscription(
                topic,
                push_config=push_to(endpoint.url),
                dead_letter_policy=dead_letters_to(topic),
            )
            ours.publish(topic, "x")
            pushes = endpoint.wait_for(3)

        assert [push.body["deliveryAttempt"] for push in pushes] == [1, 2, 3]

    def test_are_given_up_at_the_deadline(self, ours):
        """An endpoint that does not answer in time is pushed to again."""
        topic = ours.topic()
        hung = threading.Event()

        def answer(_):
            if len(endpoint.pushes) == 1:
                hung.wait(PATIENCE_S)
            return OK

        with Endpoint(answer) as endpoint:
            ours.subscription(
                topic, push_config=push_to(endpoint.url), ack_deadline_seconds=1
            )
            ours.publish(topic, "slow")
            endpoint.wait_for(2)
            hung.set()
            ours.publish(topic, "next")
            endpoint.wait_for(3)

        assert endpoint.texts == ["slow", "slow", "next"]

    def test_keep_connections_open(self, ours):
        """One after the other goes through one connection."""
        topic = ours.topic()
        with CountingServer() as server:
            ours.subscription(topic, push_config=push_to(server.url))
            for number in range(10):
                ours.publish(topic, str(number))
                wait_until(lambda number=number: server.n_requests > number, "a push")

        assert server.n_connections == 1

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\nok",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 \r\ncontent-length:0\r\n\r\n",
            b"HTTP/1.1 102 Processing\r\n\r\n",
        ],
    )
    def test_understand_every_form_of_answer(self, ours, answer):
        """Whatever way of HTTP/1 a server has to say yes, it is taken for one."""
        topic = ours.topic()
        with CountingServer(answer) as server:
            ours.subscription(topic, push_config=push_to(server.url))
            for number in range(3):
                ours.publish(topic, str(number))
                wait_until(lambda number=number: server.n_requests > number, "a push")
            time.sleep(0.2)

        assert server.n_requests == 3

    @pytest.mark.parametrize("answer", [b"no HTTP\r\n\r\n", b"HTTP/1.1 2", b""])
    def test_take_nothing_else_for_an_answer(self, ours, answer):
        """Half an answer, or something else, acknowledges nothing."""
        topic = ours.topic()
        with CountingServer(answer) as server:
            ours.subscription(topic, push_config=push_to(server.url))
            ours.publish(topic, "x")
            wait_until(lambda: server.n_requests >= 3, "three pushes")

    def test_lose_nothing(self, ours):
        """Errors, resets and silence at random: each message is accepted once."""
        topic = ours.topic()
        chance = random.Random(7)
        accepted = Counter()

        def answer(push):
            status = chance.choices([OK, ERROR, None], [8, 1, 1])[0]
            if status == OK:
                accepted[push.text] += 1
            return status

        texts = [str(number) for number in range(1_000)]
        with Endpoint(answer) as endpoint:
            ours.subscription(topic, push_config=push_to(endpoint.url))
            ours.publish(topic, *texts)
            wait_until(lambda: len(accepted) == len(texts), "all of them")
            time.sleep(0.3)

        assert accepted == Counter(texts)


class CountingServer:
    """A server that gives every request one answer, byte for byte, and then hangs up
    unless the answer is whole and leaves the connection open."""

    OPEN = b"HTTP/1.1 204 No Content\r\n\r\n"

    def __init__(self, answer=OPEN):
        self.n_connections = self.n_requests = 0
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.n_connections += 1
                threading.Thread(
                    target=self._serve, args=(connection,), daemon=True
                ).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            while received := connection.recv(65_536):
                while not received.endswith(b"}"):
                    received += connection.recv(65_536)
                self.n_requests += 1
                connection.sendall(self._answer)
                if self._answer != self.OPEN:
                    return


class TestPace:
    """How many pushes are under way at once."""

    def test_grows_with_success(self, ours):
        """From a few it doubles with each round that succeeds, to a bound."""
        topic = ours.topic()
        gate = Gate()
        with Endpoint(gate.pass_through) as endpoint:
            ours.subscription(topic, push_config=push_to(endpoint.url))
            ours.publish(topic, *["x"] * 800)
            for window in (4, 8, 16, 32, 64, 128, MAX_WINDOW, MAX_WINDOW):
                gate.let_pass(window, OK)
            gate.let_pass_all()
            endpoint.wait_for(800)

    def test_falls_with_failure(self, ours):
        """Once an endpoint fails, few are tried until it succeeds again."""
        topic = ours.topic()
        gate = Gate()
        with Endpoint(gate.pass_through) as endpoint:
            ours.subscription(topic, push_config=push_to(endpoint.url))
            ours.publish(topic, *["x"] * 200)
            for window in (4, 8, 16, 32):
                gate.let_pass(window, OK)
            for window in (64, 32, 16, 8):
                gate.let_pass(window, ERROR)
            for window in (4, 8):
                gate.let_pass(window, OK)
            gate.let_pass_all()
            endpoint.wait_for(200 + 64 + 32 + 16 + 8)

    def test_spares_an_endpoint_that_is_down(self, ours):
        """While nothing listens, a backlog does not use up its attempts."""
        topic, dead = ours.topic(), ours.topic()
        letters = ours.subscription(dead)
        [port] = free_ports(1)
        ours.subscription(
            topic,
            push_config=push_to(f"http://127.0.0.1:{port}"),
            dead_letter_policy=dead_letters_to(dead),
        )
        ours.publish(topic, *[str(number) for number in range(100)])
        time.sleep(0.5)

        with Endpoint(port=port) as endpoint:
            wait_until(lambda: len(set(endpoint.texts)) == 100, "all of them")

        assert ours.is_empty(letters)


class Gate:
    """Holds the requests of an endpoint, and lets them go a round at a time."""

    def __init__(self):
        self._condition = threading.Condition()
        self._n_inside = 0
        self._answers = []
        self._is_open = False

    def pass_through(self, _):
        with self._condition:
            self._n_inside += 1
            own = len(self._answers)
            self._condition.wait_for(lambda: len(self._answers) > own or self._is_open)
            return self._answers[own] if len(self._answers) > own else OK

    def let_pass(self, count, answer):
        """Let the next round go once it is so many, and stays so."""
        wait_until(lambda: self._n_inside >= count, f"{count} at once")
        time.sleep(0.05)
        with self._condition:
            assert self._n_inside == count
            self._n_inside = 0
            self._answers.append(answer)
            self._condition.notify_all()

    def let_pass_all(self):
        """Hold no more."""
        with self._condition:
            self._is_open = True
            self._condition.notify_all()
