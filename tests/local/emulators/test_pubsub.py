"""
The Pub/Sub emulator, specified by what the unmodified clients and push endpoints see.

``TestContract…`` holds for it and for Google's own emulator alike, wherever gcloud has
its ``pubsub-emulator`` and there is Java. What comes after is ours alone: what Google's
does not enforce, and how pushes are paced.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import PublisherClient, types

from local.emulators.pubsub.broker import DELETED_TOPIC
from local.emulators.pubsub.push import MAX_WINDOW
from local.emulators.pubsub.server import google_command, is_serving
from local.processes import free_ports

PATIENCE_S = 15
OK = 204
ERROR = 500


# -- emulators ------------------------------------------------------------------------


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
        sent = [
            self.publisher.publish(topic, text.encode(), **attributes) for text in texts
        ]
        return [future.result(PATIENCE_S) for future in sent]

    def pull(self, subscription, count=1):
        """Pull until so many messages have come."""
        got = []
        deadline = time.monotonic() + PATIENCE_S
        while len(got) < count and time.monotonic() < deadline:
            answer = self.subscriber.pull(
                subscription=subscription, max_messages=count, timeout=3, retry=None
            )
            got += answer.received_messages
        return got

    def is_empty(self, subscription, seconds=0.5):
        """Whether a pull that waits so long finds nothing."""
        answer = self.subscriber.pull(
            subscription=subscription,
            max_messages=10,
            # Both emulators answer a second before the client would give up.
            timeout=1 + seconds,
            retry=None,
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
def streaming(emulator, subscription, callback):
    """Run the streaming client, and close it in order."""
    stream = emulator.subscriber.subscribe(subscription, callback)
    try:
        yield
    finally:
        stream.cancel()
        stream.result(PATIENCE_S)


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
        until(lambda: is_serving(address), "it serves")
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


@pytest.fixture(scope="module")
def ours():
    """Our emulator."""
    with running(our_command) as emulator:
        yield emulator


def until(is_so, what):
    """Wait for something that happens in its own time."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S} s"
        time.sleep(0.01)


# -- push endpoints -------------------------------------------------------------------


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
        until(lambda: len(self.pushes) >= count, f"{count} pushes")
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


# -- the contract of both emulators ---------------------------------------------------


class TestContractOfTopics:
    def test_are_listed_until_they_are_deleted(self, emulator):
        """A topic is got and listed by its name, and is not found once deleted."""
        name = emulator.topic()
        project = name.rpartition("/topics/")[0]
        assert emulator.publisher.get_topic(topic=name).name == name
        assert [
            one.name for one in emulator.publisher.list_topics(project=project)
        ] == [name]

        emulator.publisher.delete_topic(topic=name)

        assert not list(emulator.publisher.list_topics(project=project))
        with pytest.raises(exceptions.NotFound):
            emulator.publisher.get_topic(topic=name)

    def test_leave_their_subscriptions_behind(self, emulator):
        """What was published before a topic was deleted can still be pulled."""
        topic = emulator.topic()
        subscription = emulator.subscription(topic)
        emulator.publish(topic, "last")

        emulator.publisher.delete_topic(topic=topic)

        left = emulator.subscriber.get_subscription(subscription=subscription)
        assert left.topic == DELETED_TOPIC
        [received] = emulator.pull(subscription)
        assert received.message.data == b"last"

    def test_made_again_have_no_subscriptions(self, emulator):
        """A new topic of an old name does not take over the old one's subscriptions."""
        topic = emulator.topic()
        subscription = emulator.subscription(topic)
        listed = emulator.publisher.list_topic_subscriptions
        assert list(listed(topic=topic)) == [subscription]
        emulator.publisher.delete_topic(topic=topic)

        emulator.publisher.create_topic(name=topic)

        assert not list(listed(topic=topic))


