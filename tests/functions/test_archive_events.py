"""
archive_events, specified over HTTP: every enriched event to Parquet in the bucket.

It is one of several consumers of the topic ``enriched``, and knows of no other.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from local.stack.state import ROOT
from propensity import tables
from tests.events import bet, registration, written
from tests.functions.instances import ENVELOPES, Instance
from tests.functions.streaming import Site, eventually, new_site
from tests.proxy import Proxy

pytestmark = pytest.mark.runs

FOLDER = "archive/events/"
Archived = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def site(emulators) -> Iterator[Site]:
    """Tables, topics and the bucket of these tests; each has users of its own."""
    with new_site(emulators, PROPENSITY_ARCHIVE_LINGER_S="0.3") as site:
        yield site


@pytest.fixture(scope="module")
def instance(site, tmp_path_factory) -> Iterator[Instance]:
    """The function as it is deployed."""
    home = tmp_path_factory.mktemp("archive_events")
    with Instance("archive_events", site.environment, home) as started:
        yield started


@pytest.fixture
def user() -> str:
    """A user of one test alone."""
    return f"user-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def archived(emulators, site) -> Archived:
    """Return the archived rows of a user, read as one data set of Parquet files."""
    bucket = emulators.state.folder / "storage" / site.workplace.bucket

    def rows(user: str) -> list[dict[str, Any]]:
        if not site.artifacts.names(FOLDER):
            return []
        files = pyarrow.dataset.dataset(
            bucket / FOLDER, format="parquet", partitioning="hive"
        )
        mine = pyarrow.dataset.field("user_id") == user
        return list(files.to_table(filter=mine).to_pylist())

    return rows


class TestArchives:
    @pytest.mark.parametrize("envelope", ENVELOPES)
    def test_an_event_in_each_envelope(self, instance, archived, user, envelope):
        """It is a row of a Parquet file in the folder of its day."""
        event = bet(user_id=user, bet_amount=999_999_999.97)

        answer = instance.post(event, envelope=envelope)

        assert (answer.status_code, answer.json()) == (200, {"outcome": "stored"})
        [row] = archived(user)
        assert row["amount"] == Decimal("999999999.97")
        assert (row["event_type"], row["event_id"]) == ("new_bet", "e1")
        assert str(row["date"]) == str(row["event_date"]) == "2026-03-01"

    def test_events_by_the_day_on_which_they_happened(self, instance, archived, user):
        """Days are those of UTC, whatever the offset that an event is written with."""
        times = {
            "e0": "2026-03-01T23:59:59.999Z",
            "e1": "2026-03-02T00:00:00Z",
            "e2": "2026-03-02T00:30:00+02:00",
        }
        events = [
            bet(user_id=user, event_id=name, event_time=time)
            for name, time in times.items()
        ]

        instance.post_all(events)

        days = {row["event_id"]: str(row["date"]) for row in archived(user)}
        assert days == {"e0": "2026-03-01", "e1": "2026-03-02", "e2": "2026-03-01"}

    def test_every_event_of_many_in_few_files(self, site, instance, archived, user):
        """Events that come together are a file for every day, and all are there."""
        before = len(site.artifacts.names(FOLDER))
        events = [
            bet(user_id=user, event_id=f"e{n}", event_time=f"2026-02-{day}T12:00:00Z")
            for n in range(50)
            for day in ("10", "11", "12")
        ]

        answers = instance.post_all(events, threads=48)

        assert {answer.status_code for answer in answers} == {200}
        assert sorted(
            (row["event_id"], str(row["date"])) for row in archived(user)
        ) == sorted((event["event_id"], event["event_time"][:10]) for event in events)
        assert len(site.artifacts.names(FOLDER)) - before < 75

    def test_the_columns_of_the_table(self, site, instance, user):
        """A file has what a stored event has, in types that say what they are."""
        instance.post(bet(user_id=user, event_time="2026-01-07T12:00:00Z"))

        [name] = site.artifacts.names(f"{FOLDER}date=2026-01-07/")
        table = pq.read_table(pa.BufferReader(site.artifacts.read(name).data))
        assert table.schema.names == tables.STREAM_EVENTS.arrow_schema().names
        assert str(table.schema.field("amount").type) == "decimal128(38, 9)"
        assert str(table.schema.field("event_time").type) == "timestamp[us, tz=UTC]"

    def test_the_enrichment_and_nothing_personal(self, site, instance, archived, user):
        """Index and age are in the files; name, street and date of birth are not. No
        line of the log has them, or names the user."""
        secrets = ("Ada Secretname", "1 Secretstreet", "1990-05-04")
        event = registration(
            user_id=user,
            name=secrets[0],
            street_address=secrets[1],
            date_of_birth=secrets[2],
        )

        instance.post({**event, "socioeconomic_idx": 4.5, "age": 35})

        [row] = archived(user)
        assert (row["socioeconomic_idx"], row["age"]) == (4.5, 35)
        assert not [secret for secret in secrets if secret in str(row)]
        for name in site.artifacts.names(FOLDER):
            data = site.artifacts.read(name).data
            assert not [secret for secret in secrets if secret.encode() in data]
        assert not [text for text in (*secrets, user) if text in instance.log()]

    def test_the_same_event_as_the_same_file(self, instance, archived, user):
        """An event that is delivered again alone is the file that is there."""
        for _ in range(3):
            assert instance.post(bet(user_id=user)).status_code == 200

        assert len(archived(user)) == 1

    def test_an_event_as_often_as_it_comes_with_others(
        self, emulators, site, instance, archived, user
    ):
        """And the README says by which statement each is read once."""
        events = [bet(user_id=user, event_id=f"e{n}") for n in range(4)]
        for others in (events[:2], events[1:], events):
            instance.post_all(others)
        [distinct] = re.findall(
            r"```sql\n(SELECT.*?archived_events.*?)```",
            (ROOT / "04-StreamFeatures/README.md").read_text("utf-8"),
            re.DOTALL,
        )
        files = emulators.state.folder / "storage" / site.workplace.bucket / FOLDER

        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(
                "CREATE VIEW archived_events AS SELECT * "
                f"FROM read_parquet('{files}/*/*.parquet', hive_partitioning = true) "
                f"WHERE user_id = '{user}'"
            )
            rows = connection.execute(distinct).to_arrow_table().to_pylist()

        assert len(archived(user)) > len(events)
        assert sorted(row["event_id"] for row in rows) == ["e0", "e1", "e2", "e3"]

    def test_what_can_never_be_an_event_as_a_dead_letter(
        self, site, instance, archived, user
    ):
        """It takes nothing from those that came with it."""
        good = [bet(user_id=user, event_id=f"e{n}") for n in range(5)]
        bad = written(bet(user_id=user, bet_amount=-1))

        answers = instance.post_all([*good, bad, b"{"])

        assert {answer.status_code for answer in answers} == {200}
        assert [answer.json().get("reason") for answer in answers[5:]] == [
            "bad_amount",
            "malformed_json",
        ]
        ids = {row["event_id"] for row in archived(user)}
        assert ids == {event["event_id"] for event in good}
        letters = site.rows("SELECT raw FROM dead_letters")
        assert bad in [letter["raw"] for letter in letters]


class TestInTrouble:
    def test_acknowledges_nothing_that_is_not_in_the_bucket(
        self, emulators, tmp_path, user
    ):
        """While the bucket fails events are delivered again; then it goes on."""
        is_down = True
        settings = {
            "PROPENSITY_RETRY_DEADLINE_S": "2",
            "PROPENSITY_ARCHIVE_LINGER_S": "0",
        }
        with (
            new_site(emulators, **settings) as site,
            Proxy(
                emulators.url("storage"), lambda _: 503 if is_down else None
            ) as proxy,
        ):
            environment = {**site.environment, "STORAGE_EMULATOR_HOST": proxy.url}
            with Instance("archive_events", environment, tmp_path) as instance:
                refused = instance.post(bet(user_id=user))
                before = site.artifacts.names(FOLDER)
                is_down = False
                eventually(
                    lambda: instance.post(bet(user_id=user)).status_code == 200,
                    "the bucket is back",
                )

            assert (refused.status_code, refused.json()["retryable"]) == (503, True)
            assert before == []
            assert len(site.artifacts.names(FOLDER)) == 1


@pytest.mark.long
class TestOfTheStream:
    def test_archives_what_stream_features_publishes(
        self, site, instance, archived, tmp_path, user
    ):
        """Through the enriched topic, as a subscription beside that of the scores."""
        subscription = site.subscribe(site.topic("enriched"), endpoint=instance.url)
        events = [
            registration(user_id=user),
            bet(user_id=user, event_id=..., use_case=...),
        ]
        with Instance("stream_features", site.environment, tmp_path) as intake:
            for event in events:
                answer = intake.post(event, message_id=f"of {user}")
                assert answer.status_code == 200
            eventually(lambda: len(archived(user)) == 2, "both are archived")
        site.unsubscribe(subscription)

        rows = {row["event_type"]: row for row in archived(user)}
        assert rows["new_bet"]["event_id"] == f"of {user}"
        assert rows["new_registration"]["age"] == 35
        assert rows["new_registration"]["name"] is None
