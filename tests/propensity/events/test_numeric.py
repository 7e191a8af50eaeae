"""
Events of numbers, specified: the fast ways give what the parsers of values give.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
USUAL_TIMES = {
    "event_time": "2026-03-01T12:00:00.250Z",
    "ingest_ts": "2026-03-01T12:00:00.500Z",
}
# Most producers write no spaces; ``json`` does.
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": ")])


@st.composite
def transactions(draw):
    """Transactions as bytes: most are right, some are almost or not at all."""
    literals = draw(
        st.dictionaries(st.sampled_from(FEATURES), NUMBERS, max_size=2)
        | st.fixed_dictionaries({"ingest_ts": INSTANTS})
    )
    times = draw(st.sampled_from([{}, USUAL_TIMES]))
    event = transaction(**{**times, **draw(FURTHER)})
    literals = {name: one for name, one in literals.items() if name in event}
    return written(event, separators=draw(SEPARATORS), **literals)


def outcome(accepted):
    """What came of messages: rows, truths, payloads, and refusals without the place."""
    return (
        accepted.rows.to_pylist(),
        accepted.truths.to_pylist(),
        list(accepted.enriched),
        [(one.reason, one.field, one.detail) for one in accepted.refused.values()],
    )


class TestExactFields:
    @given(transactions(), st.sampled_from(["", "card_transaction", "card_truth", "?"]))
    def test_together_is_as_alone(self, data, said):
        """After an event that was told by its fields, whatever comes is what it is."""
        attributes = {"event_type": said} if said else {}
        self.check(message(data, **attributes))

    @given(
        st.lists(
            st.tuples(
                transactions(),
                st.sampled_from([{}, {}, {}, {"use_case": "card_fraud"}]),
                st.sampled_from(["", "2026-03-01T12:00:01.250Z", "soon"]),
            ),
            min_size=1,
            max_size=5,
        )
    )
    def test_many_together_are_as_alone(self, sent):
        """Rows, what is published and refusals, in the order of the messages."""
        first = message(transaction(transaction_id="t0"), "m0")
        messages = [
            message(data, f"m{place}", published_at=at, **attributes)
            for place, (data, attributes, at) in enumerate(sent, start=1)
        ]
        alone = [outcome(accept(one, catalogue=DEPLOYED)) for one in messages]
        # The batch before says what these may be.
        accept(first, catalogue=DEPLOYED)
        rows, truths, published, refused = outcome(
            accept(*messages, catalogue=DEPLOYED)
        )

        assert rows == [row for one in alone for row in one[0]]
        assert truths == [row for one in alone for row in one[1]]
        assert published == [data for one in alone for data in one[2]]
        assert sorted(refused, key=str) == sorted(
            (reason for one in alone for reason in one[3]), key=str
        )

    @pytest.mark.parametrize(
        "fields",
        [
            {"ingest_ts": {"user_id": 1}},
            {"transaction_id": "user_id"},
            {"transaction_id": 'a"b'},
            {"transaction_id": 12},
            {"ingest_ts": "2026-03-01T12:00:00.120Z"},
        ],
    )
    def test_together_is_as_alone_with_names_in_values(self, fields):
        """The names of added fields may be in the values of an event."""
        self.check(message(json.dumps(transaction(**fields)).encode()))

    @pytest.mark.parametrize("behind", [b"\n", b" "])
    def test_together_is_as_alone_before_a_space(self, behind):
        """A payload may end in white space."""
        usual = transaction(ingest_ts="2026-03-01T12:00:00.120Z")
        self.check(message(written(usual) + behind))

    @pytest.mark.parametrize(
        "attributes",
        [
            {"use_case": "card_fraud"},
            {"use_case": "first_day_churn"},
            {"event_id": "another"},
            {"user_id": "another"},
        ],
    )
    def test_together_is_as_alone_with_attributes(self, attributes):
        """A message may name the use case of a bare event; its id is its identity."""
        self.check(message(transaction(), "m7", **attributes))

    def test_is_published_as_alone_beside_others(self):
        """Byte for byte, with the spaces that it came with."""
        usual = transaction(ingest_ts="2026-03-01T12:00:00.120Z")
        one, other = (message(json.dumps(event).encode()) for event in (usual, bet()))
        alone = [accept(m, catalogue=DEPLOYED).enriched for m in (one, one, other)]

        assert accept(one, one, other, catalogue=DEPLOYED).enriched == sum(alone, [])

    def check(self, one):
        first = message(transaction(transaction_id="t0"), "m0")
        alone = outcome(accept(one, catalogue=DEPLOYED))
        before = outcome(accept(first, catalogue=DEPLOYED))
        together = outcome(accept(first, one, catalogue=DEPLOYED))

        assert together == tuple(a + b for a, b in zip(before, alone, strict=True))

    def test_take_turns(self):
        """Transactions, truths and events with a type in one batch."""
        sent = [message(one) for one in (transaction(), truth(), bet(), transaction())]
        accepted = accept(*sent, catalogue=DEPLOYED)

        assert accepted.rows["event_type"].to_pylist() == [
            "card_transaction",
            "new_bet",
            "card_transaction",
        ]
        assert accepted.truths["event_id"].to_pylist() == ["t1"]


class TestAttributes:
    @given(st.lists(transactions(), min_size=1, max_size=5))
    def test_are_those_of_the_parsers(self, payloads):
        """The same numbers and the same instants, however they are written."""
        told = {"event_type": "card_transaction"}
        messages = [message(data, f"m{n}", **told) for n, data in enumerate(payloads)]
        accepted = accept(*messages, catalogue=DEPLOYED)

        texts = accepted.rows["attributes"].to_pylist()
        for place, text in zip(accepted.places, texts, strict=True):
            event = DEPLOYED.read(payloads[place], told)
            instants = instants_of(event, latest=LATEST)
            assert values_in(text) == {**numerals_of(event), **instants}

    def test_of_usual_events_need_no_parser(self):
        """Numbers as numbers, an instant to the millisecond in UTC, or none."""
        instants = ("2026-03-01T12:00:00.120Z", "2026-03-01T12:00:00.000Z", ...)
        sent = [message(transaction(ingest_ts=one), "m") for one in instants]
        texts = accept(*sent, catalogue=DEPLOYED).rows["attributes"].to_pylist()

        assert [json.loads(text).get("ingest_ts") for text in texts] == [
            "2026-03-01T12:00:00.120000+00:00",
            "2026-03-01T12:00:00+00:00",
            None,
        ]


def values_in(text):
    """Numbers and instants of the column ``attributes``."""
    values = json.loads(text)
    if values.get("ingest_ts"):
        values["ingest_ts"] = datetime.fromisoformat(values["ingest_ts"])
    return values
