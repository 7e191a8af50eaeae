"""
Events of numbers, specified: the fast ways give what the parsers of values give.
"""

from __future__ import annotations

import json
from datetime import timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from propensity.events.numeric import numeric_attributes
from propensity.events.values import instants_of, numerals_of
from tests.events import (
    DEPLOYED,
    FEATURES,
    NOW,
    accept,
    bet,
    message,
    transaction,
    truth,
    written,
)

LATEST = NOW + timedelta(seconds=600)

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(json.dumps),
    st.sampled_from(["5", "-0", "1E2", "1e400", '"1.5"', '"x"', "null", "true", "[]"]),
)
INSTANTS = st.one_of(
    st.datetimes().map(lambda at: f'"{at.isoformat(timespec="milliseconds")}Z"'),
    st.sampled_from(
        [
            '"2026-03-01T12:00:00.000Z"',
            '"2026-02-30T12:00:00.123Z"',
            '"2026-03-01T12:00:60.123Z"',
            '"2026-03-02T06:10:00.001Z"',
            '"2026-W09-7T12:00:00.123Z"',
            "1772366400123",
            '"1772366400"',
            '{"user_id": 1}',
            '"user_id"',
            "null",
            '"\\u00e9"',
        ]
    ),
)
FURTHER = st.sampled_from(
    [
        {},
        {"event_type": "card_transaction"},
        {"event_type": "card_truth"},
        {"event_type": None},
        {"event_type": 7},
        {"user_id": None},
        {"event_id": "another"},
        {"use_case": "card_fraud"},
        {"is_fraud": 1},
        {"is_fraud": 1, "truth_time": "2026-03-01T18:00:00Z"},
        {"note": [{"event_id": 1}]},
        {"V3": ...},
        {"transaction_id": "user_id"},
        {"transaction_id": 12},
        {"transaction_id": "x" * 300},
        {"ingest_ts": ...},
        {"event_time": "nonsense"},
    ]
)


@st.composite
def transactions(draw):
    """Transactions as bytes: most are right, some are almost or not at all."""
    literals = draw(
        st.dictionaries(st.sampled_from(FEATURES), NUMBERS, max_size=2)
        | st.fixed_dictionaries({"ingest_ts": INSTANTS})
    )
    event = transaction(**draw(FURTHER))
    return written(event, **{n: one for n, one in literals.items() if n in event})


def outcome(found):
    """What came of messages: rows, truths, payloads, and refusals without the place."""
    return (
        found.rows.to_pylist(),
        found.truths.to_pylist(),
        list(found.enriched),
        [(one.reason, one.field, one.detail) for one in found.refused.values()],
    )


class TestExactFields:
    @given(transactions(), st.sampled_from(["", "card_transaction", "card_truth", "?"]))
    def test_together_is_as_alone(self, data, said):
        """After an event that was told by its fields, whatever comes is what it is."""
        attributes = {"event_type": said} if said else {}
        one = message(data, **attributes)
        first = message(transaction(transaction_id="t0"), "m0")
        alone = outcome(accept(one, catalogue=DEPLOYED))
        before = outcome(accept(first, catalogue=DEPLOYED))
        together = outcome(accept(first, one, catalogue=DEPLOYED))

        assert together == tuple(a + b for a, b in zip(before, alone, strict=True))

    def test_take_turns(self):
        """Transactions, truths and events with a type in one batch."""
        sent = [message(one) for one in (transaction(), truth(), bet(), transaction())]
        found = accept(*sent, catalogue=DEPLOYED)

        assert found.rows["event_type"].to_pylist() == [
            "card_transaction",
            "new_bet",
            "card_transaction",
        ]
        assert found.truths["event_id"].to_pylist() == ["t1"]


class TestAttributes:
    @given(st.lists(transactions(), min_size=1, max_size=5))
    def test_are_those_of_the_parsers(self, payloads):
        """Byte for byte; an event with another value is left to them."""
        events = []
        for data in payloads:
            try:
                events.append(DEPLOYED.read(data, {"event_type": "card_transaction"}))
            except Exception:  # refused before: it has no attributes
                continue
        rows = [row for row, event in enumerate(events) if event.numeric]
        found, alone = numeric_attributes(events, rows, LATEST)
        for row in set(rows) - set(alone):
            instants = instants_of(events[row], latest=LATEST)
            texts = {name: at and at.isoformat() for name, at in instants.items()}
            wanted = {**numerals_of(events[row]), **texts}

            assert found[row] == msgspec.json.encode(wanted).decode()

    def test_of_usual_events_need_no_parser(self):
        """Numbers as numbers, an instant to the millisecond in UTC, or none."""
        usual = [
            transaction(ingest_ts="2026-03-01T12:00:00.120Z"),
            transaction(ingest_ts="2026-03-01T12:00:00.000Z"),
            transaction(ingest_ts=...),
        ]
        events = [DEPLOYED.read(written(one), {}) for one in usual]
        found, alone = numeric_attributes(events, [0, 1, 2], LATEST)

        assert alone == []
        assert [json.loads(one or "").get("ingest_ts") for one in found] == [
            "2026-03-01T12:00:00.120000+00:00",
            "2026-03-01T12:00:00+00:00",
            None,
        ]