class TestContractOfSubscriptions:
    def test_say_what_they_are_set_to(self, emulator):
        """Defaults are filled in, and every way to read one shows the same."""
        topic = emulator.topic()
        name = emulator.subscription(topic, retry_policy=types.RetryPolicy())
        one = emulator.subscriber.get_subscription(subscription=name)
        project = topic.rpartition("/topics/")[0]

        assert one.ack_deadline_seconds == 10
        assert one.message_retention_duration.total_seconds() == 7 * 86_400
        assert one.retry_policy.minimum_backoff.total_seconds() == 10
        assert one.retry_policy.maximum_backoff.total_seconds() == 600
        assert list(emulator.subscriber.list_subscriptions(project=project)) == [one]

    def test_are_updated_field_by_field(self, emulator):
        """An update changes the fields that its mask names, and no other."""
        name = emulator.subscription(emulator.topic())
        wanted = types.Subscription(
            name=name, ack_deadline_seconds=33, retry_policy=backing_off(1, 2)
        )

        emulator.subscriber.update_subscription(
            subscription=wanted, update_mask={"paths": ["ack_deadline_seconds"]}
        )

        one = emulator.subscriber.get_subscription(subscription=name)
        assert one.ack_deadline_seconds == 33
        assert "retry_policy" not in one

    def test_begin_where_they_are_made(self, emulator):
        """A subscription gets what is published after it was made."""
        topic = emulator.topic()
        emulator.publish(topic, "before")
        subscription = emulator.subscription(topic)
        emulator.publish(topic, "after")

        [received] = emulator.pull(subscription)

        assert received.message.data == b"after"

    def test_are_gone_once_deleted(self, emulator):
        """A deleted subscription is not found, and a new one of its name is empty."""
        topic = emulator.topic()
        name = emulator.subscription(topic)
        emulator.publish(topic, "old")

        emulator.subscriber.delete_subscription(subscription=name)

        with pytest.raises(exceptions.NotFound):
            emulator.subscriber.get_subscription(subscription=name)
        again = emulator.subscription(topic)
        emulator.publish(topic, "new")
        [received] = emulator.pull(again)
        assert received.message.data == b"new"


class TestContractOfPulls:
    def test_bring_what_was_published(self, emulator):
        """Data, attributes, id and time arrive; no id is given twice."""
        topic = emulator.topic()
        subscription = emulator.subscription(topic)
        ids = emulator.publish(topic, *"abc", use_case="first_day_churn", city="Köln")

        received = emulator.pull(subscription, 3)

        assert len(set(ids)) == 3
        assert {one.message.message_id for one in received} == set(ids)
        assert {one.message.data for one in received} == {b"a", b"b", b"c"}
        for one in received:
            assert one.message.attributes == {
                "use_case": "first_day_churn",
                "city": "Köln",
            }
            assert abs(one.message.publish_time.timestamp() - time.time()) < 3600
            assert one.delivery_attempt == 0

    def test_reach_every_subscription(self, emulator):
        """Two subscriptions of a topic each get all of it."""
        topic = emulator.topic()
        both = [emulator.subscription(topic, name) for name in ("one", "two")]
        emulator.publish(topic, *"abc")

        for subscription in both:
            texts = {one.message.data for one in emulator.pull(subscription, 3)}
            assert texts == {b"a", b"b", b"c"}

    def test_come_again_after_the_deadline(self, emulator):
        """So does a message that is neither acknowledged nor given more time."""
        topic = emulator.topic()
        subscription = emulator.subscription(topic, ack_deadline_seconds=1)
        emulator.publish(topic, "done", "slow", "lost")
        done, slow, lost = emulator.pull(subscription, 3)
        emulator.acknowledge(subscription, [done])
        emulator.set_deadline(subscription, [slow], 30)

        [again] = emulator.pull(subscription)

        assert again.message == lost.message
        assert again.ack_id != lost.ack_id
        emulator.acknowledge(subscription, [again])
        assert emulator.is_empty(subscription)

    def test_come_again_when_nacked(self, emulator):
        """A deadline of zero gives a message back."""
        topic = emulator.topic()
        subscription = emulator.subscription(topic, ack_deadline_seconds=600)
        emulator.publish(topic, "not yet")
        [first] = emulator.pull(subscription)

        emulator.set_deadline(subscription, [first], 0)

        [second] = emulator.pull(subscription)
        assert second.message == first.message

    def test_do_not_acknowledge_by_an_old_id(self, emulator):
        """An ack id ends with its delivery: it does nothing to the next one."""
        topic = emulator.topic()
        subscription = emulator.subscription(topic, ack_deadline_seconds=600)
        emulator.publish(topic, "again")
        old = emulator.pull(subscription)
        emulator.set_deadline(subscription, old, 0)
        new = emulator.pull(subscription)

        emulator.acknowledge(subscription, old)

        emulator.set_deadline(subscription, new, 0)
        assert len(emulator.pull(subscription)) == 1


