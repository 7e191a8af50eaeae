"""
stream_features over HTTP: what is pushed, stored, refused and published on.

The function is served from its staged source in an environment of its own requirements,
as it is deployed. In ``TestInTrouble`` the Storage Write API is behind a proxy that
fails as a real service does: what is not stored is delivered again.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
import requests

from local.generators.games import FAULTS, Games, attributes_of
from local.generators.messages import encode
from propensity.events.dead_letters import redacted
from tests.events import CATALOGUE, bet, registration, written
from tests.exact import expected_features
from tests.functions.instances import Instance, behind_writes
from tests.functions.outages import Appended, WriteProxy
from tests.functions.streamed import (
    buried,
    instance,
    site,
    stored,
    user,
)
from tests.functions.streaming import DEADLINE_S, Site, eventually, new_site

# Fixtures.
__all__ = ["instance", "site", "user"]

PERSONAL = CATALOGUE.personal
WRITTEN = ("stream_events", "dead_letters", "stream_features_daily")


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
    def test_personal_fields_and_who_the_users_are(self, site, instance, user):
        """Personal fields are in no table; they and users are in no log line."""
        secrets = ("Ada Secretname", "1 Secretstreet", "1990-05-04")
        personal = ("name", "street_address", "date_of_birth")
        fields = dict(zip(personal, secrets, strict=True))
        instance.post(registration(user_id=user, **fields))
        instance.post(bet(user_id=user, bet_amount=-1))

        [row] = stored(site, user)
        assert row["age"] == 35
        written_down = str([site.rows(f"SELECT * FROM {table}") for table in WRITTEN])
        assert not [one for one in secrets if one in written_down]
        assert not [one for one in (*secrets, user) if one in instance.log()]


@pytest.fixture(scope="module")
def letters(site, instance) -> dict[str, tuple[Any, bytes, dict[str, Any]]]:
    """Each fault's answer, payload and dead letter."""
    event = [*Games(users=3).events()][-1]
    sent = {}
    for name, spoil in FAULTS.items():
        broken = spoil(event)
        is_raw = isinstance(broken, bytes)
        data = broken if is_raw else encode(broken)
        attributes = attributes_of(event if is_raw else broken)
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
        assert (body["outcome"], body["reason"]) == ("dead_letter", name)
        assert letter["reason"] == name
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


BROKEN_USER = "refused by the table"


@dataclass
class Troubled:
    """An instance, and what stands between it and the services that it needs."""

    site: Site
    instance: Instance
    writes: WriteProxy

    def deliver(self, events: list[Any], *, threads: int = 16) -> list[set[int]]:
        """
        Push events as Pub/Sub does, until each has been acknowledged.

        After every round what was acknowledged must be stored.

        Returns:
            The statuses of each event's answers.
        """
        statuses: list[set[int]] = [set() for _ in events]
        waiting = list(range(len(events)))
        until = time.monotonic() + DEADLINE_S
        while waiting:
            assert time.monotonic() < until, f"{len(waiting)} are never acknowledged"
            answers = self.instance.post_all(
                [events[n] for n in waiting], threads=threads
            )
            for n, answer in zip(waiting, answers, strict=True):
                statuses[n].add(answer.status_code)
            waiting = [n for n in waiting if 200 not in statuses[n]]
            rows = self.site.rows("SELECT user_id, event_id FROM stream_events")
            in_table = {(row["user_id"], row["event_id"]) for row in rows}
            acknowledged = [events[n] for n in range(len(events)) if 200 in statuses[n]]
            lost = [
                event
                for event in acknowledged
                if (event["user_id"], event["event_id"]) not in in_table
            ]
            assert not lost, f"{len(lost)} were acknowledged and are not stored"
        return statuses


@pytest.fixture(scope="module")
def every_trouble(emulators, tmp_path_factory) -> Iterator[Troubled]:
    """An instance behind proxies."""
    with (
        new_site(emulators, PROPENSITY_DEADLINE_S="6") as site,
        WriteProxy(emulators.address("bigquery_storage")) as writes,
    ):
        environment = {
            **site.environment,
            "BIGQUERY_STORAGE_EMULATOR_HOST": writes.address,
        }
        home = tmp_path_factory.mktemp("troubled")
        with Instance("stream_features", environment, home) as instance:
            yield Troubled(site, instance, writes)


@pytest.fixture
def troubled(every_trouble) -> Iterator[Troubled]:
    """An instance for which all is well until a test says otherwise."""
    yield every_trouble
    every_trouble.writes.rule = lambda _: None


