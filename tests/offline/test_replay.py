"""
replay, specified: what is sent again is what was sent, none is lost, none counts twice.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import pubsub_v1
from google.pubsub_v1.types import DeadLetterPolicy
from hypothesis import given
from hypothesis import strategies as st

from commands.cli import main
from commands.exits import Exit
from local.generators.games import __main__ as generated
from local.generators.games import towns
from local.generators.games.games import Games
from local.processes import free_ports
from local.stack import topics
from local.stack.state import ROOT
from offline.replay import files
from offline.replay.dead_letters import ORIGIN, SUBSCRIPTION, returned
from offline.replay.files import unwrapped
from offline.replay.messages import Tally
from offline.replay.rows import spooled, stored_events
from offline.replay.sending import SLICE_S, Stop, TokenBucket
from propensity import tables, usecases
from propensity.edges.appends import Appends
from propensity.edges.warehouse import Warehouse
from propensity.events import reading
from propensity.events.catalogue import Catalogue
from propensity.events.messages import Message
from propensity.events.postcodes import PostcodeIndex
from propensity.events.rows import (
    MAXIMUM_RAW_BYTES,
    Rules,
    dead_letters,
)
from propensity.schema import Table
from propensity.settings import Settings
from tests.events import transaction, written

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
EVER = ("--from", "2020-01-01", "--to", "2030-01-01")
GAMES = Games(users=30, maximum_events=40, days=20, seed=3)

# What a delivery adds to an event; all else is the event's.
OF_DELIVERY = {"message_id", "published_at", "received_at", "received_on"}

# A use case whose types have fields for which there are no columns, and personal ones.
OWN = """
title = "t"
outcome = "o"
entity = "user_id"
lookback_days = 1
horizon_days = 1
threshold = 0.5
[features]
age = "number"
[baseline]
feature = "age"
ascending = true
[[candidates]]
name = "c"
algorithm = "LogisticRegression"
[stream]
events = ["new_deposit", "new_contact", "new_member"]
[events.new_deposit]
paid = "amount"
method = "text"
fee = "number"
voucher = "text or null"
[events.new_contact]
email = "personal"
channel = "text"
[events.new_member]
name = "personal"
date_of_birth = "birth date"
city = "text"
label = "label"
"""


def catalogue(*more: usecases.UseCase) -> Catalogue:
    return Catalogue([*(usecases.load(name) for name in usecases.names()), *more])


def accepted(
    messages: Sequence[Message],
    *,
    known: Catalogue | None = None,
    keeps_personal: bool = False,
    at: datetime = NOW,
) -> reading.Accepted:
    """What the stream makes of messages."""
    return reading.accept(
        messages,
        known or catalogue(),
        PostcodeIndex.of(towns.postcodes()),
        received_at=at,
        rules=Rules(
            maximum_bytes=256 * 1024,
            clock_skew=timedelta(minutes=10),
            lateness=timedelta(days=36_500),
            keeps_personal=keeps_personal,
        ),
    )


def messages_of(games: Games) -> list[Message]:
    return [
        Message(data, f"m-{number}", attributes)
        for number, (data, attributes) in enumerate(games.payloads())
    ]


def facts(rows: pa.RecordBatch | pa.Table) -> list[dict[str, Any]]:
    """Rows of ``stream_events`` without what is of their delivery, in a fixed order."""
    found = [
        {name: value for name, value in row.items() if name not in OF_DELIVERY}
        for row in rows.to_pylist()
    ]
    return sorted(found, key=lambda row: (row["event_time"], row["event_id"]))


def again(
    rows: Iterable[Mapping[str, Any]], known: Catalogue
) -> tuple[list[Message], Tally]:
    """Rows of ``stream_events`` as the messages that they are replayed as."""
    tally = Tally()
    found = stored_events(rows, known, topic="events", tally=tally)
    return [Message(one.data, "other", one.attributes) for one in found], tally


@dataclass
class Bus:
    """The Pub/Sub emulator, as a test sees it: topics that it reads and writes."""

    project: str
    publisher: Any
    subscriber: Any

    def topic(self, name: str = "") -> str:
        """Make a topic with a subscription of the same name, and return the name."""
        made = name or f"replay-{uuid.uuid4().hex[:10]}"
        path = f"projects/{self.project}/topics/{made}"
        if not name:
            self.publisher.create_topic(name=path)
        self.subscriber.create_subscription(name=self.path(made), topic=path)
        return made

    def path(self, subscription: str) -> str:
        return f"projects/{self.project}/subscriptions/{subscription}"

    def publish(self, topic: str, data: bytes, **attributes: str) -> str:
        path = f"projects/{self.project}/topics/{topic}"
        return self.publisher.publish(path, data, **attributes).result(timeout=20)

    def pull(self, name: str, *, within: float = 20.0) -> list[Any]:
        """Some messages, acknowledged by nobody; none if none comes in time."""
        try:
            answer = self.subscriber.pull(
                subscription=self.path(name),
                max_messages=1000,
                retry=None,
                timeout=within,
            )
        except DeadlineExceeded:
            return []
        return list(answer.received_messages)

    def taken(self, name: str, count: int) -> list[Message]:
        """So many messages or, where they do not come, fewer; and no more follow."""
        found: list[Message] = []
        while len(found) < count and (pulled := self.pull(name)):
            found += self.acknowledged(name, pulled)
        return found + self.acknowledged(name, self.pull(name, within=1.2))

    def acknowledged(self, name: str, pulled: Sequence[Any]) -> list[Message]:
        if pulled:
            self.subscriber.acknowledge(
                subscription=self.path(name), ack_ids=[one.ack_id for one in pulled]
            )
        return [
            Message(
                one.message.data, one.message.message_id, dict(one.message.attributes)
            )
            for one in pulled
        ]


def opened(project: str) -> Bus:
    return Bus(project, pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient())


@pytest.fixture
def bus(environment) -> Iterator[Bus]:
    """Pub/Sub in the project of the workplace."""
    found = opened(environment["GOOGLE_CLOUD_PROJECT"])
    yield found
    found.publisher.stop()
    found.publisher.transport.close()
    found.subscriber.close()


@pytest.fixture
def own_project(environment, monkeypatch) -> Iterator[Bus]:
    """Pub/Sub in a project of the test's own, with the topics of a deployment."""
    project = f"replay-{uuid.uuid4().hex[:10]}"
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", project)
    topics.create(project, environment["PUBSUB_EMULATOR_HOST"], endpoints={})
    found = opened(project)
    yield found
    found.publisher.stop()
    found.publisher.transport.close()
    found.subscriber.close()