class TestContractOfStreams:
    def test_bring_everything_once(self, emulator):
        """The streaming client gets 500 messages and acknowledges each."""
        topic = emulator.topic()
        subscription = emulator.subscription(topic)
        seen = Counter()

        def receive(message):
            seen[message.data.decode()] += 1
            message.ack()

        texts = [str(number) for number in range(500)]
        with streaming(emulator, subscription, receive):
            emulator.publish(topic, *texts)
            until(lambda: len(seen) == 500, "500 messages")

        assert seen == Counter(texts)

    def test_bring_again_what_is_nacked(self, emulator):
        """A message that the callback gives back comes again."""
        topic = emulator.topic()
        subscription = emulator.subscription(topic)
        seen = []

        def receive(message):
            seen.append(message.message_id)
            (message.ack if len(seen) == 3 else message.nack)()

        with streaming(emulator, subscription, receive):
            [message_id] = emulator.publish(topic, "third time")
            until(lambda: len(seen) == 3, "three deliveries")

        assert seen == [message_id] * 3

    def test_end_with_their_subscription(self, emulator):
        """Deleting the subscription ends its streams with NotFound."""
        subscription = emulator.subscription(emulator.topic())
        stream = emulator.subscriber.subscribe(subscription, lambda _: None)

        emulator.subscriber.delete_subscription(subscription=subscription)

        with pytest.raises(exceptions.NotFound):
            stream.result(PATIENCE_S)


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


class TestContractOfDeadLetters:
    def test_are_made_of_what_is_never_acknowledged(self, emulator):
        """After the last attempt a message is published where the policy says."""
        topic, dead = emulator.topic(), emulator.topic()
        letters = emulator.subscription(dead)
        subscription = emulator.subscription(
            topic, "work", dead_letter_policy=dead_letters_to(dead)
        )
        [message_id] = emulator.publish(topic, "poison", use_case="x")
        attempts = []
        for _ in range(5):
            [received] = emulator.pull(subscription)
            attempts.append(received.delivery_attempt)
            emulator.set_deadline(subscription, [received], 0)

        # Google's emulator looks for what has failed too often when it is pulled from.
        assert emulator.is_empty(subscription)
        [letter] = emulator.pull(letters)

        source = "CloudPubSubDeadLetterSource"
        attributes = dict(letter.message.attributes)
        assert attempts == [1, 2, 3, 4, 5]
        assert letter.message.data == b"poison"
        assert letter.message.message_id != message_id
        assert attributes.pop(f"{source}TopicPublishTime").endswith("Z")
        assert attributes == {
            "use_case": "x",
            f"{source}DeliveryCount": "5",
            f"{source}Subscription": "work",
            f"{source}SubscriptionProject": topic.split("/")[1],
        }

    def test_are_made_of_failed_pushes(self, emulator):
        """A message whose pushes fail becomes one; its neighbours are delivered."""
        topic, dead = emulator.topic(), emulator.topic()
        letters = emulator.subscription(dead)
        with Endpoint(lambda push: ERROR if push.text == "bad" else OK) as endpoint:
            emulator.subscription(
                topic,
                push_config=push_to(endpoint.url),
                dead_letter_policy=dead_letters_to(dead),
            )
            emulator.publish(topic, "good", "bad", "fine")
            [letter] = emulator.pull(letters)

        assert letter.message.data == b"bad"
        assert Counter(endpoint.texts) == {"good": 1, "bad": 5, "fine": 1}


