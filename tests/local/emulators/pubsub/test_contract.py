"""
The Pub/Sub emulator, specified by what the unmodified clients and push endpoints see.

``TestContract…`` holds for it and for Google's own emulator alike, wherever gcloud has
its ``pubsub-emulator`` and there is Java. What is ours alone, what Google's does not
enforce and how pushes are paced, is in the files beside.
"""

from __future__ import annotations

import time
from collections import Counter

import pytest
from google.api_core import exceptions
from google.pubsub_v1 import types

from tests.local.emulators.pubsub.conftest import (
    ERROR,
    OK,
    Endpoint,
    backing_off,
    dead_letters_to,
    push_to,
)


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


class TestContractOfSubscriptions:
    def test_say_what_they_are_set_to(self, emulator, topic):
        """Defaults are filled in, and every way to read one shows the same."""
        name = emulator.subscription(topic, retry_policy=types.RetryPolicy())
        one = emulator.subscriber.get_subscription(subscription=name)

        assert one.ack_deadline_seconds == 10
        assert one.retry_policy.minimum_backoff.total_seconds() == 10
        assert one.retry_policy.maximum_backoff.total_seconds() == 600

    def test_are_updated_field_by_field(self, emulator):
        """An update changes the fields that its mask names, and no other."""
        name = emulator.subscription(emulator.topic())
        update = types.Subscription(
            name=name, ack_deadline_seconds=33, retry_policy=backing_off(1, 2)
        )

        emulator.subscriber.update_subscription(
            subscription=update, update_mask={"paths": ["ack_deadline_seconds"]}
        )

        one = emulator.subscriber.get_subscription(subscription=name)
        assert one.ack_deadline_seconds == 33
        assert "retry_policy" not in one

    def test_begin_where_they_are_made(self, emulator, topic):
        """A subscription gets what is published after it was made."""
        emulator.publish(topic, "before")
        subscription = emulator.subscription(topic)
        emulator.publish(topic, "after")

        [received] = emulator.pull(subscription)

        assert received.message.data == b"after"

    def test_are_gone_once_deleted(self, emulator, topic):
        """A deleted subscription is not found, and a new one of its name is empty."""
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
    def test_bring_what_was_published(self, emulator, topic, subscription):
        """Data, attributes, id and time arrive; no id is given twice."""
        ids = emulator.publish(topic, *"abc", use_case="first_day_churn", city="Köln")

        received = emulator.pull(subscription, 3)

        assert len(set(ids)) == 3
        assert {delivery.message.message_id for delivery in received} == set(ids)
        assert {delivery.message.data for delivery in received} == {b"a", b"b", b"c"}
        for delivery in received:
            assert delivery.message.attributes == {
                "use_case": "first_day_churn",
                "city": "Köln",
            }
            assert abs(delivery.message.publish_time.timestamp() - time.time()) < 3600
            assert delivery.delivery_attempt == 0

    def test_come_again_after_the_deadline(self, emulator, topic):
        """So does a message that is neither acknowledged nor given more time."""
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

    def test_come_again_when_nacked(self, emulator, topic):
        """A deadline of zero gives a message back."""
        subscription = emulator.subscription(topic, ack_deadline_seconds=600)
        emulator.publish(topic, "not yet")
        [first] = emulator.pull(subscription)

        emulator.set_deadline(subscription, [first], 0)

        [second] = emulator.pull(subscription)
        assert second.message == first.message

    def test_do_not_acknowledge_by_an_old_id(self, emulator, topic):
        """An ack id ends with its delivery: it does nothing to the next one."""
        subscription = emulator.subscription(topic, ack_deadline_seconds=600)
        emulator.publish(topic, "again")
        old = emulator.pull(subscription)
        emulator.set_deadline(subscription, old, 0)
        new = emulator.pull(subscription)

        emulator.acknowledge(subscription, old)

        emulator.set_deadline(subscription, new, 0)
        assert len(emulator.pull(subscription)) == 1


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

    def test_of_a_taken_name(self, emulator, topic):
        """No two topics and no two subscriptions have one name."""
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
        ):
            with pytest.raises(exceptions.NotFound):
                call()

    def test_of_acknowledgements(self, emulator, topic):
        """An ack id is one of this subscription."""
        first, second = (emulator.subscription(topic, name) for name in ("one", "two"))
        emulator.publish(topic, "x")
        [received] = emulator.pull(second)

        for ack_ids in (["nonsense"], [received.ack_id]):
            with pytest.raises(exceptions.InvalidArgument):
                emulator.subscriber.acknowledge(subscription=first, ack_ids=ack_ids)
