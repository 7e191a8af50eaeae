"""
stream_features, specified over HTTP: what is pushed, stored, refused and published on.

The function is served from its staged source in an environment of its own requirements,
as it is deployed. In ``TestInTrouble`` the Storage Write API and Pub/Sub are behind
proxies that fail as real services do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from local.generators.faults import FAULTS
from local.generators.games import Games, attributes_of
from propensity.events.dead_letters import personal_fields, redacted
from tests.events import CATALOGUE, bet, registration, written
from tests.functions.streamed import buried, instance, site, stored, user
from tests.functions.streaming import DEADLINE_S, eventually

# Fixtures.
__all__ = ["instance", "site", "user"]

PERSONAL = personal_fields(CATALOGUE.types)


class TestAccepts:
    def test_an_event_once(self, site, instance, user):
        """It is in the view, and once if it is delivered again."""
        event = bet(user_id=user, bet_amount=12.3)

        answer = instance.post(event, message_id="m7")
        features = site.features()[user]
        again = instance.post(event, message_id="m7")

        assert (answer.status_code, answer.json()) == (200, {"outcome": "stored"})
        assert (again.status_code, again.json()) == (200, {"outcome": "stored"})
        assert (features["bet_count"], str(features["bet_sum"].normalize())) == (
            1,
            "12.3",
        )
        assert site.features()[user] == features
        [row, _] = stored(site, user)
        assert row["message_id"] == "m7"
        assert row["published_at"] == datetime(2026, 7, 1, 12, 0, 1, 234_000, UTC)

    def test_equal_bets_under_two_ids_as_two_bets(self, site, instance, user):
        """Content is no identity: who bets the same twice has bet twice."""
        for event_id in ("e1", "e2"):
            assert (
                instance.post(bet(user_id=user, event_id=event_id)).status_code == 200
            )

        assert site.features()[user]["bet_count"] == 2

    def test_all_fields_of_a_registration(self, site, instance, user):
        """A registration is a user's attributes, with the index of the postcode."""
        answer = instance.post(registration(user_id=user, postcode=" ab10 1ab "))

        assert answer.status_code == 200
        features = site.features()[user]
        assert {
            name: features[name] for name in ("age", "city", "country", "campaign")
        } == {"age": 35, "city": "Aberdeen", "country": "GB", "campaign": "spring"}
        assert features["socioeconomic_idx"] == 6.0
        assert features["registration_time"] == datetime(2026, 3, 1, 12, tzinfo=UTC)
        assert "label" not in features

    def test_many_at_once(self, site, instance, user):
        """Events that are pushed together are stored together, each for itself."""
        events = [bet(user_id=user, event_id=f"e{n}", bet_amount=n) for n in range(200)]

        answers = instance.post_all([*events, b"{", *events[:20]], threads=48)

        assert {answer.status_code for answer in answers} == {200}
        assert answers[200].json()["reason"] == "malformed_json"
        features = site.features()[user]
        assert (features["bet_count"], features["bet_sum"]) == (200, 19_900)


class TestKeepsToItself:
    SECRETS = ("Ada Secretname", "1 Secretstreet", "1990-05-04")

    def event(self, user: str) -> dict[str, Any]:
        name, street, born = self.SECRETS
        return registration(
            user_id=user, name=name, street_address=street, date_of_birth=born
        )

    def test_personal_fields(self, site, instance, user):
        """Name, street and date of birth are in no table and no log line."""
        instance.post(self.event(user))

        [row] = stored(site, user)
        assert row["age"] == 35
        everything = [
            str(row)
            for table in ("stream_events", "dead_letters", "stream_features_daily")
            for row in site.rows(f"SELECT * FROM {table}")
        ]
        assert not [secret for secret in self.SECRETS if secret in str(everything)]
        assert not [secret for secret in self.SECRETS if secret in instance.log()]

    def test_who_the_users_are(self, site, instance, user):
        """No line of the log names a user or an event, refused or not."""
        instance.post(bet(user_id=user, event_id=f"id of {user}"))
        instance.post(bet(user_id=user, bet_amount=-1))

        assert user not in instance.log()


@pytest.fixture(scope="module")
def letters(site, instance) -> dict[str, tuple[Any, bytes, dict[str, Any]]]:
    """Each fault's answer, payload and dead letter."""
    events = list(Games(users=3).events())
    sent = {}
    for name, fault in FAULTS.items():
        kind = "new_registration" if fault.of_registration else "new_bet"
        event = next(event for event in events if event["event_type"] == kind)
        data = fault.spoil(event)
        attributes = attributes_of({**event, **fault.attributes})
        message_id = f"broken {name}"
        answer = instance.post(data, message_id=message_id, attributes=attributes)
        sent[name] = (answer, data, attributes)
    by_message = {
        row["message_id"]: row for row in site.rows("SELECT * FROM dead_letters")
    }
    return {
        name: (answer, data, {**by_message[f"broken {name}"], "sent": attributes})
        for name, (answer, data, attributes) in sent.items()
    }


