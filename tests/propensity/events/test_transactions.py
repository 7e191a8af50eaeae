"""
Events with an identity of their own, specified: transactions, truths, and bare ones.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.events.values import EARLIEST, EPOCH, instant_of, numeral_of
from tests.events import (
    BASE,
    CATALOGUE,
    DEPLOYED,
    EXAMPLES,
    FEATURES,
    NEVER,
    NO_MOMENTS,
    NOW,
    accept,
    bet,
    message,
    places,
    published,
    refusal,
    row,
    told,
    transaction,
    truth,
    written,
)

EARLIEST_MS, NOW_MS = (
    (one - EPOCH) // timedelta(milliseconds=1) for one in (EARLIEST, NOW)
)


def card(event: dict[str, object] | bytes) -> dict[str, object]:
    """Return the row of a transaction that must be accepted."""
    return row(event, catalogue=DEPLOYED)


def card_refusal(event: dict[str, object] | bytes) -> tuple[str, str | None]:
    return refusal(event, catalogue=DEPLOYED)


class TestTransactions:
    def test_come_bare(self):
        """Without type, use case, user and id: all of them follow from its fields."""
        stored = card(transaction())

        assert (stored["use_case"], stored["event_type"]) == (
            "card_fraud",
            "card_transaction",
        )
        assert (stored["event_id"], stored["user_id"]) == ("t1", "t1")
        assert stored["event_time"] == datetime(2026, 3, 1, 12, tzinfo=UTC)
        assert json.loads(stored["attributes"]) == {
            **{name: n / 8 for n, name in enumerate(FEATURES)},
            "ingest_ts": "2026-03-01T12:00:00.500000+00:00",
        }
        assert stored["amount"] is None

    @pytest.mark.parametrize("absent", [..., None])
    @pytest.mark.parametrize(
        "field", ["event_type", "use_case", "user_id", "event_id", "ingest_ts"]
    )
    def test_need_none_of_what_others_have(self, field, absent):
        """A field of those may be missing or null."""
        stored = card(transaction(**{field: absent}))

        assert (stored["event_id"], stored["user_id"]) == ("t1", "t1")

    @pytest.mark.parametrize("as_attributes", [False, True])
    def test_may_say_what_they_are(self, as_attributes):
        """As fields or as attributes of the message; the identity stays its own."""
        said = {
            "event_type": "card_transaction",
            "use_case": "card_fraud",
            "user_id": "a holder",
            "event_id": "another",
        }
        sent = (
            message(transaction(), **said)
            if as_attributes
            else message(transaction(**said))
        )
        accepted = accept(sent, catalogue=DEPLOYED)

        assert accepted.rows.to_pylist() == [card(transaction())]
        assert {
            name: json.loads(published(accepted)[0])[name]
            for name in ("event_type", "use_case", "user_id", "event_id")
        } == {**said, "user_id": "t1", "event_id": "t1"}

    def test_are_published_with_what_follows(self):
        """Every field as it was written, then who and what it is."""
        data = written(transaction(), V1="1.10", V2='"1e2"')
        [enriched] = published(accept(message(data), catalogue=DEPLOYED))

        assert enriched.startswith(data[:-1])
        assert json.loads(enriched[len(data) - 1 :].replace(b",", b"{", 1)) == {
            "event_id": "t1",
            "use_case": "card_fraud",
            "user_id": "t1",
            "event_type": "card_transaction",
        }

    @pytest.mark.parametrize("field", ["transaction_id", *FEATURES, "event_time"])
    def test_have_their_fields(self, field):
        """Without one it is a dead letter, and the field is named."""
        assert card_refusal(transaction(**{field: ...})) == ("missing_field", field)

    @pytest.mark.parametrize("field", ["V1", "V28", "Amount"])
    @pytest.mark.parametrize(
        ("literal", "reason"),
        [
            *((one, "wrong_type") for one in (*NEVER, "null", "true", '""', '" "')),
            *(
                (one, "wrong_type")
                for one in ('"1,5"', '"0x1"', '"1_0"', '"x"', '"１"')
            ),
            *((one, "not_finite") for one in ("NaN", "-Infinity", "1e400", "-1e999")),
            *(
                (f'"{one}"', "not_finite")
                for one in ("NaN", "inf", "-Infinity", "1e400")
            ),
        ],
    )
    def test_have_finite_numbers(self, field, literal, reason):
        """As numbers, or in strings that hold one; anything else names the field."""
        event = written(transaction(), **{field: literal})

        assert card_refusal(event) == (reason, field)

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_say_the_same_as_numbers_and_as_strings(self, number):
        """Every number arrives exactly, to the last bit and the sign of a zero."""
        plain, quoted = (
            card(written(transaction(), V7=literal))
            for literal in (repr(number), f'" {number!r} "')
        )

        assert plain == quoted
        value = json.loads(plain["attributes"])["V7"]
        assert repr(value) == repr(number)

    @pytest.mark.parametrize(
        ("text", "number"), [("1", 1.0), ("+1.5", 1.5), (".5", 0.5), ("5.", 5.0)]
    )
    def test_may_be_written_as_programs_write_numbers(self, text, number):
        """Where JSON has one spelling, data files have several."""
        assert numeral_of(text, field="V1") == number

    @pytest.mark.parametrize(
        ("literal", "identity"),
        [('"é"', "é"), ("5", "5"), ("-7", "-7"), (str(2**53 - 1), str(2**53 - 1))],
    )
    def test_are_identified_by_a_text_or_a_whole_number(self, literal, identity):
        """An id that counts up is the same as its digits in a string."""
        stored = card(written(transaction(), transaction_id=literal))

        assert (stored["event_id"], stored["user_id"]) == (identity, identity)

    @pytest.mark.parametrize(
        ("literal", "reason"),
        [
            *((one, "wrong_type") for one in (*NEVER, "null", "true", "1.5")),
            *((one, "bad_value") for one in ('""', f'"{"x" * 257}"')),
            *((one, "wrong_type") for one in (str(2**53), "9" * 257)),
            *((one, "bad_value") for one in ("0", "-0", '"Null "', "9" * 5_000)),
            *((one, "bad_value") for one in ('"\x7f"', r'"\n"', r'"a\u009Fb"')),
        ],
    )
    def test_are_identified_by_nothing_else(self, literal, reason):
        """An identity has 1 to 256 characters, and no control character; a number of
        2^53 or more may have lost digits."""
        event = written(transaction(), transaction_id=literal)

        assert card_refusal(event) == (reason, "transaction_id")

    @pytest.mark.parametrize(
        ("literal", "moment"),
        [
            ('"2026-03-01T12:00:00Z"', "2026-03-01T12:00:00+00:00"),
            ('"2026-03-01T13:00:00.25+01:00"', "2026-03-01T12:00:00.250000+00:00"),
            ("1772366400", "2026-03-01T12:00:00+00:00"),
            ("1772366400.25", "2026-03-01T12:00:00.250000+00:00"),
            ('"1772366400.25"', "2026-03-01T12:00:00.250000+00:00"),
            ("1772366400250", "2026-03-01T12:00:00.250000+00:00"),
            ('" 1772366400250 "', "2026-03-01T12:00:00.250000+00:00"),
            ("1.77236640025e12", "2026-03-01T12:00:00.250000+00:00"),
        ],
    )
    def test_say_when_they_were_taken(self, literal, moment):
        """In ISO 8601, or as seconds or milliseconds since 1970, quoted or not."""
        stored = card(written(transaction(), ingest_ts=literal))

        assert json.loads(stored["attributes"])["ingest_ts"] == moment

    @pytest.mark.parametrize("literal", NO_MOMENTS)
    def test_are_taken_whatever_their_moment_is(self, literal):
        """It is for the latency alone: a senseless one is null and refuses nothing."""
        stored = card(written(transaction(), ingest_ts=literal))

        assert json.loads(stored["attributes"])["ingest_ts"] is None

    def test_may_say_no_moment(self):
        """Then there is none in what is stored."""
        stored = card(transaction(ingest_ts=...))

        assert "ingest_ts" not in json.loads(stored["attributes"])

    @given(st.integers(EARLIEST_MS, NOW_MS))
    def test_were_taken_at_one_moment_however_it_is_written(self, milliseconds):
        """ISO 8601, seconds and milliseconds say the same, to the millisecond."""
        moment = EPOCH + timedelta(milliseconds=milliseconds)
        spellings = [moment.isoformat(), milliseconds / 1000, str(milliseconds / 1000)]
        if milliseconds > 1e11:
            spellings += [milliseconds, str(milliseconds)]

        moments = {instant_of(one, field="at", latest=NOW) for one in spellings}

        assert moments == {moment}


class TestTruths:
    def test_come_bare(self):
        """They are rows of their own table, and of no other."""
        accepted = accept(message(truth(), "m7"), catalogue=DEPLOYED)

        assert accepted.truths.to_pylist() == [
            {
                "use_case": "card_fraud",
                "event_id": "t1",
                "label": 1,
                "truth_time": datetime(2026, 3, 1, 18, tzinfo=UTC),
                "message_id": "m7",
                "published_at": None,
                "received_at": NOW,
                "received_on": NOW.date(),
            }
        ]
        assert (accepted.rows.num_rows, published(accepted)) == (0, [])

    @pytest.mark.parametrize(
        ("literal", "label"),
        [
            *(("0", 0), ("1", 1), ("-0", 0), ("true", 1), ("false", 0)),
            *(('"0"', 0), ('"1"', 1), ('"true"', 1), ('"False"', 0)),
        ],
    )
    def test_are_zero_or_one(self, literal, label):
        """Or true and false, or a string of one."""
        assert told(written(truth(), is_fraud=literal))["label"] == label

    @pytest.mark.parametrize(
        ("literal", "reason"),
        [
            *((one, "wrong_type") for one in (*NEVER, "null", "1.0", "0.5")),
            *((one, "bad_value") for one in ("2", "-1", '""', '"yes"', '"1.0"')),
            *((one, "bad_value") for one in ("9" * 30, "9" * 5_000)),
        ],
    )
    def test_are_nothing_else(self, literal, reason):
        """What is not known is no truth."""
        event = written(truth(), is_fraud=literal)

        assert card_refusal(event) == (reason, "is_fraud")

    @pytest.mark.parametrize("field", ["transaction_id", "is_fraud", "truth_time"])
    def test_have_their_fields(self, field):
        """Without one it is a dead letter, and the field is named."""
        assert card_refusal(truth(**{field: ...})) == ("missing_field", field)

    @pytest.mark.parametrize(
        ("literal", "reason"),
        [
            *((one, "wrong_type") for one in (*NEVER, "null", "true", "1772366400")),
            *((one, "bad_time") for one in ('"soon"', '""', '"1970-01-01"')),
            ('"2026-03-02T06:10:00.000001Z"', "bad_time"),
        ],
    )
    def test_have_a_time_as_events_have(self, literal, reason):
        """A moment in ISO 8601, no further ahead than clocks are wrong."""
        event = written(truth(), truth_time=literal)

        assert card_refusal(event) == (reason, "truth_time")
        assert told(truth(truth_time="2026-03-02T06:10:00Z"))["label"] == 1

    @given(
        st.sampled_from([0, 1]),
        st.integers(EARLIEST_MS, NOW_MS),
        st.integers(-14 * 60, 14 * 60),
        st.sets(st.sampled_from(["event_type", "use_case", "event_id", "user_id"])),
        st.booleans(),
    )
    def test_say_the_same_however_they_are_written(
        self, label, milliseconds, minutes, named, as_attributes
    ):
        """Label and moment are those that were meant, and the event is the one that the
        identity names, whatever else stands beside it."""
        moment = EPOCH + timedelta(milliseconds=milliseconds)
        said = {
            "event_type": "card_truth",
            "use_case": "card_fraud",
            "event_id": "another",
            "user_id": "a holder",
        }
        beside = {name: said[name] for name in named}
        zone = timezone(timedelta(minutes=minutes))
        text = moment.astimezone(zone).isoformat()
        for spelled in (label, bool(label), str(label), str(bool(label)).lower()):
            event = truth(
                is_fraud=spelled, truth_time=text, **({} if as_attributes else beside)
            )
            sent = message(event, **(beside if as_attributes else {}))
            [stored] = accept(sent, catalogue=DEPLOYED).truths.to_pylist()
            assert (stored["event_id"], stored["label"]) == ("t1", label)
            assert stored["truth_time"] == moment


class TestBareEvents:
    def test_are_told_by_the_fields_that_they_have(self):
        """A transaction may say more, such as what came of it: it stays one."""
        assert card(transaction(is_fraud=1, merchant="m")) == card(transaction())
        assert told(truth(Amount=5, V1=1)) == told(truth())

    def test_are_told_by_what_most_of_them_is(self):
        """What is almost one is a broken one; of what is next to nothing, the type is
        missing, as of any event."""
        assert card_refusal({"transaction_id": "t1", "is_fraud": 1}) == (
            "missing_field",
            "truth_time",
        )
        for nothing in ({}, {"transaction_id": "t1"}, {"V1": 1}, bet(event_type=...)):
            assert card_refusal(nothing) == ("missing_field", "event_type")

    def test_are_not_guessed(self):
        """What could be either says what it is, in a field or in an attribute."""
        both = {**transaction(), **truth()}
        sent = [
            message(both),
            message({**both, "event_type": "card_truth"}),
            message(both, event_type="card_transaction"),
        ]
        accepted = accept(*sent, catalogue=DEPLOYED)

        assert accepted.refused[0].field == "event_type"
        assert (places(accepted.truth_events), places(accepted.events)) == ([1], [2])

    def test_count_a_field_before_an_attribute(self):
        """As of everything else that both may say."""
        sent = message(truth(event_type="card_truth"), event_type="card_transaction")

        assert places(accept(sent, catalogue=DEPLOYED).truth_events) == [0]

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("no_such_type", ("unknown_event_type", "event_type")),
            ("new_bet", ("missing_field", "event_type")),
            ("card_truth", ("missing_field", "is_fraud")),
        ],
    )
    def test_are_what_an_attribute_says(self, name, expected):
        """A type that is named is not looked for in the fields."""
        sent = message(transaction(), event_type=name)
        refused = accept(sent, catalogue=DEPLOYED).refused[0]

        assert (refused.reason, refused.field) == expected

    @pytest.mark.parametrize("named", ["first_day_churn", "no_such_case"])
    def test_are_of_the_use_case_that_takes_them(self, named):
        """Another that is named is not put right."""
        assert card_refusal(transaction(use_case=named))[0].startswith("unknown_")

    def test_are_known_where_they_are_deployed(self):
        """A deploy without such types takes none."""
        assert refusal(transaction()) == ("missing_field", "event_type")

    @pytest.mark.parametrize("name", BASE)
    def test_leave_others_as_they_are(self, name):
        """What an event of another type says, and says wrongly, is the same where bare
        events are taken too."""
        event = {**EXAMPLES[name], "transaction_id": "t1"}

        assert row(event, catalogue=DEPLOYED) == row(event)
        for field in event:
            for one in (..., None, 5, "x", [1]):
                spoilt_one = {**event, field: one}
                if one is ...:
                    del spoilt_one[field]
                alone, deployed = (
                    accept(message(spoilt_one), catalogue=known)
                    for known in (CATALOGUE, DEPLOYED)
                )
                assert deployed.rows == alone.rows
                assert [
                    (one.reason, one.field) for one in deployed.refused.values()
                ] == [(one.reason, one.field) for one in alone.refused.values()]

    def test_may_be_written_in_escapes(self):
        """A name is a name, however it is spelled."""
        for event in (transaction(), transaction(event_type="card_transaction")):
            data = written(event)
            escaped = data.replace(b'"transaction_id"', b'"transaction\\u005fid"')
            escaped = escaped.replace(b'"event_type"', b'"event\\u005ftype"')
            assert card(escaped) == card(data)