class TestContractOfErrors:
    """What is refused, and as what."""

    @pytest.mark.parametrize(
        "name",
        [
            "new",
            "projects/p/topics/ab",
            "projects/p/topics/1abc",
            "projects/p/topics/goog-abc",
            "projects/p/topics/a b c",
            "projects/p/topics/abc/d",
            "projects/p/subscriptions/abc",
            f"projects/p/topics/{'a' * 256}",
        ],
    )
    def test_of_a_name(self, emulator, name):
        """A topic's name has a form."""
        with pytest.raises(
            exceptions.InvalidArgument, match=r"Invalid \[topics\] name"
        ):
            emulator.publisher.create_topic(name=name)

    def test_of_a_taken_name(self, emulator):
        """No two topics and no two subscriptions have one name."""
        topic = emulator.topic()
        emulator.subscription(topic)

        with pytest.raises(exceptions.AlreadyExists, match="Topic already exists"):
            emulator.publisher.create_topic(name=topic)
        with pytest.raises(exceptions.AlreadyExists, match="already exists"):
            emulator.subscription(topic)

    def test_of_what_is_missing(self, emulator):
        """Nothing is done to a topic or a subscription that is not there."""
        topic, subscription = "projects/p/topics/gone", "projects/p/subscriptions/gone"
        pull = emulator.subscriber
        for call in (
            lambda: emulator.publish(topic, "x"),
            lambda: emulator.publisher.delete_topic(topic=topic),
            lambda: emulator.subscription(topic),
            lambda: pull.pull(subscription=subscription, max_messages=1),
            lambda: pull.acknowledge(subscription=subscription, ack_ids=["x:1"]),
            lambda: pull.delete_subscription(subscription=subscription),
            lambda: pull.modify_push_config(
                subscription=subscription, push_config=types.PushConfig()
            ),
            lambda: pull.subscribe(subscription, print).result(PATIENCE_S),
        ):
            with pytest.raises(exceptions.NotFound):
                call()

    @pytest.mark.parametrize(
        ("messages", "why"),
        [
            ([], "No messages"),
            ([{}], "empty"),
            ([{"data": b"x"}, {"ordering_key": "k"}], "empty"),
            ([{"data": b"x"}] * 1_001, "Too many"),
        ],
    )
    def test_of_messages(self, emulator, messages, why):
        """A request has 1 to 1,000 messages, each with data or attributes."""
        publish = pubsub_api(emulator).publish
        with pytest.raises(exceptions.InvalidArgument, match=why):
            publish(topic=emulator.topic(), messages=messages)

    @pytest.mark.parametrize(
        ("settings", "error"),
        [
            ({"ack_deadline_seconds": -1}, exceptions.InvalidArgument),
            ({"ack_deadline_seconds": 601}, exceptions.InvalidArgument),
            (
                {"message_retention_duration": Duration(seconds=5)},
                exceptions.InvalidArgument,
            ),
            ({"push_config": push_to("nowhere")}, exceptions.InvalidArgument),
            ({"push_config": push_to("ftp://x:21/")}, exceptions.InvalidArgument),
            ({"retry_policy": backing_off(601, 601)}, exceptions.InvalidArgument),
            ({"retry_policy": backing_off(20, 10)}, exceptions.InvalidArgument),
            (
                {"dead_letter_policy": dead_letters_to("projects/p/topics/absent")},
                exceptions.NotFound,
            ),
        ],
    )
    def test_of_settings(self, emulator, settings, error):
        """A subscription's settings have bounds."""
        with pytest.raises(error):
            emulator.subscription(emulator.topic(), **settings)

    @pytest.mark.parametrize("attempts", [4, 101])
    def test_of_delivery_attempts(self, emulator, attempts):
        """A message is delivered 5 to 100 times before it is a dead letter."""
        topic = emulator.topic()
        policy = types.DeadLetterPolicy(
            dead_letter_topic=topic, max_delivery_attempts=attempts
        )
        with pytest.raises(exceptions.OutOfRange):
            emulator.subscription(topic, dead_letter_policy=policy)

    @pytest.mark.parametrize("paths", [[], ["nonsense"], ["topic"], ["filter"]])
    def test_of_updates(self, emulator, paths):
        """An update names fields, that there are, and that can change."""
        name = emulator.subscription(emulator.topic())
        with pytest.raises(exceptions.InvalidArgument):
            emulator.subscriber.update_subscription(
                subscription=types.Subscription(name=name),
                update_mask={"paths": paths},
            )

    def test_of_acknowledgements(self, emulator):
        """An ack id is one of this subscription."""
        topic = emulator.topic()
        one, other = (emulator.subscription(topic, name) for name in ("one", "two"))
        emulator.publish(topic, "x")
        [received] = emulator.pull(other)

        for ack_ids in ([], ["nonsense"], [received.ack_id]):
            with pytest.raises(exceptions.InvalidArgument):
                emulator.subscriber.acknowledge(subscription=one, ack_ids=ack_ids)

    def test_of_a_stream_from_a_push_subscription(self, emulator):
        """What is pushed is not streamed as well."""
        name = emulator.subscription(
            emulator.topic(), push_config=push_to("http://127.0.0.1:9")
        )
        with pytest.raises(exceptions.FailedPrecondition):
            emulator.subscriber.subscribe(name, print).result(PATIENCE_S)