@pytest.fixture
def warehouse(environment) -> Iterator[Warehouse]:
    found = Warehouse.open(Settings.from_environment())
    found.create(tables.STREAM_EVENTS)
    found.create(tables.DEAD_LETTERS)
    yield found
    found.close()


def store(warehouse: Warehouse, table: Table, rows: pa.RecordBatch) -> None:
    warehouse.append(table, pa.Table.from_batches([rows]), job_id=uuid.uuid4().hex)


def lines(path: Path, events: Iterable[bytes]) -> str:
    path.write_bytes(b"".join(event + b"\n" for event in events))
    return str(path)


class Clock:
    """A clock that only sleeping moves, and which sleeps a little too long."""

    def __init__(self, late: float = 0.0) -> None:
        self.now = 100.0
        self.late = late

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.late


class TestTokenBucket:
    @pytest.mark.parametrize("late", [0.0, 0.013])
    @pytest.mark.parametrize("rate", [0.5, 7.0, 1000.0, 30_000.0])
    def test_keeps_its_rate_on_average(self, rate, late):
        """The n-th message goes n gaps after the first, and not more than one sleep
        later, however long the sleeps take."""
        clock, stop = Clock(late), Stop()
        bucket = TokenBucket(rate, clock=clock, sleep=clock.sleep)
        count = 3_000
        for _ in range(count):
            assert bucket.take(stop)

        due = (count - 1) / rate
        assert due - 1e-6 <= clock.now - 100.0 <= due + late + 1e-6

    def test_makes_up_for_a_pause_by_a_tenth_of_a_second(self):
        """After a long pause no more go at once than are due in that time."""
        clock, stop = Clock(), Stop()
        bucket = TokenBucket(1000.0, clock=clock, sleep=clock.sleep)
        bucket.take(stop)
        clock.now += 3600.0
        resumed = clock.now
        at_once = 0
        while bucket.take(stop) and clock.now == resumed:
            at_once += 1

        assert at_once in {100, 101}

    def test_has_no_limit_at_zero(self):
        """A rate of 0 never waits."""
        clock, stop = Clock(), Stop()
        bucket = TokenBucket(0.0, clock=clock, sleep=clock.sleep)

        assert all(bucket.take(stop) for _ in range(1000))
        assert clock.now == 100.0

    def test_ends_its_wait_when_asked_to_stop(self):
        """A minute's gap does not keep Ctrl-C waiting."""
        clock, stop = Clock(), Stop()
        bucket = TokenBucket(1 / 60, clock=clock, sleep=clock.sleep)
        bucket.take(stop)

        def asked(seconds: float) -> None:
            clock.sleep(seconds)
            stop.is_asked = True

        bucket._sleep = asked
        assert not bucket.take(stop)
        assert clock.now <= 100.0 + SLICE_S


