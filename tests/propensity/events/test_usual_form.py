"""
The usual form of bare events of numbers, specified: numbers stay as they were written.
"""

from __future__ import annotations

import json

import pytest

from propensity.events.types import EventType
from tests.events import DEPLOYED, FEATURES, NOW, accept, message, transaction, written

TIMES = {
    "event_time": "2026-03-01T12:00:00.250Z",
    "ingest_ts": "2026-03-01T12:00:00.500Z",
}
# Shortest, and as msgspec would not write them.
NUMBERS = {"V1": "5", "V2": "1E2", "V3": "-0", "V4": "0.10000000000000001"}


def usual(**fields):
    """A transaction in the usual form, with numbers that show who wrote them."""
    event = transaction(**{**TIMES, **fields})
    literals = {name: one for name, one in NUMBERS.items() if name in event}
    return written(event, separators=(",", ":"), **literals)


def attributes(*payloads):
    """The further fields of events, as stored."""
    messages = [message(data, f"m{place}") for place, data in enumerate(payloads)]
    accepted = accept(*messages, catalogue=DEPLOYED)
    assert not accepted.refused
    return accepted.rows["attributes"].to_pylist()


def is_as_written(text):
    return all(f'"{name}":{number},' in text for name, number in NUMBERS.items())


def test_numbers_are_kept_as_they_were_written():
    """Their digits, and their order; only an instant is written anew."""
    [text] = attributes(usual())

    assert is_as_written(text)
    assert [*json.loads(text)] == [*FEATURES, "ingest_ts"]
    assert json.loads(text)["ingest_ts"] == "2026-03-01T12:00:00.500000+00:00"


def test_ids_may_be_of_any_width():
    texts = attributes(*(usual(transaction_id="t" * n) for n in (1, 36, 7)))

    assert texts == attributes(usual()) * 3


OTHERS = {
    "a space": usual().replace(b",", b", ", 1),
    "a line feed behind it": usual() + b"\n",
    "its times first": written(
        {**TIMES, **transaction(**TIMES)}, separators=(",", ":"), **NUMBERS
    ),
    "a number first": written(
        {"V1": 0, **transaction(**TIMES)}, separators=(",", ":"), **NUMBERS
    ),
    "a field twice": usual().replace(b',"event_time"', b',"V1":7,"event_time"'),
    "a field that no type has": usual(note=1),
    "a type": usual(event_type="card_transaction"),
    "a number in a text": usual().replace(b'"V1":5', b'"V1":"5"'),
    "an escape": usual(transaction_id="t\\"),
    "an id above ASCII": usual(transaction_id="\u00e9"),
    "an id that is a number": usual(transaction_id=12),
    "no instant": usual(ingest_ts=...),
    "an instant to the second": usual(ingest_ts="2026-03-01T12:00:00Z"),
    "an instant in no calendar": usual(ingest_ts="2026-02-30T12:00:00.500Z"),
    "an instant to come": usual(ingest_ts="2999-03-01T12:00:00.500Z"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_is_written_otherwise_is_written_again(other):
    """It makes no difference to the events beside it, nor they to it."""
    texts = attributes(usual(), usual(), other, usual(), usual())

    assert [is_as_written(text) for text in texts] == [True, True, False, True, True]
    assert texts[2] == attributes(other)[0]
    assert [*json.loads(texts[2])][: len(FEATURES)] == [*FEATURES]


def test_a_type_may_have_no_instants_or_several():
    for instants in ([], ["sent_at", "cleared_at"]):
        fields = {"id": "identity", "x": "numeral"} | dict.fromkeys(instants, "instant")
        form = EventType(name="payment", fields=fields).numeric.usual_form
        times = dict.fromkeys(["event_time", *instants], TIMES["ingest_ts"])
        data = written({"id": "p1", "x": 5, **times}, separators=(",", ":"))
        later = "2026-03-01T12:00:00.500000+00:00"

        further = form.further(["p1"], [data], NOW)

        assert json.loads(further[0]) == {"x": 5, **dict.fromkeys(instants, later)}