# -- ours alone -----------------------------------------------------------------------


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
            {
                "push_config": push_to(
                    "http://127.0.0.1:9?__GCP_CloudEventsMode=CE_PUBSUB_BINDING"
                )
            },
        ],
    )
    def test_of_settings(self, ours, settings):
        """A subscription cannot ask for what there is not."""
        with pytest.raises(exceptions.MethodNotImplemented):
            ours.subscription(ours.topic(), **settings)

    def test_of_calls(self, ours):
        """What is not served is UNIMPLEMENTED."""
        topic = ours.topic()
        subscription = ours.subscription(topic)
        seek = types.SeekRequest(subscription=subscription)
        snapshot = types.CreateSnapshotRequest(
            name="projects/p/snapshots/one", subscription=subscription
        )

        for call in (
            lambda: ours.subscriber.seek(request=seek),
            lambda: ours.subscriber.create_snapshot(request=snapshot),
            lambda: ours.publisher.detach_subscription(
                request={"subscription": subscription}
            ),
        ):
            with pytest.raises(exceptions.MethodNotImplemented):
                call()

    def test_of_ten_megabytes(self, ours):
        """More than 10 MB at once is refused in words."""
        publish = pubsub_api(ours).publish
        with pytest.raises(exceptions.InvalidArgument, match="10000000 bytes"):
            publish(topic=ours.topic(), messages=[{"data": bytes(6_000_000)}] * 2)

    def test_of_a_pull_from_a_push_subscription(self, ours):
        """What is pushed is not pulled as well."""
        name = ours.subscription(ours.topic(), push_config=push_to("http://[::1]:9/"))
        with pytest.raises(exceptions.FailedPrecondition):
            ours.subscriber.pull(subscription=name, max_messages=1)


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


class TestFlowControl:
    @pytest.mark.parametrize(
        ("limits", "at_once"),
        [
            ({"max_outstanding_messages": 5}, 5),
            # The message with which the limit is reached is still sent.
            ({"max_outstanding_bytes": 2_500}, 3),
        ],
    )
    def test_is_respected(self, ours, limits, at_once):
        """A stream has no more unsettled messages than its client asked for."""
        topic = ours.topic()
        subscription = ours.subscription(topic)
        ours.publish(topic, *["x" * 950] * 20)
        with Stream(ours, subscription, **limits) as stream:
            stream.wait_for(at_once)
            time.sleep(0.3)
            assert len(stream.ack_ids) == at_once

            ours.subscriber.acknowledge(
                subscription=subscription, ack_ids=stream.ack_ids[:2]
            )
            stream.wait_for(at_once + 2)
            ours.subscriber.modify_ack_deadline(
                subscription=subscription,
                ack_ids=stream.ack_ids[2:3],
                ack_deadline_seconds=0,
            )
            stream.wait_for(at_once + 3)
            time.sleep(0.3)

            assert len(stream.ack_ids) == at_once + 3

    def test_is_shared_by_streams(self, ours):
        """Two streams of a subscription divide its messages between them."""
        topic = ours.topic()
        subscription = ours.subscription(topic)
        with Stream(ours, subscription) as one, Stream(ours, subscription) as other:
            for _ in range(40):
                ours.publish(topic, "x")
            until(lambda: len(one.ack_ids) + len(other.ack_ids) == 40, "all of them")

        assert not set(one.ack_ids) & set(other.ack_ids)


class Stream:
    """A streaming pull that acknowledges nothing by itself."""

    def __init__(self, emulator, subscription, **limits):
        self.ack_ids = []
        self._channel = grpc.insecure_channel(emulator.address)
        self._closed = threading.Event()
        self._first = types.StreamingPullRequest(
            subscription=subscription, stream_ack_deadline_seconds=60, **limits
        )

    def __enter__(self):
        call = self._channel.stream_stream(
            "/google.pubsub.v1.Subscriber/StreamingPull",
            request_serializer=types.StreamingPullRequest.serialize,
            response_deserializer=types.StreamingPullResponse.deserialize,
        )
        self._responses = call(self._requests())
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._closed.set()
        self._responses.cancel()
        self._thread.join()
        self._channel.close()

    def wait_for(self, count):
        until(lambda: len(self.ack_ids) >= count, f"{count} messages")

    def _requests(self):
        yield self._first
        self._closed.wait()

    def _read(self):
        with contextlib.suppress(grpc.RpcError):
            for response in self._responses:
                self.ack_ids += [one.ack_id for one in response.received_messages]


