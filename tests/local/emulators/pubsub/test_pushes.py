"""
Pushes of the emulator, specified: in what form they come, how fast, and when again.
"""

from __future__ import annotations

import base64
import random
import threading
import time
from collections import Counter
from datetime import datetime

from google.pubsub_v1 import types

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
            self.push_to(emulator, subscription, endpoint.url)
            endpoint.wait_for(1)
            self.push_to(emulator, subscription, "")
            emulator.publish(topic, "pulled")
            [received] = emulator.pull(subscription)

        assert endpoint.texts == ["kept"]
        assert received.message.data == b"pulled"

    def push_to(self, emulator, subscription, url):
        emulator.subscriber.update_subscription(
            subscription=types.Subscription(
                name=subscription, push_config=push_to(url)
            ),
            update_mask={"paths": ["push_config"]},
        )


class TestPushes:
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


class TestPace:
    """How many pushes are under way at once."""

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
