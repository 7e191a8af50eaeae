"""
stream_features, specified over HTTP: what is pushed, stored, refused and published on.

The function is served from its staged source in an environment of its own requirements,
as it is deployed. In ``TestInTrouble`` the Storage Write API and Pub/Sub are behind
proxies that fail as real services do.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
import pyarrow as pa
import pytest
import requests

from local.generators.games.features import expected_features
from local.generators.games.games import Games
from local.generators.games.messages import FAULTS, attributes_of
from propensity import tables
from propensity.events.redaction import personal_fields, redacted
from tests.events import CATALOGUE, bet, registration, written
from tests.functions.streaming import (
    DEADLINE_S,
    ENVELOPES,
    Appended,
    Instance,
    Site,
    TcpProxy,
    WriteProxy,
    eventually,
    new_site,
)
from tests.proxy import Proxy

PERSONAL = personal_fields(CATALOGUE.types)
POSTCODES = {"AB101AB": (6.0, False), "AB10": (4.5, True)}
BROKEN_USER = "refused by the table"


def load_postcodes(site: Site) -> None:
    """Fill the postcode table."""
    today = datetime.now(UTC).date()
    rows = [
        {
            "postcode": code,
            "socioeconomic_idx": index,
            "is_outward": is_outward,
            "loaded_on": today,
        }
        for code, (index, is_outward) in POSTCODES.items()
    ]
    given = pa.Table.from_pylist(rows, schema=tables.POSTCODE_INDEX.arrow_schema())
    site.warehouse.append(tables.POSTCODE_INDEX, given, job_id=f"p{uuid.uuid4().hex}")


@pytest.fixture(scope="module")
def site(emulators) -> Iterator[Site]:
    """Tables and topics of these tests; each has users of its own."""
    with new_site(emulators) as made:
        load_postcodes(made)
        yield made


@pytest.fixture(scope="module")
def instance(site, tmp_path_factory) -> Iterator[Instance]:
    """The function as it is deployed."""
    home = tmp_path_factory.mktemp("stream_features")
    with Instance("stream_features", site.environment, home) as started:
        yield started


@pytest.fixture
def user() -> str:
    """A user of one test alone."""
    return f"user-{uuid.uuid4().hex[:8]}"


def stored(site: Site, user: str, table: str = "stream_events") -> list[dict[str, Any]]:
    """Return the rows of a user, in the order that they were received."""
    return site.rows(
        f"SELECT * FROM {table} WHERE user_id = @user ORDER BY received_at", user=user
    )


def buried(site: Site, message_id: str) -> list[dict[str, Any]]:
    """Return the dead letters of a message."""
    return site.rows("SELECT * FROM dead_letters WHERE message_id = @id", id=message_id)


class TestAccepts:
    @pytest.mark.parametrize("envelope", ENVELOPES)
    def test_an_event_in_each_envelope(self, site, instance, user, envelope):
        """As binary or structured CloudEvent or as plain push: it is in the view."""
        event = bet(user_id=user, bet_amount=12.3)

        answer = instance.post(event, message_id="m7", envelope=envelope)
        found = site.features()[user]
        again = instance.post(event, message_id="m7", envelope=envelope)

        assert (answer.status_code, answer.json()) == (200, {"outcome": "stored"})
        assert (again.status_code, again.json()) == (200, {"outcome": "stored"})
        assert (found["bet_count"], str(found["bet_sum"].normalize())) == (1, "12.3")
        assert site.features()[user] == found
        [row, _] = stored(site, user)
        assert row["message_id"] == "m7"
        assert row["published_at"] == datetime(2026, 7, 1, 12, 0, 1, 234_000, UTC)

    def test_an_event_that_is_delivered_again_in_another_envelope(
        self, site, instance, user
    ):
        """The envelope is no part of an event's identity, nor is the message."""
        for envelope in ENVELOPES:
            answer = instance.post(bet(user_id=user), envelope=envelope)
            assert answer.status_code == 200

        assert site.features()[user]["bet_count"] == 1

    def test_equal_bets_under_two_ids_as_two_bets(self, site, instance, user):
        """Content is no identity: who bets the same twice has bet twice."""
        for event_id in ("e1", "e2"):
            assert (
                instance.post(bet(user_id=user, event_id=event_id)).status_code == 200
            )

        assert site.features()[user]["bet_count"] == 2

    def test_an_event_without_an_id_by_its_message(self, site, instance, user):
        """The message's id is the event's then: redeliveries fall out, twins stay."""
        event = bet(user_id=user, event_id=...)
        for message_id in ("first", "first", "second"):
            answer = instance.post(event, message_id=f"{user} {message_id}")
            assert answer.status_code == 200

        assert site.features()[user]["bet_count"] == 2
        assert {row["event_id"] for row in stored(site, user)} == {
            f"{user} first",
            f"{user} second",
        }

    def test_id_and_use_case_as_attributes(self, site, instance, user):
        """What the event does not say itself its message may say."""
        event = bet(user_id=user, event_id=..., use_case=...)
        attributes = {"event_id": "by attribute", "use_case": "first_day_churn"}

        answer = instance.post(event, attributes=attributes)

        assert answer.status_code == 200
        [row] = stored(site, user)
        assert (row["event_id"], row["use_case"]) == ("by attribute", "first_day_churn")

    def test_all_fields_of_a_registration(self, site, instance, user):
        """A registration is a user's attributes, with the index of the postcode."""
        answer = instance.post(registration(user_id=user, postcode=" ab10 1ab "))

        assert answer.status_code == 200
        found = site.features()[user]
        assert {
            name: found[name] for name in ("age", "city", "country", "campaign")
        } == {
            "age": 35,
            "city": "Aberdeen",
            "country": "GB",
            "campaign": "spring",
        }
        assert found["socioeconomic_idx"] == 6.0
        assert found["registration_time"] == datetime(2026, 3, 1, 12, tzinfo=UTC)
        assert "label" not in found

    @pytest.mark.parametrize(
        ("postcode", "index"), [("AB10 9ZZ", 4.5), ("ZZ1 1ZZ", None)]
    )
    def test_a_postcode_that_the_table_lacks(
        self, site, instance, user, postcode, index
    ):
        """The outward code stands in for a unit; without either there is no index."""
        instance.post(registration(user_id=user, postcode=postcode))

        assert site.features()[user]["socioeconomic_idx"] == index

    def test_many_at_once(self, site, instance, user):
        """Events that are pushed together are stored together, each for itself."""
        events = [bet(user_id=user, event_id=f"e{n}", bet_amount=n) for n in range(200)]

        answers = instance.post_all([*events, b"{", *events[:20]], threads=48)

        assert {answer.status_code for answer in answers} == {200}
        assert answers[200].json()["reason"] == "malformed_json"
        found = site.features()[user]
        assert (found["bet_count"], found["bet_sum"]) == (200, 19_900)


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

    def test_personal_fields_unless_they_are_to_be_kept(
        self, emulators, tmp_path, user
    ):
        """A setting has them stored, for who needs and may have them."""
        with (
            new_site(emulators, PROPENSITY_KEEP_PERSONAL_FIELDS="true") as made,
            Instance("stream_features", made.environment, tmp_path) as started,
        ):
            started.post(self.event(user))

            [row] = stored(made, user)
        name, street, born = self.SECRETS
        assert (row["name"], row["street_address"]) == (name, street)
        assert str(row["date_of_birth"]) == born

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
        event = next(one for one in events if one["event_type"] == kind)
        data = fault.spoil(event)
        attributes = attributes_of({**event, **fault.attributes})
        message_id = f"broken {name}"
        answer = instance.post(data, message_id=message_id, attributes=attributes)
        sent[name] = (answer, data, attributes)
    found = {row["message_id"]: row for row in site.rows("SELECT * FROM dead_letters")}
    return {
        name: (answer, data, {**found[f"broken {name}"], "sent": attributes})
        for name, (answer, data, attributes) in sent.items()
    }