class TestPushes:
    def test_are_cloud_events_where_the_endpoint_says_so(self, ours):
        """Eventarc's mark on an endpoint adds the headers of a binary CloudEvent."""
        topic = ours.topic()
        mark = f"__GCP_CloudEventsMode=CUSTOM_PUBSUB_{topic.replace('/', '%2F')}"
        with Endpoint() as endpoint:
            marked = push_to(f"{endpoint.url}/?{mark}")
            ours.subscription(topic, "event", push_config=marked)
            ours.subscription(topic, "plain", push_config=push_to(endpoint.url))
            ours.publish(topic, "x")
            pushes = endpoint.wait_for(2)

        event, plain = sorted(pushes, key=lambda push: push.body["subscription"])
        message = event.body["message"]
        found = {
            name: value
            for name, value in event.headers.items()
            if "ce-" in name.lower()
        }
        assert event.path == f"/?{mark}"
        assert found == {
            "ce-id": message["messageId"],
            "ce-specversion": "1.0",
            "ce-type": "google.cloud.pubsub.topic.v1.messagePublished",
            "ce-source": f"//pubsub.googleapis.com/{topic}",
            "ce-time": message["publishTime"],
        }
        assert not [name for name in plain.headers if name.lower().startswith("ce-")]
        assert plain.body["message"] == message

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
                until(lambda number=number: server.n_requests > number, "a push")

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
                until(lambda number=number: server.n_requests > number, "a push")
            time.sleep(0.2)

        assert server.n_requests == 3

    @pytest.mark.parametrize("answer", [b"no HTTP\r\n\r\n", b"HTTP/1.1 2", b""])
    def test_take_nothing_else_for_an_answer(self, ours, answer):
        """Half an answer, or something else, acknowledges nothing."""
        topic = ours.topic()
        with CountingServer(answer) as server:
            ours.subscription(topic, push_config=push_to(server.url))
            ours.publish(topic, "x")
            until(lambda: server.n_requests >= 3, "three pushes")

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
            until(lambda: len(accepted) == len(texts), "all of them")
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
            until(lambda: len(set(endpoint.texts)) == 100, "all of them")

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
        until(lambda: self._n_inside >= count, f"{count} at once")
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


class TestProcess:
    def test_is_idle_without_work(self, ours):
        """Open streams and push subscriptions cost nothing while nothing happens."""
        stat = Path(f"/proc/{ours.process.pid}/stat")
        if not stat.exists():
            pytest.skip("this system does not tell what a process has used")

        def cpu_s():
            fields = stat.read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        topic = ours.topic()
        pulled = ours.subscription(topic)
        with Endpoint() as endpoint, Stream(ours, pulled):
            ours.subscription(topic, "push", push_config=push_to(endpoint.url))
            ours.publish(topic, "x")
            endpoint.wait_for(1)
            before = cpu_s()
            time.sleep(0.5)

            assert cpu_s() - before <= 0.03

    def test_stops_at_once(self):
        """SIGTERM ends it with success, whatever streams and pushes are under way."""
        hung = threading.Event()

        def answer(_):
            hung.wait(PATIENCE_S)
            return OK

        with running(our_command) as emulator, Endpoint(answer) as endpoint:
            topic = emulator.topic()
            pulled = emulator.subscription(topic)
            emulator.subscription(topic, "push", push_config=push_to(endpoint.url))
            with Stream(emulator, pulled) as stream:
                emulator.publish(topic, "x")
                stream.wait_for(1)
                endpoint.wait_for(1)
                emulator.process.send_signal(signal.SIGTERM)

                assert emulator.process.wait(timeout=5) == 0
            hung.set()

    def test_never_gives_an_id_again(self, ours):
        """Ids grow from one process to the next: they may be kept for longer."""
        ids = ours.publish(ours.topic(), *"abc")
        with running(our_command) as later:
            ids += later.publish(later.topic(), *"abc")

        assert [int(one) for one in ids] == sorted({int(one) for one in ids})

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
