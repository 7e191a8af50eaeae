"""What is refused, specified: kept as it came, and read again another day."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given

from propensity import tables
from propensity.events.dead_letters import MAXIMUM_RAW_BYTES, dead_letters
from propensity.events.messages import Message
from propensity.events.rows import Accepted
from propensity.events.values import Refused
from tests.events import (
    NOW,
    accept,
    bet,
    message,
    registration,
    row,
)
from tests.propensity.events.messages import BATCHES, BOTH, POSTCODES


class TestDeadLetters:
    def test_hold_what_came(self):
        """The bytes as they were, the attributes, and why; nothing of the others."""
        messages = [
            message(bet(), "m1"),
            message(b"\xff\x00{", "m2", published_at="2026-03-02T05:00:00Z", a="é"),
            message(bet(bet_amount=-1), "m3"),
        ]
        accepted = accept(*messages)
        letters = dead_letters(messages, accepted.refused, received_at=NOW, personal={})

        assert letters.schema == tables.DEAD_LETTERS.arrow_schema()
        [first, second] = sorted(letters.to_pylist(), key=lambda one: one["message_id"])
        assert first == {
            "message_id": "m2",
            "reason": "wrong_encoding",
            "field": None,
            "detail": accepted.refused[1].detail,
            "raw": b"\xff\x00{",
            "raw_size": 3,
            "attributes": '{"a":"é"}',
            "published_at": NOW - timedelta(hours=1),
            "received_at": NOW,
            "received_on": NOW.date(),
        }
        assert (second["reason"], second["field"]) == ("bad_amount", "bet_amount")
        assert second["raw"] == messages[2].data

    def test_hold_the_start_of_what_is_huge(self):
        """A row must fit in an append; how much there was is told."""
        huge = message(b"x" * (MAXIMUM_RAW_BYTES + 1))
        refused = {0: Refused("too_large", "over the bound")}
        [letter] = dead_letters(
            [huge], refused, received_at=NOW, personal={}
        ).to_pylist()

        assert len(letter["raw"]) == MAXIMUM_RAW_BYTES
        assert letter["raw_size"] == MAXIMUM_RAW_BYTES + 1

    def test_keep_what_no_envelope_gave(self):
        """A payload that could not be read out of its envelope keeps its reason."""
        problem = Refused("wrong_encoding", "the payload is not base64")
        sent = Message(b"%%%", "m1", problem=problem)
        accepted = accept(sent)
        [letter] = dead_letters(
            [sent], accepted.refused, received_at=NOW, personal={}
        ).to_pylist()

        assert (letter["reason"], letter["raw"]) == ("wrong_encoding", b"%%%")

    @given(BATCHES)
    def test_are_one_for_each_that_was_refused(self, messages):
        """Each in a valid row, whatever came."""
        accepted: Accepted = accept(*messages, catalogue=BOTH)
        letters = dead_letters(messages, accepted.refused, received_at=NOW, personal={})

        letters.validate(full=True)
        assert letters.num_rows == len(accepted.refused)
        assert letters["reason"].to_pylist() == [
            one.reason for one in accepted.refused.values()
        ]


def test_a_stored_row_that_is_sent_again_gives_the_row():
    """What is kept of a registration is enough."""
    stored = row(registration(), postcodes=POSTCODES)
    names = (
        *("use_case", "event_id", "user_id", "event_type", "age", "city", "country"),
        *("postcode", "affiliate_url", "campaign", "label"),
    )
    event = {name: stored[name] for name in names}
    event["event_time"] = stored["event_time"].isoformat()

    assert row(event, postcodes=POSTCODES) == stored