def bets(user: str, count: int) -> list[dict[str, Any]]:
    """Return bets of a user, each another amount."""
    return [bet(user_id=user, event_id=f"e{n}", bet_amount=n) for n in range(count)]


def assert_exact(site: Site, events: list[dict[str, Any]]) -> None:
    """Compare the view with what the events come to."""
    view = site.features()
    for who, row in expected_features(events).items():
        assert {name: view[who][name] for name in row} == row


class TestInTrouble:
    @pytest.mark.long
    def test_loses_nothing_whatever_fails_when(self, troubled, user):
        """Appends fail at random, before and after they are stored."""
        chance = random.Random(7)
        troubles = [None, None, grpc.StatusCode.UNAVAILABLE, WriteProxy.LOST]
        troubled.writes.rule = lambda _: chance.choice(troubles)

        statuses = troubled.deliver(bets(user, 300), threads=8)

        assert {503} in [each - {200} for each in statuses]
        assert len(stored(troubled.site, user)) > 300
        assert_exact(troubled.site, bets(user, 300))

    def test_buries_the_row_that_the_table_refuses(self, troubled, user):
        """One bad row does not hold up all that came with it."""

        def rule(appended: Appended) -> dict[int, str] | None:
            if appended.table != "stream_events":
                return None
            users = appended.rows.column("user_id").to_pylist()
            broken = [
                row
                for row, user_id in enumerate(users)
                if user_id.startswith(BROKEN_USER)
            ]
            return dict.fromkeys(broken, "no such partition") or None

        troubled.writes.rule = rule
        bad = [bet(user_id=f"{BROKEN_USER} {user}", event_id=f"e{n}") for n in range(3)]
        mixed = [bad[0], *bets(user, 20), bad[1], bad[2]]

        answers = troubled.instance.post_all(mixed, threads=24)

        assert {answer.status_code for answer in answers} == {200}
        assert [
            answer.json().get("reason")
            for answer in answers
            if "reason" in answer.json()
        ] == ["refused_by_table"] * 3
        letters = troubled.site.rows(
            "SELECT raw, detail FROM dead_letters WHERE reason = 'refused_by_table'"
        )
        assert sorted(letter["raw"] for letter in letters) == [
            written(event) for event in bad
        ]
        assert {letter["detail"] for letter in letters} == {"no such partition"}
        assert stored(troubled.site, bad[0]["user_id"]) == []
        assert_exact(troubled.site, bets(user, 20))

    def test_acknowledges_nothing_that_is_not_published(self, troubled, user):
        """Without its topic an event is stored, but not done with until it is there."""
        topic = troubled.site.path(troubled.site.topic("enriched"))
        troubled.site.publisher.delete_topic(topic=topic)
        try:
            answers = troubled.instance.post_all(bets(user, 5))
        finally:
            troubled.site.create_topic(troubled.site.topic("enriched"))
        subscription = troubled.site.subscribe(troubled.site.topic("enriched"))
        troubled.deliver(bets(user, 5))
        messages = troubled.site.pull(subscription, 5)

        assert {answer.status_code for answer in answers} == {500}
        assert answers[0].json()["error"] == "missing_table"
        assert sorted(json.loads(message.data)["event_id"] for message in messages) == [
            f"e{n}" for n in range(5)
        ]
        assert_exact(troubled.site, bets(user, 5))


@pytest.mark.long
def test_takes_no_more_than_it_can_hold(emulators, tmp_path, user):
    """While appends hang, events wait up to a bound; beyond it they are refused. When
    appends go on so does all, and what was acknowledged is stored."""
    go_on = threading.Event()
    with (
        new_site(emulators, PROPENSITY_DEADLINE_S="300") as site,
        behind_writes("stream_features", site, emulators, tmp_path) as (
            instance,
            writes,
        ),
        ThreadPoolExecutor(100) as pool,
    ):
        writes.rule = lambda _: go_on.wait(3 * DEADLINE_S)

        def post(number: int) -> tuple[int, str]:
            event = bet(user_id=user, event_id=f"e{number}", bet_amount=number)
            answer = instance.post({**event, "padding": "x" * 200_000})
            return answer.status_code, answer.text

        try:
            futures = [pool.submit(post, number) for number in range(100)]
            refused = eventually(
                lambda: [future.result() for future in futures if future.done()],
                "some are refused",
            )
        finally:
            go_on.set()
        answers = [future.result()[0] for future in futures]

        assert {status for status, _ in refused} == {503}
        assert "too much waits" in refused[0][1]
        taken = {f"e{n}" for n, status in enumerate(answers) if status == 200}
        assert len(taken) > 40
        assert taken == {row["event_id"] for row in stored(site, user)}
