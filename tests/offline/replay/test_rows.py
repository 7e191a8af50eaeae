"""replay, specified: what is sent again is what was sent, and counts once."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.cli import main
from offline.replay.messages import Tally
from offline.replay.rows import refused_messages, spooled
from propensity import tables, usecases
from propensity.edges.appends import Appends
from propensity.edges.warehouse import Warehouse
from propensity.events import rows as stream
from propensity.events.messages import Message
from propensity.events.redaction import personal_fields
from propensity.events.rows import MAXIMUM_RAW_BYTES, Rules, dead_letters
from propensity.schema import Table
from propensity.settings import Settings
from tests.events import registration, transaction, written
from tests.offline.replay.conftest import (
    EVER,
    GAMES,
    NOW,
    accepted,
    again,
    catalogue,
    facts,
    messages_of,
)

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


@pytest.fixture
def warehouse(environment) -> Iterator[Warehouse]:
    warehouse = Warehouse.open(Settings.from_environment())
    warehouse.create(tables.STREAM_EVENTS)
    warehouse.create(tables.DEAD_LETTERS)
    yield warehouse
    warehouse.close()


def store(warehouse: Warehouse, table: Table, rows: pa.RecordBatch) -> None:
    warehouse.append(table, pa.Table.from_batches([rows]), job_id=uuid.uuid4().hex)


class TestStoredEvents:
    def test_give_the_same_rows_again(self):
        """Every column of every event, amounts to the cent: what is replayed is stored
        as what was sent."""
        first = accepted(messages_of(GAMES))
        resent, tally = again(first.rows.to_pylist())

        second = accepted(resent)
        assert not first.refused
        assert not second.refused
        assert not tally.left_out
        assert facts(second.rows) == facts(first.rows)

    def test_name_no_one(self):
        """A registration carries the age, and neither name, street nor birthday."""
        first = accepted(messages_of(GAMES))
        resent, _ = again(first.rows.to_pylist())
        events = [json.loads(message.data) for message in resent]
        registrations = [event for event in events if "postcode" in event]

        assert len(registrations) == GAMES.users
        for event in registrations:
            assert event["age"] >= 18
            assert event["label"] in {0, 1}
            assert not {"name", "street_address", "date_of_birth"} & set(event)

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
        messages = [Message(event.encode(), f"m{at}") for at, event in enumerate(sent)]
        first = accepted(messages, known=known)
        resent, _ = again(first.rows.to_pylist(), known)

        second = accepted(resent, known=known)
        assert not first.refused
        assert facts(second.rows) == facts(first.rows)

    @pytest.mark.parametrize("added", ["method", "fee", "paid", "voucher"])
    def test_of_an_older_version_of_their_type_lack_what_it_lacked(self, added):
        """A field that the type did not have then is missing, which is the reason of
        the dead letter, and not null; one that may be null is."""
        older = "\n".join(
            line for line in OWN.splitlines() if not line.startswith(f"{added} =")
        )
        sent = {
            "user_id": "u",
            "event_type": "new_deposit",
            "use_case": "own",
            "event_time": "2026-11-20T10:00:00Z",
            "method": "card",
            "fee": 1.5,
            "paid": 5.25,
            "voucher": None,
        }
        first = accepted(
            [Message(json.dumps(sent).encode(), "m")],
            known=catalogue(usecases.parse("own", older)),
        )
        known = catalogue(usecases.parse("own", OWN))
        resent, _ = again(first.rows.to_pylist(), known)
        refused = accepted(resent, known=known).refused

        assert [(letter.reason, letter.field) for letter in refused.values()] == (
            [] if added == "voucher" else [("missing_field", added)]
        )

    def test_are_transactions_again(self):
        """An event with an identity of its own has it, its numbers and its times."""
        sent = [
            transaction(transaction_id=f"t{number}", V3=number / 7, **times)
            for number, times in enumerate(
                [{}, *({"ingest_ts": at} for at in (..., 1, 1_772_366_400.25))]
            )
        ]
        messages = [
            Message(written(event), f"m{number}") for number, event in enumerate(sent)
        ]
        first = accepted(messages)
        resent, tally = again(first.rows.to_pylist())

        second = accepted(resent)
        assert not first.refused
        assert not tally.left_out
        assert facts(second.rows) == facts(first.rows)

    def test_have_the_identity_that_they_had(self):
        """An event that was known by its message id carries that id now, as itself and
        as an attribute."""
        bare = b'{"user_id":"u","event_type":"new_bet","event_time":"2026-01-01T00:00Z"'
        first = accepted([Message(bare + b',"bet_amount":1}', "the-message-id")])
        resent, _ = again(first.rows.to_pylist())

        assert accepted(resent).rows["event_id"].to_pylist() == ["the-message-id"]
        assert [message.attributes["event_id"] for message in resent] == [
            "the-message-id"
        ]

    def test_are_what_readers_of_enriched_events_expect(self):
        """They hold the index that they were enriched with, so that they may be sent
        to the topic ``enriched`` as well."""
        first = accepted(messages_of(GAMES))
        resent, _ = again(first.rows.to_pylist())

        accepted_again = stream.accept(
            resent,
            catalogue(),
            None,
            received_at=NOW,
            rules=Rules(
                maximum_bytes=10**6,
                clock_skew=timedelta(),
                lateness=timedelta(days=36_500),
            ),
        )
        assert facts(accepted_again.rows) == facts(first.rows)

    def test_of_a_type_that_is_gone_are_counted(self):
        """What no use case takes any more is left out, and told."""
        rows = accepted(messages_of(GAMES)).rows.to_pylist()
        rows[0] |= {"event_type": "new_fax"}
        resent, tally = again(rows)

        assert len(resent) == len(rows) - 1
        assert tally.left_out == {"new_fax is not taken by first_day_churn": 1}


class TestEvents:
    @pytest.fixture
    def rows(self, warehouse) -> pa.RecordBatch:
        """Events that are stored, half of them twice."""
        messages = messages_of(GAMES)
        stored = accepted(messages).rows
        store(warehouse, tables.STREAM_EVENTS, stored)
        later = accepted(messages[::2], at=NOW + timedelta(days=1)).rows
        store(warehouse, tables.STREAM_EVENTS, later)
        return stored

    def test_come_back_each_once(self, bus, rows, capsys):
        """From the table through Pub/Sub to the stream: the same rows as before."""
        topic, status = bus.replay("events", *EVER)

        again = accepted(bus.receive(topic, rows.num_rows))
        output = capsys.readouterr().out
        assert status == 0
        assert facts(again.rows) == facts(rows)
        assert f"{rows.num_rows:,} messages sent" in output
        assert "30 new_registration" in output

    def test_are_those_of_the_period(self, bus, rows):
        """From the first moment on, and before the last; each event is in one of two
        periods that meet."""
        moments = sorted(rows["event_time"].to_pylist())
        start, middle, end = (
            moments[len(moments) * at // 10].isoformat() for at in (1, 4, 8)
        )
        expected = [
            sum(since <= at.isoformat() < until for at in moments)
            for since, until in ((start, middle), (middle, end))
        ]
        counts = []
        for since, until in ((start, middle), (middle, end)):
            topic, status = bus.replay("events", "--from", since, "--to", until)
            assert status == 0
            counts.append(len(bus.receive(topic, expected[len(counts)])))

        assert counts == expected

    def test_may_be_those_of_one_user_or_use_case(self, bus, rows):
        """And of nobody else."""
        user = rows["user_id"][0].as_py()
        topic = bus.topic()
        options = ["events", *EVER, "--topic", topic, "--rate", "0"]
        main(["replay", *options, "--user", user, "--use-case", "first_day_churn"])
        main(["replay", *options, "--use-case", "ga4_purchase"])

        count = rows["user_id"].to_pylist().count(user)
        again = accepted(bus.receive(topic, count)).rows
        assert again["user_id"].to_pylist() == [user] * count

    def test_go_on_where_a_limit_ended_them(self, bus, rows, capsys):
        """What the command says to go on with sends the rest, and events of the very
        moment twice at most."""
        topic = bus.topic()
        options = ["events", "--to", "2030-01-01", "--topic", topic, "--rate", "0"]
        assert main(["replay", *options, "--from", "2020-01-01", "--limit", "50"]) == 0
        output = capsys.readouterr().out
        since = output.rpartition("--from ")[2].strip().rstrip(".")
        assert "50 messages sent" in output
        assert main(["replay", *options, "--from", since]) == 0

        again = accepted(bus.receive(topic, rows.num_rows)).rows
        assert Counter(again["event_id"].to_pylist()).keys() == set(
            rows["event_id"].to_pylist()
        )
        assert "There may be more" not in capsys.readouterr().out
        assert again.num_rows < rows.num_rows + 5

    def test_are_only_counted_on_a_dry_run(self, bus, rows, capsys):
        """Nothing is sent; what would be is counted, and shown where asked for."""
        topic, status = bus.replay("events", *EVER, "--dry-run", "--show", "2")

        output = capsys.readouterr().out
        assert status == 0
        assert f"{rows.num_rows:,} messages would be sent" in output
        assert output.count('"event_time":') == 2
        assert bus.pull(topic, within=1.2) == []

    def test_are_copied_before_they_are_sent(self, rows, warehouse):
        """All rows are read at first, since BigQuery keeps no stream open for days;
        and never more than are wanted."""
        for most, count in ((None, rows.num_rows), (7, 7), (10**6, rows.num_rows)):
            copied = iter([rows.slice(0, 5), rows.slice(5)])
            with spooled(copied, most=most) as (copies, total):
                assert total == count
                if most is None:
                    assert next(copied, None) is None
                assert list(copies) == rows.slice(0, count).to_pylist()

    def test_are_of_a_use_case_that_there_is(self, bus, rows, capsys):
        """A misspelt one has no events, and silence would look like success."""
        arguments = ["events", *EVER, "--use-case", "first_day_chrun"]

        assert main(["replay", *arguments]) == 1
        assert "no use case 'first_day_chrun'" in capsys.readouterr().err

    def test_may_be_none(self, bus, warehouse, capsys):
        """An empty period is no error."""
        assert bus.replay("events", *EVER)[1] == 0
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
        topic, status = bus.replay("refused", *EVER)

        messages = {
            (message.data, *sorted(message.attributes.items()))
            for message in bus.receive(topic, 3)
        }
        output = capsys.readouterr().out
        assert messages == {
            (b'{"user_id":', ("event_id", "e-1"), ("from", "shop")),
            (b"\xff\x00", ("event_id", "m-2")),
            (b"{}", ("event_id", "m-3")),
        }
        assert status == 1
        assert "1 left out: only the beginning" in output

    def test_come_back_without_their_personal_fields(self):
        """A registration is shorter as it is stored, and whole: once the cause is
        mended, here a use case that is not deployed yet, it is the row that it would
        have been."""
        came = Message(
            written(registration(use_case=...)), "m-1", {"use_case": "not_deployed"}
        )
        refused = accepted([came]).refused
        stored = dead_letters(
            [came],
            refused,
            received_at=NOW,
            personal=personal_fields(catalogue().types),
        )
        tally = Tally()
        [sent] = refused_messages(stored.to_pylist(), topic="events", tally=tally)
        mended = {**sent.attributes, "use_case": "first_day_churn"}

        assert [letter.reason for letter in refused.values()] == ["unknown_use_case"]
        assert (len(sent.data) < len(came.data), tally.is_complete) == (True, True)
        assert facts(accepted([Message(sent.data, "m-2", mended)]).rows) == facts(
            accepted([Message(came.data, "m-1")]).rows
        )

    def test_may_be_those_of_a_reason_and_a_period(self, bus, letters):
        """By the reason that is stored, and by the time of receipt."""
        topic = bus.topic()
        options = ["refused", "--topic", topic]
        main(["replay", *options, *EVER, "--reason", "wrong_encoding"])
        main(["replay", *options, "--from", "2020-01-01", "--to", NOW.isoformat()])

        assert [message.data for message in bus.receive(topic, 1)] == [b"\xff\x00"]