class TestRefuses:
    @pytest.mark.parametrize("name", FAULTS)
    def test_what_can_never_be_an_event(self, letters, name):
        """It is stored as it came, but for what it says of a person, with the reason,
        and acknowledged."""
        answer, data, letter = letters[name]

        assert answer.status_code == 200
        body = answer.json()
        assert (body["outcome"], body["reason"]) == ("dead_letter", FAULTS[name].reason)
        assert letter["reason"] == FAULTS[name].reason
        assert letter["field"] == body["field"]
        assert letter["raw"] == redacted(data, PERSONAL)
        assert letter["raw_size"] == len(data)
        assert json.loads(letter["attributes"]) == letter["sent"]
        assert letter["published_at"] == datetime(2026, 7, 1, 12, 0, 1, 234_000, UTC)

    def test_a_message_of_ten_megabytes(self, site, instance):
        """The largest message that Pub/Sub takes leaves its start and its size."""
        data = b'{"padding": "' + b"x" * (10_000_000 - 15) + b'"}'

        answer = instance.post(data, message_id="huge")

        assert (answer.status_code, answer.json()["reason"]) == (200, "too_large")
        [letter] = buried(site, "huge")
        assert letter["raw_size"] == 10_000_000
        assert letter["raw"] == data[: 4 * 1024**2]

    def test_many_with_large_attributes(self, site, instance):
        """Letters whose attributes outweigh their payloads are stored in pieces."""
        attributes = {f"key {n}": "v" * 1_000 for n in range(100)}

        def post(n: int) -> int:
            message_id = f"heavy {n}"
            return instance.post(
                b"{", message_id=message_id, attributes=attributes
            ).status_code

        with ThreadPoolExecutor(64) as pool:
            assert set(pool.map(post, range(192))) == {200}

        [row] = site.rows(
            "SELECT COUNT(DISTINCT message_id) AS n FROM dead_letters "
            "WHERE STARTS_WITH(message_id, 'heavy')"
        )
        assert row["n"] == 192

    @pytest.mark.long
    def test_any_number_without_holding_on_to_them(self, instance, user):
        """What is refused is let go once it is stored, large as it may be."""
        event = bet(user_id=user, bet_amount=-1)
        data = written({**event, "padding": "x" * 240_000})
        instance.post_all([data] * 30, threads=8)
        before = instance.memory_mib()

        answers = instance.post_all([data] * 250, threads=8)

        assert {answer.json()["reason"] for answer in answers} == {"bad_amount"}
        assert instance.memory_mib() < before + 50

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            (b"{", "body"),
            (b'{"message": {"data": "e30="}}', "message.messageId"),
        ],
    )
    def test_what_is_no_push(self, instance, body, field):
        """A body that nobody pushes is refused, and the field at fault is named."""
        answer = requests.post(instance.url, data=body, timeout=DEADLINE_S)

        assert answer.status_code == 400
        assert (answer.json()["error"], answer.json()["field"]) == (
            "bad_request",
            field,
        )

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    def test_other_methods(self, instance, method):
        """Only a POST is a push."""
        answer = requests.request(method, instance.url, timeout=DEADLINE_S)

        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


class TestPublishes:
    @pytest.fixture
    def pulled(self, site) -> Iterator[Any]:
        """What comes to the enriched topic from now on."""
        with site.pulled("enriched") as pull:
            yield pull

    def test_the_original_fields_with_the_enrichment(self, instance, pulled, user):
        """Consumers get the event as it came, with index, age, id and use case."""
        event = registration(user_id=user, event_id=..., use_case=..., extra={"a": [1]})

        instance.post(event, message_id=f"message of {user}")

        [message] = pulled(1)
        assert json.loads(message.data) == {
            **event,
            "event_id": f"message of {user}",
            "use_case": "first_day_churn",
            "socioeconomic_idx": 6.0,
            "age": 35,
        }
        assert dict(message.attributes) == {
            "event_id": f"message of {user}",
            "use_case": "first_day_churn",
            "event_type": "new_registration",
        }

    def test_nothing_that_was_refused(self, instance, pulled, user):
        """Among refused events only the right one is published."""
        events = [b"{", bet(user_id=user), bet(user_id=user, bet_amount=-1)]

        instance.post_all(events)

        messages = pulled(1)
        assert [json.loads(message.data)["user_id"] for message in messages] == [user]
        assert messages[0].attributes["event_type"] == "new_bet"


def test_reads_a_push_as_pubsub_writes_it(instance, site, user):
    """A push that the emulator makes is what these tests make of one."""
    subscription = site.subscribe(site.topic("events"), endpoint=instance.url)
    data = written(bet(user_id=user, event_id=...))
    attributes = {"event_id": "by attribute"}
    try:
        [message_id] = site.publish(
            site.topic("events"), [{"data": data, "attributes": attributes}]
        )
        [row] = eventually(lambda: stored(site, user), "the event is stored")
    finally:
        site.unsubscribe(subscription)

    assert (row["message_id"], row["event_id"]) == (message_id, "by attribute")
    age = datetime.now(UTC) - row["published_at"]
    assert abs(age.total_seconds()) < DEADLINE_S
