"""Dead letters, specified: back to where they failed, and gone only then."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from commands.cli import main
from offline import dead_letters
from offline.dead_letters import ORIGIN, SUBSCRIPTION
from propensity.events import dead_letters as stream
from propensity.events import rows as accepting
from propensity.events.messages import Message
from propensity.settings import DEAD_LETTERS, ENRICHED, EVENTS
from propensity.tables import stream as tables
from tests.offline.letters import bury, create, receive, subscription
from tests.support.deployment import Deployment, entered
from tests.support.events import DEPLOYED

NOW = datetime.now(UTC)
EVER = ("--from", "2020-01-01", "--to", "2030-01-01")


@pytest.fixture
def deployment(emulated, monkeypatch) -> Iterator[Deployment]:
    """Topics of the test's own, each with a subscription to read it by."""
    monkeypatch.setattr(dead_letters, "PULL_S", 2.0)
    deployment = emulated
    deployment.extra = {"PROPENSITY_TOPIC_PREFIX": deployment.name}
    for topic in (EVENTS, ENRICHED, DEAD_LETTERS):
        create(deployment, topic)
    with entered(deployment.environment):
        yield deployment


@pytest.fixture
def stored(deployment) -> None:
    """Messages that were refused and are stored, one of them twice."""
    sent = [
        Message(b'{"user_id":1}', "m-1", {"event_id": "e-1", "use_case": "x"}),
        Message(b'{"amount":1.10}', "m-2", {}, "2026-11-20T11:59:59.123456789Z"),
        Message(b"{}", "m-3", {}),
        Message(b"\xff\x00", "m-4", {}),
    ]
    refused = accepting.accept(sent, DEPLOYED, None, received_at=NOW).refused
    deployment.warehouse.create(tables.DEAD_LETTERS)
    for chosen in (refused, {0: refused[0]}):
        rows = stream.dead_letters(sent, chosen, received_at=NOW, kinds=DEPLOYED.kinds)
        deployment.warehouse.write(tables.DEAD_LETTERS, pa.Table.from_batches([rows]))


def replay(*options: str) -> int:
    return main(["dead-letters", "replay", *options])


def test_failed_messages_go_back_to_where_they_failed(deployment, capsys):
    """As they were, less what Pub/Sub added, each to its topic; then they are gone from
    the subscription. Of a subscription of somebody else's nobody knows where they
    belong: they stay. On a dry run they are counted alone."""
    event = {"event_id": "e-1", "use_case": "first_day_churn"}
    at_events = f"{deployment.name}-events-stream-features"
    bury(deployment, b'{"a":1}', failed_at=at_events, **event)
    bury(deployment, b"broken", failed_at=at_events)
    at_scores = f"{deployment.name}-enriched-score-stream"
    bury(deployment, b'{"event_id":"e-2"}', failed_at=at_scores)
    bury(deployment, b"by hand")
    bury(deployment, b"theirs", failed_at="somebody-s")
    for how in (["--dry-run"], []):
        assert replay(*how) == 1
        printed = capsys.readouterr().out
        assert f"{deployment.name}-events 3" in printed
        assert "unknown subscription somebody-s" in printed

    by_data = dict(receive(deployment, EVENTS, 3))
    assert by_data.pop(b'{"a":1}') == event
    assert by_data.pop(b"broken").keys() == {"event_id"}
    assert by_data.pop(b"by hand").keys() == {"event_id"}
    assert by_data == {}
    assert receive(deployment, ENRICHED, 1) == [(b'{"event_id":"e-2"}', {})]
    assert [data for data, _ in receive(deployment, SUBSCRIPTION, 1)] == [b"theirs"]


def test_failed_messages_are_kept_until_published(deployment, capsys):
    """Where nothing can be published nothing is acknowledged; all of it is there for
    the next time."""
    bury(deployment, b"1")
    bury(deployment, b"2")
    topic = deployment.path(deployment.topic(EVENTS))
    deployment.publisher.delete_topic(topic=topic)

    assert replay() == 1
    assert "events" in capsys.readouterr().err
    deployment.subscriber.delete_subscription(
        subscription=subscription(deployment, EVENTS)
    )
    create(deployment, EVENTS)
    assert replay() == 0
    assert {data for data, _ in receive(deployment, EVENTS, 2)} == {b"1", b"2"}


def test_a_replay_goes_on_when_messages_come_again_that_it_holds(
    deployment, monkeypatch
):
    """A letter that nobody can send is not acknowledged, and comes again after its
    lease, while others still wait."""
    pulled = iter([["1"], ["1"], ["2"], []])

    class Client:
        def pull(self, **_: object) -> SimpleNamespace:
            messages = [
                SimpleNamespace(
                    ack_id=f"ack {one}",
                    message=SimpleNamespace(
                        message_id=one, data=b"{}", attributes={ORIGIN: "else"}
                    ),
                )
                for one in next(pulled)
            ]
            return SimpleNamespace(received_messages=messages)

        def modify_ack_deadline(self, **_: object) -> None:
            pass

    monkeypatch.setattr(
        dead_letters, "open_client", lambda *_: contextlib.nullcontext(Client())
    )
    answer = dead_letters.replay(deployment.settings)

    assert answer["left_out"] == {"from the unknown subscription else": 2}


class TestRefused:
    def test_refused_messages_come_back_as_they_were(self, deployment, stored, capsys):
        """Payload and attributes, byte for byte, each once. What had no identity but
        its message id has that one still. What was not kept is not sent, and said."""
        status = replay("--refused", *EVER)

        messages = {
            (data, *sorted(attributes.items()))
            for data, attributes in receive(deployment, EVENTS, 3)
        }
        assert messages == {
            (b'{"user_id":1}', ("event_id", "e-1"), ("use_case", "x")),
            (b'{"amount":1.10}', ("event_id", "m-2")),
            (b"{}", ("event_id", "m-3")),
        }
        assert status == 1
        assert "its payload was not kept 1" in capsys.readouterr().out

    def test_refused_messages_are_those_of_a_period(self, deployment, stored):
        """By the time of receipt; a dry run sends none."""
        assert replay("--refused", "--from", "2020-01-01", "--to", "2020-01-02") == 0
        assert replay("--refused", *EVER, "--dry-run") == 1

        assert receive(deployment, EVENTS, 0) == []

    def test_refused_messages_are_counted_by_reason(
        self, deployment, stored, capsys, monkeypatch
    ):
        """Each message once, beside those that wait in the subscription; made-up names
        are rows up to a limit. A deployment without the stream has no subscription."""

        def listed() -> Any:
            assert main(["dead-letters", "list", "--json"]) == 0
            return json.loads(capsys.readouterr().out)

        bury(deployment, b"1")
        found = listed()
        assert sum(row["messages"] for row in found["refused"]) == 4
        assert {row["reason"] for row in found["refused"]} >= {"wrong_encoding"}
        assert found["waiting"] == 1
        assert len(receive(deployment, SUBSCRIPTION, 1)) == 1

        monkeypatch.setattr(dead_letters, "LISTED", 1)
        monkeypatch.setenv("PROPENSITY_TOPIC_PREFIX", "nostream")
        found = listed()
        assert found["waiting"] == 0
        [_, other] = found["refused"]
        assert (other["reason"], other["messages"]) == ("other", 1)