class TestRefuses:
    @pytest.mark.parametrize("name", FAULTS)
    def test_what_can_never_be_an_event(self, letters, name):
        """It is stored as it came, but for what it says of a person, with the reason,
        and acknowledged."""
        answer, data, letter = letters[name]

        assert answer.status_code == 200
        told = answer.json()
        assert (told["outcome"], told["reason"]) == ("dead_letter", FAULTS[name].reason)
        assert letter["reason"] == FAULTS[name].reason
        assert letter["field"] == told["field"]
        assert letter["raw"] == redacted(data, PERSONAL)
        assert letter["raw_size"] == len(data)
        assert json.loads(letter["attributes"]) == letter["sent"]
        assert letter["published_at"] == datetime(2026, 7, 1, 12, 0, 1, 234_000, UTC)

    def test_a_payload_that_is_not_base64(self, site, instance):
        """What stood in the envelope is kept."""
        body = {"message": {"data": "§ not base64 §", "messageId": "not base64"}}

        answer = requests.post(instance.url, json=body, timeout=DEADLINE_S)

        assert (answer.status_code, answer.json()["reason"]) == (200, "wrong_encoding")
        [letter] = buried(site, "not base64")
        assert letter["raw"] == "§ not base64 §".encode()

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
            (b"", "body"),
            (b"{", "body"),
            (b"[]", "body"),
            (b"{}", "message"),
            (b'{"message": {"data": "e30="}}', "message.messageId"),
            (b'{"message": {"data": 7, "messageId": "1"}}', "message.data"),
            (b'{"message": {"messageId": 7}}', "message.messageId"),
            (b'{"specversion": "1.0", "data": {"x": 1}}', "data.message"),
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

    @pytest.mark.parametrize("is_chunked", [False, True])
    def test_a_body_beyond_any_push(self, instance, is_chunked):
        """More than Pub/Sub can push is not read to its end, whatever it declares."""
        size = 16 * 1024**2
        body = (
            (b" " * 65_536 for _ in range(size // 65_536))
            if is_chunked
            else b" " * size
        )
        try:
            answer = requests.post(instance.url, data=body, timeout=DEADLINE_S)
        except requests.ConnectionError:
            # The server may close while the client is still sending.
            pass
        else:
            assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
        assert instance.post(b"{").status_code == 200


class TestPublishes:
    @pytest.fixture
    def pulled(self, site) -> Iterator[Any]:
        """What comes to the enriched topic from now on."""
        subscription = site.subscribe(site.topic("enriched"))
        yield lambda count: site.pull(subscription, count)
        site.unsubscribe(subscription)

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

    def test_an_event_that_says_it_all_as_it_came(self, instance, pulled, user):
        """Not a byte of an event with id and use case changes on its way."""
        data = written(bet(user_id=user), bet_amount="12.30").replace(b": ", b" :  ")

        instance.post(data)

        [message] = pulled(1)
        assert message.data == data

    def test_nothing_that_was_refused(self, instance, pulled, user):
        """Among refused events only the right one is published."""
        events = [b"{", bet(user_id=user), bet(user_id=user, bet_amount=-1)]

        instance.post_all(events)

        messages = pulled(1)
        assert [json.loads(one.data)["user_id"] for one in messages] == [user]
        assert messages[0].attributes["event_type"] == "new_bet"


# In trouble ---------------------------------------------------------------------------


@dataclass
class Troubled:
    """An instance, and what stands between it and the services that it needs."""

    site: Site
    instance: Instance
    writes: WriteProxy
    connection: TcpProxy
    pubsub: TcpProxy

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
            found = {(row["user_id"], row["event_id"]) for row in rows}
            done = [events[n] for n in range(len(events)) if 200 in statuses[n]]
            lost = [
                one for one in done if (one["user_id"], one["event_id"]) not in found
            ]
            assert not lost, f"{len(lost)} were acknowledged and are not stored"
        return statuses


@pytest.fixture(scope="module")
def every_trouble(emulators, tmp_path_factory) -> Iterator[Troubled]:
    """An instance behind proxies."""
    with (
        new_site(emulators, PROPENSITY_APPEND_TIMEOUT_S="6") as made,
        WriteProxy(emulators.address("bigquery_storage")) as writes,
        TcpProxy(writes.address) as connection,
        TcpProxy(emulators.address("pubsub")) as pubsub,
    ):
        environment = {
            **made.environment,
            "BIGQUERY_STORAGE_EMULATOR_HOST": connection.address,
            "PUBSUB_EMULATOR_HOST": pubsub.address,
        }
        home = tmp_path_factory.mktemp("troubled")
        with Instance("stream_features", environment, home) as started:
            yield Troubled(made, started, writes, connection, pubsub)


@pytest.fixture
def troubled(every_trouble) -> Iterator[Troubled]:
    """An instance for which all is well until a test says otherwise."""
    yield every_trouble
    every_trouble.writes.rule = lambda _: None
    every_trouble.connection.accept()
    every_trouble.pubsub.accept()


def bets(user: str, count: int) -> list[dict[str, Any]]:
    """Return bets of a user, each another amount."""
    return [bet(user_id=user, event_id=f"e{n}", bet_amount=n) for n in range(count)]


def assert_exact(site: Site, events: list[dict[str, Any]]) -> None:
    """Compare the view with what the events come to."""
    view = site.features()
    for user, row in expected_features(events).items():
        assert {name: view[user][name] for name in row} == row


@pytest.mark.long
class TestInTrouble:
    @pytest.mark.parametrize(
        "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
    )
    def test_acknowledges_nothing_that_bigquery_refuses(self, troubled, user, code):
        """An append that fails is a 503 for all its events, and nothing is stored."""
        troubled.writes.rule = lambda _: code

        answers = troubled.instance.post_all(bets(user, 20))
        rows = stored(troubled.site, user)
        troubled.writes.rule = lambda _: None
        troubled.deliver(bets(user, 20))

        assert {answer.status_code for answer in answers} == {503}
        told = answers[0].json()
        assert (told["error"], told["retryable"]) == ("unavailable", True)
        assert rows == []
        assert_exact(troubled.site, bets(user, 20))

    def test_counts_once_what_was_stored_and_not_acknowledged(self, troubled, user):
        """An append whose answer is lost is delivered again, and counts once."""
        troubled.writes.rule = lambda _: WriteProxy.LOST

        answers = troubled.instance.post_all(bets(user, 20))
        first = len(stored(troubled.site, user))
        troubled.writes.rule = lambda _: None
        troubled.deliver(bets(user, 20))

        assert {answer.status_code for answer in answers} == {503}
        assert 0 < first < len(stored(troubled.site, user))
        assert_exact(troubled.site, bets(user, 20))

    def test_goes_on_when_its_connection_is_cut(self, troubled, user):
        """Whoever waits is told; the next event goes over a new connection."""
        reached, go_on = threading.Event(), threading.Event()

        def rule(_: Appended) -> None:
            reached.set()
            go_on.wait(DEADLINE_S)

        troubled.instance.post(bet(user_id=user, event_id="before"))
        before = troubled.connection.connections
        troubled.writes.rule = rule
        with ThreadPoolExecutor(8) as pool:
            answers = [
                pool.submit(troubled.instance.post, one) for one in bets(user, 8)
            ]
            assert reached.wait(DEADLINE_S)
            troubled.writes.rule = lambda _: None
            troubled.connection.cut()
            statuses = {answer.result().status_code for answer in answers}
        go_on.set()
        troubled.deliver(bets(user, 8))

        assert statuses <= {200, 503}
        assert 503 in statuses
        assert troubled.connection.connections > before
        assert_exact(
            troubled.site, [bet(user_id=user, event_id="before"), *bets(user, 8)]
        )

    def test_goes_on_when_bigquery_is_back(self, troubled, user):
        """While it cannot be reached at all events are delivered again."""
        troubled.connection.refuse()

        answers = troubled.instance.post_all(bets(user, 8))
        troubled.connection.accept()
        troubled.deliver(bets(user, 8))

        assert {answer.status_code for answer in answers} == {503}
        assert_exact(troubled.site, bets(user, 8))

    def test_shares_slow_appends(self, troubled, user):
        """What arrives while appends are under way waits, and goes together."""
        troubled.writes.rule = lambda _: time.sleep(0.2)
        before = len(troubled.writes.appended)

        statuses = troubled.deliver(bets(user, 200), threads=64)

        assert all(200 in each for each in statuses)
        sizes = [one.rows.num_rows for one in troubled.writes.appended[before:]]
        assert len(sizes) < 60
        assert_exact(troubled.site, bets(user, 200))

    def test_gives_up_an_append_that_is_not_answered(self, troubled, user):
        """A service that says nothing is one that fails: who waits is told so."""
        go_on = threading.Event()
        troubled.writes.rule = lambda _: go_on.wait(DEADLINE_S)

        answers = troubled.instance.post_all(bets(user, 8))
        troubled.writes.rule = lambda _: None
        go_on.set()
        troubled.deliver(bets(user, 8))

        assert {answer.status_code for answer in answers} == {503}
        assert "in time" in answers[0].json()["message"]
        assert_exact(troubled.site, bets(user, 8))

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
                row for row, one in enumerate(users) if one.startswith(BROKEN_USER)
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
            written(one) for one in bad
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
        assert sorted(json.loads(one.data)["event_id"] for one in messages) == [
            f"e{n}" for n in range(5)
        ]
        assert_exact(troubled.site, bets(user, 5))

    def test_goes_on_when_pubsub_is_back(self, troubled, user):
        """While nothing can be published events are delivered again."""
        troubled.pubsub.refuse()

        answers = troubled.instance.post_all(bets(user, 5))
        troubled.pubsub.accept()
        troubled.deliver(bets(user, 5))

        assert {answer.status_code for answer in answers} == {503}
        assert_exact(troubled.site, bets(user, 5))

    def test_goes_on_when_its_table_is_there(self, troubled, user):
        """A table that is missing is a failure that passes once it is made."""
        troubled.site.warehouse.drop("dead_letters")
        try:
            answer = troubled.instance.post(b"{", message_id=f"early {user}")
        finally:
            troubled.site.warehouse.create(tables.DEAD_LETTERS)

        def is_taken() -> bool:
            again = troubled.instance.post(b"{", message_id=f"early {user}")
            return again.status_code == 200

        eventually(is_taken, "dead letters are stored again")
        assert answer.status_code >= 500
        assert buried(troubled.site, f"early {user}")

    def test_says_so_where_postcodes_cannot_be_read(self, emulators, tmp_path, user):
        """An instance that has never had the table waits for it; then it goes on."""
        is_down = True
        with (
            new_site(emulators, PROPENSITY_RETRY_DEADLINE_S="2") as made,
            Proxy(
                emulators.url("bigquery"), lambda _: 503 if is_down else None
            ) as proxy,
        ):
            load_postcodes(made)
            environment = {**made.environment, "BIGQUERY_EMULATOR_HOST": proxy.url}
            with Instance("stream_features", environment, tmp_path) as started:
                answers = [started.post(registration(user_id=user)) for _ in range(3)]
                is_down = False
                eventually(
                    lambda: started.post(registration(user_id=user)).status_code == 200,
                    "the table is read",
                )

            assert {answer.status_code for answer in answers} == {503}
            assert made.features()[user]["socioeconomic_idx"] == 6.0


@contextlib.contextmanager
def releasing(held: threading.Event) -> Iterator[None]:
    """Let go on whoever waits, also when the block fails."""
    try:
        yield
    finally:
        held.set()


@pytest.mark.long
class TestStalled:
    MESSAGE = 1_000_000

    def test_takes_no_more_than_it_can_hold(self, emulators, tmp_path, user):
        """
        While appends hang, events wait up to a bound; beyond it they are refused.

        Memory stays where it is however many come; when appends go on so does all.
        """
        go_on = threading.Event()
        settings = {
            "PROPENSITY_MAXIMUM_EVENT_BYTES": "2000000",
            "PROPENSITY_APPEND_TIMEOUT_S": "300",
        }
        with (
            new_site(emulators, **settings) as made,
            WriteProxy(emulators.address("bigquery_storage")) as writes,
        ):
            environment = {
                **made.environment,
                "BIGQUERY_STORAGE_EMULATOR_HOST": writes.address,
            }
            with (
                Instance("stream_features", environment, tmp_path) as started,
                ThreadPoolExecutor(100) as pool,
                releasing(go_on),
            ):
                writes.rule = lambda _: go_on.wait(3 * DEADLINE_S)

                def post(number: int) -> tuple[int, str]:
                    event = bet(user_id=user, event_id=f"e{number}", bet_amount=number)
                    event["padding"] = "x" * self.MESSAGE
                    answer = started.post(event)
                    return answer.status_code, answer.text

                asked = [pool.submit(post, number) for number in range(100)]
                refused = eventually(
                    lambda: [one for one in asked if one.done()], "some are refused"
                )
                assert {one.result()[0] for one in refused} == {503}
                # All that may wait waits by now: whoever comes next is refused.
                eventually(
                    lambda: {post(1_000 + n)[0] for n in range(4)} == {503},
                    "it takes no more",
                )
                before = started.memory_mib()
                with ThreadPoolExecutor(8) as more:
                    answers = list(more.map(post, range(2_000, 2_150)))
                after = started.memory_mib()

                assert {status for status, _ in answers} == {503}
                assert "too much waits" in answers[0][1]
                assert sum(one.done() for one in asked) < 60
                # 150 MB came, and went.
                assert after < before + 75

                go_on.set()
                statuses = [one.result()[0] for one in asked]
                assert post(3_000)[0] == 200

            stored_ids = {row["event_id"] for row in stored(made, user)}
            taken = {f"e{n}" for n, status in enumerate(statuses) if status == 200}
            assert len(taken) > 40
            assert taken | {"e3000"} == stored_ids


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