class TestStoredEvents:
    @pytest.mark.parametrize("keeps_personal", [False, True])
    def test_give_the_same_rows_again(self, keeps_personal):
        """Every column of every event, personal fields where they are kept, amounts
        to the cent: what is replayed is stored as what was sent."""
        first = accepted(messages_of(GAMES), keeps_personal=keeps_personal)
        resent, tally = again(first.rows.to_pylist(), catalogue())

        second = accepted(resent, keeps_personal=keeps_personal)
        assert not first.refused
        assert not second.refused
        assert not tally.left_out
        assert facts(second.rows) == facts(first.rows)

    def test_name_no_one_where_personal_fields_are_not_kept(self):
        """A registration carries the age, and neither name, street nor birthday."""
        first = accepted(messages_of(GAMES))
        resent, _ = again(first.rows.to_pylist(), catalogue())
        events = [json.loads(one.data) for one in resent]
        registrations = [one for one in events if "postcode" in one]

        assert len(registrations) == GAMES.users
        for event in registrations:
            assert event["age"] >= 18
            assert event["label"] in {0, 1}
            assert not {"name", "street_address", "date_of_birth"} & set(event)

    def test_stay_the_same_when_the_setting_changes(self):
        """Events of which personal fields were kept are replayed to a deployment that
        keeps none, and the other way round, without being refused."""
        rows = {
            kept: accepted(messages_of(GAMES), keeps_personal=kept).rows
            for kept in (False, True)
        }
        for kept, other in ((False, True), (True, False)):
            resent, _ = again(rows[kept].to_pylist(), catalogue())
            second = accepted(resent, keeps_personal=other)
            assert not second.refused
            assert facts(second.rows) == facts(rows[False])

    @given(
        paid=st.integers(0, 10**11),
        deposit=st.fixed_dictionaries(
            {
                "method": st.text(max_size=20),
                "fee": st.floats(allow_nan=False, allow_infinity=False),
                "voucher": st.none() | st.text(max_size=5),
            }
        ),
        label=st.sampled_from([None, 0, 1, True]),
        seconds=st.integers(0, 50 * 365 * 86_400).map(lambda us: us + 0.000001),
    )
    def test_keep_what_a_use_case_declares(self, paid, deposit, label, seconds):
        """Fields without a column of their own come out of ``attributes``; a personal
        one that was not kept, and that no age stands for, comes out empty."""
        known = catalogue(usecases.parse("own", OWN))
        moment = datetime(1972, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        common = {"user_id": "u", "event_time": moment.isoformat(), "use_case": "own"}
        contact = {"event_type": "new_contact", "email": "e", "channel": "c"}
        member = {"name": "n", "city": "c", "date_of_birth": "1950-02-28"}
        deposited = json.dumps({**common, "event_type": "new_deposit", **deposit})
        sent = [
            # The digits themselves: a float of that size would lose some.
            f'{deposited[:-1]}, "paid": {paid // 100}.{paid % 100:02}}}',
            json.dumps({**common, **contact}),
            json.dumps(common | member | {"event_type": "new_member", "label": label}),
        ]
        messages = [Message(one.encode(), f"m{at}") for at, one in enumerate(sent)]
        first = accepted(messages, known=known)
        resent, _ = again(first.rows.to_pylist(), known)

        second = accepted(resent, known=known)
        assert not first.refused
        assert facts(second.rows) == facts(first.rows)

    def test_are_transactions_again(self):
        """An event with an identity of its own has it, its numbers and its times."""
        sent = [
            transaction(transaction_id=f"t{number}", V3=number / 7, **times)
            for number, times in enumerate(
                [
                    {},
                    {"ingest_ts": ...},
                    {"ingest_ts": 1},
                    {"ingest_ts": 1_772_366_400.25},
                ]
            )
        ]
        messages = [
            Message(written(one), f"m{number}") for number, one in enumerate(sent)
        ]
        first = accepted(messages)
        resent, tally = again(first.rows.to_pylist(), catalogue())

        second = accepted(resent)
        assert not first.refused
        assert not tally.left_out
        assert facts(second.rows) == facts(first.rows)

    def test_have_the_identity_that_they_had(self):
        """An event that was known by its message id carries that id now, as itself and
        as an attribute."""
        bare = b'{"user_id":"u","event_type":"new_bet","event_time":"2026-01-01T00:00Z"'
        first = accepted([Message(bare + b',"bet_amount":1}', "the-message-id")])
        resent, _ = again(first.rows.to_pylist(), catalogue())

        assert accepted(resent).rows["event_id"].to_pylist() == ["the-message-id"]
        assert [one.attributes["event_id"] for one in resent] == ["the-message-id"]

    def test_are_what_readers_of_enriched_events_expect(self):
        """They hold the index that they were enriched with, so that they may be sent
        to the topic ``enriched`` as well."""
        first = accepted(messages_of(GAMES))
        resent, _ = again(first.rows.to_pylist(), catalogue())

        archived = reading.accept(
            resent,
            catalogue(),
            None,
            received_at=NOW,
            rules=Rules(
                maximum_bytes=10**6,
                clock_skew=timedelta(),
                lateness=timedelta(days=36_500),
                keeps_personal=False,
            ),
        )
        assert facts(archived.rows) == facts(first.rows)

    def test_of_a_type_that_is_gone_are_counted(self):
        """What no use case takes any more is left out, and told."""
        rows = accepted(messages_of(GAMES)).rows.to_pylist()
        rows[0] |= {"event_type": "new_fax"}
        resent, tally = again(rows, catalogue())

        assert len(resent) == len(rows) - 1
        assert tally.left_out == {"new_fax is not taken by first_day_churn": 1}


class TestEvents:
    @pytest.fixture
    def rows(self, warehouse) -> pa.RecordBatch:
        """Events that are stored, half of them twice."""
        messages = messages_of(GAMES)
        found = accepted(messages).rows
        store(warehouse, tables.STREAM_EVENTS, found)
        later = accepted(messages[::2], at=NOW + timedelta(days=1)).rows
        store(warehouse, tables.STREAM_EVENTS, later)
        return found

    def test_come_back_each_once(self, bus, rows, capsys):
        """From the table through Pub/Sub to the stream: the same rows as before."""
        topic = bus.topic()
        status = main(["replay", "events", *EVER, "--topic", topic, "--rate", "0"])

        found = accepted(bus.taken(topic, rows.num_rows))
        told = capsys.readouterr().out
        assert status == 0
        assert facts(found.rows) == facts(rows)
        assert f"{rows.num_rows:,} messages sent" in told
        assert "30 new_registration" in told

    def test_are_those_of_the_period(self, bus, rows):
        """From the first moment on, and before the last; each event is in one of two
        periods that meet."""
        moments = sorted(rows["event_time"].to_pylist())
        start, middle, end = (
            moments[len(moments) * at // 10].isoformat() for at in (1, 4, 8)
        )
        wanted = [
            sum(one <= at.isoformat() < other for at in moments)
            for one, other in ((start, middle), (middle, end))
        ]
        topic = bus.topic()
        counts = []
        for since, until in ((start, middle), (middle, end)):
            options = ["--from", since, "--to", until, "--topic", topic, "--rate", "0"]
            assert main(["replay", "events", *options]) == 0
            counts.append(len(bus.taken(topic, wanted[len(counts)])))

        assert counts == wanted

    def test_may_be_those_of_one_user_or_use_case(self, bus, rows):
        """And of nobody else."""
        user = rows["user_id"][0].as_py()
        topic = bus.topic()
        options = ["events", *EVER, "--topic", topic, "--rate", "0"]
        main(["replay", *options, "--user", user, "--use-case", "first_day_churn"])
        main(["replay", *options, "--use-case", "ga4_purchase"])

        count = rows["user_id"].to_pylist().count(user)
        found = accepted(bus.taken(topic, count)).rows
        assert found["user_id"].to_pylist() == [user] * count

    def test_go_on_where_a_limit_ended_them(self, bus, rows, capsys):
        """What the command says to go on with sends the rest, and events of the very
        moment twice at most."""
        topic = bus.topic()
        options = ["events", "--to", "2030-01-01", "--topic", topic, "--rate", "0"]
        assert main(["replay", *options, "--from", "2020-01-01", "--limit", "50"]) == 0
        told = capsys.readouterr().out
        since = told.rpartition("--from ")[2].strip().rstrip(".")
        assert "50 messages sent" in told
        assert main(["replay", *options, "--from", since]) == 0

        found = accepted(bus.taken(topic, rows.num_rows)).rows
        assert Counter(found["event_id"].to_pylist()).keys() == set(
            rows["event_id"].to_pylist()
        )
        assert "There may be more" not in capsys.readouterr().out
        assert found.num_rows < rows.num_rows + 5

    def test_are_only_counted_on_a_dry_run(self, bus, rows, capsys):
        """Nothing is sent; what would be is counted, and shown where asked for."""
        topic = bus.topic()
        status = main(
            ["replay", "events", *EVER, "--topic", topic, "--dry-run", "--show", "2"]
        )

        told = capsys.readouterr().out
        assert status == 0
        assert f"{rows.num_rows:,} messages would be sent" in told
        assert told.count('"event_time":') == 2
        assert bus.pull(topic, within=1.2) == []

    def test_are_copied_before_they_are_sent(self, rows, warehouse):
        """All rows are read at first, since BigQuery keeps no stream open for days;
        and never more than are wanted."""
        for most, count in ((None, rows.num_rows), (7, 7), (10**6, rows.num_rows)):
            copied = iter([rows.slice(0, 5), rows.slice(5)])
            with spooled(copied, most=most) as (found, total):
                assert total == count
                if most is None:
                    assert next(copied, None) is None
                assert list(found) == rows.slice(0, count).to_pylist()

    def test_may_be_none(self, bus, warehouse, capsys):
        """An empty period is no error."""
        assert main(["replay", "events", *EVER, "--topic", bus.topic()]) == 0
        assert "0 messages sent" in capsys.readouterr().out


class TestRefused:
    @pytest.fixture
    def letters(self, warehouse) -> list[Message]:
        """Messages that were refused and are stored, one of them twice."""
        sent = [
            Message(b'{"user_id":', "m-1", {"event_id": "e-1", "from": "shop"}),
            Message(b"\xff\x00", "m-2", {}, "2026-11-20T11:59:59.123456789Z"),
            Message(b"{}", "m-3", {}),
            Message(b"x" * (MAXIMUM_RAW_BYTES + 1), "m-4", {}),
        ]
        refused = accepted(sent).refused
        appends = Appends(warehouse.settings)

        async def bury() -> None:
            for chosen in (refused, {0: refused[0]}):
                rows = dead_letters(sent, chosen, received_at=NOW, personal={})
                await appends.append(tables.DEAD_LETTERS, rows)

        asyncio.run(bury())
        return sent

    def test_come_back_as_they_were(self, bus, letters, capsys):
        """Payload and attributes, byte for byte, each once. What had no identity but
        its message id has that one still. What was cut when it was stored is not
        sent, and said."""
        topic = bus.topic()
        status = main(["replay", "refused", *EVER, "--topic", topic])

        found = {
            (one.data, *sorted(one.attributes.items())) for one in bus.taken(topic, 3)
        }
        told = capsys.readouterr().out
        assert found == {
            (b'{"user_id":', ("event_id", "e-1"), ("from", "shop")),
            (b"\xff\x00", ("event_id", "m-2")),
            (b"{}", ("event_id", "m-3")),
        }
        assert status == 1
        assert "1 left out: only the beginning" in told

    def test_may_be_those_of_a_reason_and_a_period(self, bus, letters):
        """By the reason that is stored, and by the time of receipt."""
        topic = bus.topic()
        options = ["refused", "--topic", topic]
        main(["replay", *options, *EVER, "--reason", "wrong_encoding"])
        main(["replay", *options, "--from", "2020-01-01", "--to", NOW.isoformat()])

        assert [one.data for one in bus.taken(topic, 1)] == [b"\xff\x00"]


class TestFile:
    def test_is_sent_line_by_line(self, bus, tmp_path, capsys):
        """Events as the generator writes them; broken lines too, for the stream to
        refuse them; no empty ones."""
        sent = [data for data, _ in GAMES.payloads()][:200]
        broken = [b'{"user_id":', b"\xff\xfe", b'["data"]', b"nothing"]
        path = tmp_path / "events.ndjson"
        path.write_bytes(
            b"\xef\xbb\xbf" + b"\r\n".join([*sent, b"", *broken, b"  ", b"end"])
        )
        topic = bus.topic()
        status = main(["replay", "file", str(path), "--topic", topic, "--rate", "0"])

        found = bus.taken(topic, 205)
        told = capsys.readouterr().out
        assert status == 0
        assert Counter(one.data for one in found) == Counter([*sent, *broken, b"end"])
        assert "205 messages sent" in told
        assert "5 other" in told
        assert "5 without an event_id" in told

    @pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
    def test_may_be_packed(self, bus, tmp_path, pack):
        """As gzip or Zstandard, told by its content."""
        path = tmp_path / "events"
        path.write_bytes(pack(b'{"a":1}\n{"a":2}\n'))
        topic = bus.topic()

        assert main(["replay", "file", str(path), "--topic", topic]) == 0
        assert {one.data for one in bus.taken(topic, 2)} == {b'{"a":1}', b'{"a":2}'}

    def test_may_hold_whole_messages(self, bus, tmp_path):
        """What the generator writes with its faults is what it delivers: payload and
        attributes as they are; one that is empty with attributes, too."""
        games = Games(users=30, maximum_events=40, days=20, seed=3)
        path = tmp_path / "messages.ndjson"
        generated.main(
            [
                *(str(path), "--faults", "--users", "30", "--seed", "3"),
                *("--maximum-events", "40", "--days", "20"),
            ]
        )
        topic = bus.topic()
        status = main(["replay", "file", str(path), "--topic", topic, "--rate", "0"])

        wanted = Counter(
            (one.data, tuple(sorted(one.attributes.items())))
            for one in games.deliveries()
        )
        found = Counter(
            (one.data, tuple(sorted(one.attributes.items())))
            for one in bus.taken(topic, wanted.total())
        )
        assert status == 0
        assert found == wanted

    def test_is_skipped_into(self, bus, tmp_path):
        """Lines are counted as they stand in the file, empty ones too."""
        path = lines(tmp_path / "events", [b"1", b"", b"3", b"4"])
        topic = bus.topic()
        main(["replay", "file", path, "--topic", topic, "--skip", "2", "--limit", "1"])

        assert [one.data for one in bus.taken(topic, 1)] == [b"3"]

    def test_leaves_out_what_no_message_can_hold(
        self, bus, tmp_path, monkeypatch, capsys
    ):
        """Lines too long for a message or for memory, messages that are empty, and
        attributes that Pub/Sub takes of nobody. The others arrive."""
        monkeypatch.setattr(files, "MAXIMUM_LINE_BYTES", 11_000_000)
        path = lines(
            tmp_path / "events",
            [
                *(b"first", b"x" * 10_000_000, b"y" * 25_000_000),
                b'{"data": ""}',
                b'{"data": "", "attributes": {"a": "%s"}}' % (b"z" * 1025),
                b"last",
            ],
        )
        topic = bus.topic()
        status = main(["replay", "file", path, "--topic", topic])

        told = capsys.readouterr().out
        assert status == 1
        assert {one.data for one in bus.taken(topic, 2)} == {b"first", b"last"}
        assert "1 left out: larger than a message may be" in told
        assert "1 left out: longer than a line may be" in told
        assert "1 left out: empty" in told
        assert "1 left out: with attributes" in told

    def test_keeps_attributes_of_any_name(self, bus, tmp_path):
        """Names that the client takes for its own arguments are attributes as well."""
        named = dict.fromkeys(("topic", "data", "retry", "timeout", "self"), "x")
        line = json.dumps({"data": {"event_id": "e"}, "attributes": named})
        topic = bus.topic()
        status = main(
            ["replay", "file", lines(tmp_path / "e", [line.encode()]), "--topic", topic]
        )

        (found,) = bus.taken(topic, 1)
        assert status == 0
        assert (json.loads(found.data), found.attributes) == ({"event_id": "e"}, named)

    def test_that_is_cut_says_how_far_it_came(self, bus, tmp_path, capsys):
        """What could be read is sent; where it ends is told."""
        path = tmp_path / "events.gz"
        many = b"".join(b'{"event_id":"%d"}\n' % number for number in range(300_000))
        path.write_bytes(gzip.compress(many)[:-20])
        status = main(["replay", "file", str(path), "--dry-run"])

        said = capsys.readouterr()
        assert status == 1
        assert "Truncated compressed stream" in said.err
        assert "messages would be sent" in said.out

    def test_has_to_be_there(self, environment, tmp_path, capsys):
        """One that is not is named."""
        assert main(["replay", "file", str(tmp_path / "gone")]) == 1
        assert "gone" in capsys.readouterr().err


class TestMessagesInLines:
    @pytest.mark.parametrize(
        ("line", "found"),
        [
            (b'{"data": "e30="}', (b"{}", {}, "")),
            (b'{"data": {"a": 1.10}}', (b'{"a": 1.10}', {}, "")),
            (
                b'{"attributes": {"a": "b"}, "data": "e30=", "messageId": "7"}',
                (b"{}", {"a": "b"}, "7"),
            ),
        ],
    )
    def test_are_unwrapped(self, line, found):
        """Payload, attributes and id; numbers keep their digits."""
        assert unwrapped(line) == found

    @pytest.mark.parametrize(
        "line",
        [
            b'{"data": "no base64!"}',
            b'{"data": 7}',
            b'{"data": "e30=", "user_id": "u"}',
            b'{"data": "e30=", "attributes": {"a": 1}}',
            b'{"user_id": "u", "note": "\\"data\\""}',
            b'["data"]',
        ],
    )
    def test_are_none_of_what_only_looks_alike(self, line):
        """An event that has a field of that name is an event, and whatever is broken
        is sent as it is."""
        assert unwrapped(line) == (line, {}, "")

    def test_that_have_an_id_are_known_by_it(self, bus, tmp_path):
        """A message without an event_id had its message id for one."""
        wrapped = {"data": base64.b64encode(b"{}").decode(), "messageId": "77"}
        topic = bus.topic()
        path = lines(tmp_path / "e", [json.dumps(wrapped).encode()])
        main(["replay", "file", path, "--topic", topic])

        (found,) = bus.taken(topic, 1)
        assert found.attributes == {"event_id": "77"}


class TestDeadLetters:
    SOURCES: Mapping[str, str] = {
        "events-stream-features": "events",
        "enriched-score-stream": "enriched",
    }

    def fail(
        self, bus: Bus, subscription: str, sent: Sequence[tuple[bytes, dict]]
    ) -> None:
        """Let messages fail until Pub/Sub gives them up."""
        path = bus.path(subscription)
        topic = f"projects/{bus.project}/topics"
        bus.subscriber.create_subscription(
            request={
                "name": path,
                "topic": f"{topic}/{self.SOURCES[subscription]}",
                "dead_letter_policy": DeadLetterPolicy(
                    dead_letter_topic=f"{topic}/dead-letters", max_delivery_attempts=5
                ),
            }
        )
        for data, attributes in sent:
            bus.publish(self.SOURCES[subscription], data, **attributes)
        failures = 0
        while failures < 5 * len(sent):
            pulled = bus.pull(subscription)
            bus.subscriber.modify_ack_deadline(
                subscription=path,
                ack_ids=[one.ack_id for one in pulled],
                ack_deadline_seconds=0,
            )
            failures += len(pulled)
        bus.subscriber.delete_subscription(subscription=path)

    def waiting(self, bus: Bus, count: int) -> int:
        """How many dead letters can be pulled: so many, or fewer where they do not
        come, and no more follow."""
        ids: set[str] = set()
        while len(ids) < count and (pulled := bus.pull(SUBSCRIPTION)):
            ids |= {one.message.message_id for one in pulled}
        pulled = bus.pull(SUBSCRIPTION, within=1.2)
        return len(ids | {one.message.message_id for one in pulled})

    def test_go_back_to_where_they_failed(self, own_project, capsys):
        """As they were, less what Pub/Sub added, each to its topic; then they are
        gone from the subscription."""
        bus = own_project
        event = {"event_id": "e-1", "use_case": "first_day_churn"}
        self.fail(bus, "events-stream-features", [(b'{"a":1}', event), (b"broken", {})])
        self.fail(bus, "enriched-score-stream", [(b'{"event_id":"e-2"}', {})])
        for name in ("events", "enriched"):
            bus.topic(name)
        status = main(["replay", "dead-letters", "--wait", "1"])

        found = {one.data: one.attributes for one in bus.taken("events", 2)}
        told = capsys.readouterr().out
        assert status == 0
        assert found.pop(b'{"a":1}') == event
        assert found.pop(b"broken").keys() == {"event_id"}
        assert found == {}
        assert [(one.data, one.attributes) for one in bus.taken("enriched", 1)] == [
            (b'{"event_id":"e-2"}', {})
        ]
        assert self.waiting(bus, 0) == 0
        assert "3 messages sent" in told

    def test_are_kept_until_they_are_published(self, own_project, capsys):
        """Where nothing can be published nothing is acknowledged; all of it is there
        for the next time."""
        bus = own_project
        for number in range(3):
            bus.publish("dead-letters", b"%d" % number)
        status = main(["replay", "dead-letters", "--wait", "1", "--topic", "no-such"])

        said = capsys.readouterr()
        assert status == 1
        assert "does not find topic no-such" in said.err
        assert "0 messages sent" in said.out
        bus.topic("events")
        # What is given back comes again after a second.
        assert main(["replay", "dead-letters", "--wait", "3"]) == 0
        assert {one.data for one in bus.taken("events", 3)} == {b"0", b"1", b"2"}

    def test_of_an_unknown_subscription_stay(self, own_project, capsys):
        """Nobody knows where they belong, until a topic is named."""
        bus = own_project
        bus.publish("dead-letters", b"mine", **{ORIGIN: "somebody-s"})
        bus.topic("events")
        bus.topic("scores")

        assert main(["replay", "dead-letters", "--wait", "1"]) == 1
        assert "1 left out: of somebody-s" in capsys.readouterr().out
        assert main(["replay", "dead-letters", "--wait", "1", "--topic", "scores"]) == 0
        assert [one.data for one in bus.taken("scores", 1)] == [b"mine"]
        assert bus.pull("events", within=1.2) == []

    def test_are_only_counted_on_a_dry_run(self, own_project, capsys):
        """None is sent and none acknowledged."""
        bus = own_project
        for number in range(3):
            bus.publish("dead-letters", b"%d" % number)
        bus.topic("events")
        status = main(["replay", "dead-letters", "--wait", "1", "--dry-run"])

        assert status == 0
        assert "3 messages would be sent" in capsys.readouterr().out
        assert bus.pull("events", within=1.2) == []
        assert self.waiting(bus, 3) == 3

    def test_may_be_some_of_them(self, own_project, capsys):
        """A limit leaves the others where they are."""
        bus = own_project
        for number in range(5):
            bus.publish("dead-letters", b"%d" % number)
        bus.topic("events")
        status = main(["replay", "dead-letters", "--limit", "2"])

        assert status == 0
        assert len(bus.taken("events", 2)) == 2
        assert "There may be more. Run the same again." in capsys.readouterr().out
        assert self.waiting(bus, 3) == 3

    def test_keep_their_identity_when_they_come_twice(self):
        """One that was sent and could not be acknowledged is sent again as the same
        event, whether or not it had an id of its own."""
        settings = Settings(project="p")
        for data in (b'{"event_id":"e"}', b"{}", b"broken"):
            one, other = (
                returned(
                    pubsub_v1.types.PubsubMessage(data=data, message_id="7"),
                    settings,
                    topic=None,
                )
                for _ in range(2)
            )
            assert one == other
            assert b"event_id" in data or one.attributes == {"event_id": "7"}

    def test_need_their_subscription(self, environment, monkeypatch, capsys):
        """One that is not set up is named."""
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", f"replay-{uuid.uuid4().hex[:10]}")

        assert main(["replay", "dead-letters", "--wait", "1"]) == 1
        assert "dead-letters-replay" in capsys.readouterr().err


class TestTheCommand:
    def test_stops_at_ctrl_c_and_goes_on(self, bus, tmp_path):
        """What was sent is told, and how to go on; both together send every line, and
        none twice."""
        sent = [b'{"event_id":"e-%d"}' % number for number in range(400)]
        path = lines(tmp_path / "events", sent)
        topic = bus.topic()
        command = [sys.executable, "-m", "propensity", "replay", "file", path]
        running = subprocess.Popen(
            [*command, "--topic", topic, "--rate", "40"],
            cwd=ROOT,
            env=dict(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        found = bus.acknowledged(topic, bus.pull(topic, within=60.0))
        running.send_signal(signal.SIGINT)
        told, errors = running.communicate(timeout=60)
        assert running.returncode == Exit.INTERRUPTED, errors
        skip = told.rpartition("--skip ")[2].strip().rstrip(".")
        assert f"{skip} messages sent" in told
        assert 0 < int(skip) < len(sent)
        status = main(
            ["replay", "file", path, "--topic", topic, "--rate", "0", "--skip", skip]
        )

        found += bus.taken(topic, len(sent) - len(found))
        assert status == 0
        assert Counter(one.data for one in found) == Counter(sent)

    def test_stops_where_publishing_fails(self, environment, tmp_path, capsys):
        """A topic that is not there is named, with where to go on, and the exit
        status is 1."""
        path = lines(tmp_path / "events", [b"", *[b"{}"] * 100])
        status = main(["replay", "file", path, "--topic", "no-such-topic"])

        said = capsys.readouterr()
        assert status == 1
        assert "Pub/Sub does not find topic no-such-topic" in said.err
        assert "0 messages sent" in said.out
        assert "with --skip 1." in said.out

    def test_gives_up_where_nobody_answers(
        self, environment, monkeypatch, tmp_path, capsys
    ):
        """After the time that every call has."""
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{free_ports(1)[0]}")
        monkeypatch.setenv("PROPENSITY_RETRY_DEADLINE_S", "2")
        status = main(["replay", "file", lines(tmp_path / "events", [b"{}"])])

        assert status == 1
        assert "Pub/Sub did not answer for topic events" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["events", "--from", "2026-01-01"],
            ["events", "--from", "2026-01-01", "--to", "2026-01-01"],
            ["events", "--from", "yesterday", "--to", "2026-01-01"],
            ["refused", *EVER, "--reason", "no_reason"],
            ["file", "x", "--rate", "-1"],
            ["file", "x", "--limit", "many"],
        ],
        ids=" ".join,
    )
    def test_leaves_with_2_for_a_wrong_command_line(self, arguments, capsys):
        """As any command does, before anything is done."""
        assert main(["replay", *arguments]) == 2

    def test_says_what_setting_is_missing(self, monkeypatch, capsys):
        """By the variable's name."""
        monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)

        assert main(["replay", "dead-letters"]) == 1
        assert "GOOGLE_CLOUD_PROJECT" in capsys.readouterr().err
