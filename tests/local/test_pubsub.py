"""The Pub/Sub emulator, by what Google's unmodified clients see of a streaming pull."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import AlreadyExists, NotFound
from google.cloud import pubsub_v1
from google.pubsub_v1 import types

from local.emulators.pubsub.broker import Broker, RefusedError
from local.stack import topics
from tests.docs.pages import blocks
from tests.functions.streaming import eventually
from tests.support.emulated import Emulated

PAGE = "00-ModelTraining/README.md"


@pytest.fixture
def topic(emulated) -> str:
    name = emulated.topic("enriched")
    emulated.create_topic(name)
    return name


def publish(site: Emulated, topic: str, *texts: str) -> None:
    site.publish(topic, [{"data": text.encode()} for text in texts])


def test_a_subscriber_gets_every_message_until_it_is_acknowledged(
    emulated, topic, monkeypatch
):
    """Each once, and again what was refused the first time (``nack``)."""
    address = emulated.environment["PUBSUB_EMULATOR_HOST"]
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
    subscription = emulated.subscribe(topic)
    texts = [f"m{number}" for number in range(300)]
    publish(emulated, topic, *texts)
    got = Counter[str]()

    def take(message: Any) -> None:
        text = message.data.decode()
        got[text] += 1
        if text == "m7" and got[text] == 1:
            message.nack()
        else:
            message.ack()

    with pubsub_v1.SubscriberClient() as client:
        future = client.subscribe(subscription, take)
        eventually(lambda: got.total() > len(texts))
        future.cancel()
        future.result(15)

    assert got == Counter(texts) + Counter(["m7"])


@contextlib.contextmanager
def streaming(site: Emulated, subscription: str) -> Iterator[Any]:
    """A stream of messages with a deadline of a second, which breaks at the end."""
    requests = queue.Queue[Any]()
    requests.put(
        types.StreamingPullRequest(
            subscription=subscription, stream_ack_deadline_seconds=1
        )
    )
    responses = site.subscriber.streaming_pull(requests=iter(requests.get, None))
    yield (one for response in responses for one in response.received_messages)
    responses.cancel()
    requests.put(None)


def test_a_message_of_a_broken_stream_comes_again(emulated, topic):
    """Not one whose lease was extended, until it is acknowledged."""
    subscription = emulated.subscribe(topic)
    publish(emulated, topic, "held", "lost")
    with streaming(emulated, subscription) as messages:
        held = next(messages)
        lost = next(messages)
        emulated.subscriber.modify_ack_deadline(
            subscription=subscription, ack_ids=[held.ack_id], ack_deadline_seconds=600
        )
    with streaming(emulated, subscription) as messages:
        again = next(messages)
        ids = [held.ack_id, again.ack_id]
        emulated.subscriber.acknowledge(subscription=subscription, ack_ids=ids)
        publish(emulated, topic, "last")
        last = next(messages)

    assert (held.message.data, lost.message.data) == (b"held", b"lost")
    assert (again.message.data, last.message.data) == (b"lost", b"last")


def test_a_deployment_has_a_topic_for_each_kind_of_message(emulated):
    address = emulated.environment["PUBSUB_EMULATOR_HOST"]
    topics.create(emulated.project, address, endpoints={})
    missing = []
    for kind in ("events", "enriched", "scores", "dead-letters", "model-updates"):
        try:
            publish(emulated, kind, "one")
        except NotFound:
            missing.append(kind)

    assert missing == []


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"filter": "attributes.a"}, "UNIMPLEMENTED"),
        ({"enable_message_ordering": True}, "UNIMPLEMENTED"),
        ({"enable_exactly_once_delivery": True}, "UNIMPLEMENTED"),
        ({"ack_deadline_seconds": 5}, "INVALID_ARGUMENT"),
        ({"ack_deadline_seconds": 601}, "INVALID_ARGUMENT"),
    ],
)
def test_a_subscription_is_refused_what_would_not_be_kept(wanted, status):
    broker = Broker(lambda subscription: None)
    topic = types.Topic.pb()(name="projects/p/topics/t")
    broker.create_topic(topic)
    name = "projects/p/subscriptions/s"
    request = types.Subscription.pb()(name=name, topic=topic.name, **wanted)
    with pytest.raises(RefusedError) as refused:
        broker.create_subscription(request)

    assert refused.value.status == status
    listed = broker.list_topics(types.ListTopicsRequest.pb()(project="projects/p"))
    assert [one.name for one in listed.topics] == [topic.name]


@pytest.mark.parametrize("topic", ["model-updates", "scores"])
def test_the_program_of_a_page_is_killed_and_started_again(emulated, tmp_path, topic):
    """It prints what is published meanwhile, too. Another topic takes its place."""
    [program] = blocks(PAGE, "python")
    program = program.replace("model-updates", topic)
    printed = tmp_path / "printed"
    address = emulated.environment["PUBSUB_EMULATOR_HOST"]
    with contextlib.suppress(AlreadyExists):
        emulated.create_topic(topic)

    def hears_one_of_many() -> bool:
        # Before its first start there is nobody for whom a message is kept.
        publish(emulated, topic, "first")
        return "first" in printed.read_text()

    with printed.open("w") as file, running(program, address, file):
        eventually(hears_one_of_many)
    publish(emulated, topic, "later")
    with printed.open("a") as file, running(program, address, file):
        eventually(lambda: "later" in printed.read_text())

    lines = printed.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("first", "later")


@contextlib.contextmanager
def running(program: str, address: str, printed: Any) -> Iterator[None]:
    """Run a program, and kill it at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=printed,
        env={"PUBSUB_EMULATOR_HOST": address, "PATH": str(Path(sys.executable).parent)},
    ) as process:
        yield
        process.kill()
