"""
From messages to rows, specified: each message for itself, exactly once, exactly.

A batch is judged whole for speed. What one message of it says must not show in what
becomes of another, so that much here is said as: together is the same as alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity import usecases
from propensity.events.amounts import cents_of
from propensity.events.catalogue import Catalogue
from propensity.events.enrichment import with_fields
from propensity.events.messages import Message
from propensity.events.postcodes import PostcodeIndex
from propensity.events.reading import Accepted
from propensity.events.rows import (
    DEAD_LETTER_SCHEMA,
    EVENT_SCHEMA,
    MAXIMUM_RAW_BYTES,
    TRUTH_SCHEMA,
    dead_letters,
)
from propensity.events.values import (
    MAXIMUM_AMOUNT,
    REASONS,
    Refused,
    amount_of,
    moment_of,
)
from tests.events import (
    BASE,
    CATALOGUE,
    FEATURES,
    NOW,
    accept,
    bet,
    message,
    refusal,
    registration,
    row,
    transaction,
    truth,
    use_case,
    written,
)

# No limit on the time of an example: the machine may be busy.

POSTCODES = PostcodeIndex(
    np.array([b"AB101AB", b"AB10", b"M11AA"]), np.array([3.25, 2.5, 7.0])
)
# What changes an event's row no more than it must: use cases with types of their own.
SPIN = {
    "spin": {
        "stake": "amount",
        "machine": "text",
        "odds": "number",
        "phone": "personal",
        "born": "birth date",
        "churned": "label",
        "postcode": "text or null",
    }
}
BOTH = Catalogue(
    [
        use_case(),
        use_case("slots", ["spin", "new_win"], SPIN),
        usecases.load("card_fraud"),
    ]
)

# Without a zone, as the strategies want them.
FIRST_YEAR, LAST_YEAR = (
    datetime(year, 1, 2, tzinfo=UTC).replace(tzinfo=None) for year in (1971, 2026)
)


def spin(**fields: Any) -> dict[str, Any]:
    """Return an event of a use case's own type, with a field of every kind."""
    own = {
        "use_case": "slots",
        "event_type": "spin",
        "bet_amount": ...,
        "stake": 2.5,
        "machine": "m7",
        "odds": -1.25,
        "phone": "555",
        "born": "1990-05-04",
        "churned": 0,
        "postcode": "M1 1AA",
    }
    return bet(**{**own, **fields})


# Messages of every sort ---------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
AMOUNTS = st.one_of(
    st.decimals(0, MAXIMUM_AMOUNT, places=2).map(str),
    st.integers(0, MAXIMUM_AMOUNT).map(str),
    st.sampled_from(["-0", "1e2", "1.10", "100E-2", "0e5", "1000000000.00"]),
)
NO_AMOUNTS = st.sampled_from(
    [
        *("-1", "0.001", "1e400", "1000000000.01", "1e-999999999"),
        *('"1"', "null", "true", "[1]", "NaN", "00"),
    ]
)
TIMES = st.one_of(
    st.datetimes(FIRST_YEAR, LAST_YEAR).map(datetime.isoformat),
    st.datetimes(FIRST_YEAR, LAST_YEAR, timezones=st.timezones()).map(
        lambda one: one.isoformat(timespec="milliseconds")
    ),
    st.sampled_from(
        [
            "2026-03-01T12:00:00Z",
            "2026-03-01T12:00:00.123456Z",
            "2026-03-01T12:00:00.123456789Z",
            "2026-03-01",
            "2026-03-02T06:10:00Z",
        ]
    ),
)
NO_TIMES = st.sampled_from(
    [
        "2026-03-02T06:10:00.000001Z",
        "2999-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "yesterday",
        "",
    ]
)
NOTES = [1.5, {"age": 1}, 'a "socioeconomic_idx": b', "\\", "\u00e9", None]


def varied(
    base: dict[str, st.SearchStrategy[Any]], **fields: Sequence[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """Fields of an event: these, and some of those that may differ."""
    optional = {name: st.sampled_from(values) for name, values in fields.items()}
    return st.fixed_dictionaries(base, optional=optional)


WHO = {"user_id": st.sampled_from(["u1", "u2", "é"]), "event_time": TIMES}
PLAYS = st.sampled_from(
    [("new_bet", "bet_amount"), ("new_win", "win_amount"), ("new_purchases", "amount")]
)


def play(kind: tuple[str, str], fields: dict[str, Any], amount: str) -> bytes:
    event = bet(event_type=kind[0], bet_amount=..., **fields)
    return written(event, **{kind[1]: amount})


EVENTS = st.one_of(
    st.builds(
        play,
        PLAYS,
        varied(WHO, event_id=[..., None, "e2"], use_case=[..., None], note=NOTES),
        AMOUNTS,
    ),
    varied(
        WHO,
        event_id=[..., None, "e2"],
        date_of_birth=["1950-02-28"],
        age=[41],
        postcode=["ab10 1ab", "AB10 9ZZ", "?", ""],
        socioeconomic_idx=[1.5, None],
        label=[..., None, 0, True],
        campaign=[None, "é"],
        note=NOTES,
    ).map(lambda fields: written(registration(**fields))),
    varied(
        {"age": st.integers(0, 150)},
        date_of_birth=[...],
        name=[...],
        street_address=[...],
    ).map(lambda fields: written(registration(**fields))),
    varied(
        WHO,
        use_case=[..., None],
        churned=[..., 1],
        odds=[1, 1e300, -0.0],
        postcode=[None, "?"],
        note=NOTES,
    ).map(lambda fields: written(spin(**fields))),
)
CARDS = st.one_of(
    varied(
        {"transaction_id": st.sampled_from(["t1", "é", 7]), "event_time": TIMES},
        event_type=[None, "card_transaction"],
        use_case=[None, "card_fraud"],
        event_id=["e2"],
        user_id=[None, "u1"],
        V3=["1e5", -0.0, 7],
        ingest_ts=[None, 1, "soon", 1_772_366_400, "1772366400000", "2026-03-01"],
        note=NOTES,
    ).map(lambda fields: written(transaction(**fields))),
    varied(
        {"transaction_id": st.sampled_from(["t1", 7]), "truth_time": TIMES},
        event_type=[None, "card_truth"],
        is_fraud=[0, "1", False],
        event_time=["soon", 5],
        note=NOTES,
    ).map(lambda fields: written(truth(**fields))),
)
NO_CARDS = st.one_of(
    st.sampled_from(FEATURES).map(lambda name: written(transaction(**{name: ...}))),
    st.sampled_from(['"x"', "null", "NaN", '"inf"', "1e400", "[1]"]).map(
        lambda literal: written(transaction(), V9=literal)
    ),
    st.sampled_from(["2", '"x"', "null", "NaN"]).map(
        lambda literal: written(truth(), is_fraud=literal)
    ),
    NO_TIMES.map(lambda text: written(truth(truth_time=text))),
    NO_TIMES.map(lambda text: written(transaction(event_time=text))),
    st.just(written({**transaction(), **truth()})),
)
NO_EVENTS = st.one_of(
    st.binary(max_size=20),
    st.builds(play, PLAYS, st.fixed_dictionaries(WHO), NO_AMOUNTS),
    st.builds(
        play, PLAYS, st.fixed_dictionaries({**WHO, "event_time": NO_TIMES}), AMOUNTS
    ),
    st.builds(
        lambda who, when: written(registration(**{**who, "event_time": when})),
        st.fixed_dictionaries(WHO),
        NO_TIMES,
    ),
    st.builds(
        lambda who, wrong: written(registration(**who, **wrong)),
        st.fixed_dictionaries(WHO),
        st.sampled_from(
            [
                *({"date_of_birth": one} for one in ("2999-01-01", 5, ...)),
                *({"age": one} for one in (-1, None)),
                *({"label": 7}, {"postcode": 5}, {"socioeconomic_idx": "high"}),
                *({"use_case": "no_such_case"}, {"use_case": ""}, {"name": ...}),
                *({"event_id": ""}, {"event_id": "x" * 257}),
            ]
        ),
    ),
    st.sampled_from([{"born": "2999-01-01"}, {"churned": 2}, {"odds": "5"}]).map(
        lambda wrong: written(spin(**wrong))
    ),
    st.sampled_from(
        [
            written(bet())[:-1],
            written(bet()).replace(b"u1", b"\xff"),
            b"[" * 1_500,
            written(bet(), note="[" * 300 + "]" * 300),
            written(bet(event_type="new_deposit")),
            written(bet(note="x" * 2_000)),
        ]
    ),
)
PUBLISHED = st.sampled_from(
    [
        "",
        "2026-03-02T05:59:59.123Z",
        "2026-03-02T05:59:59.123456789Z",
        "2026-03-02T05:59:59",
        "9999-12-31T00:00:00Z",
        "soon",
        "é",
    ]
)
IDS = st.sampled_from(["m1", "m2", "m3"])
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "event_id": st.sampled_from(["", "a1"]),
        "use_case": st.sampled_from(["", "slots", "first_day_churn"]),
        "other": TEXT,
    },
)
MESSAGES = st.one_of(
    st.builds(Message, CARDS | NO_CARDS, IDS, ATTRIBUTES, PUBLISHED),
    st.builds(Message, CARDS, IDS),
    st.builds(Message, EVENTS, IDS, ATTRIBUTES, PUBLISHED),
    st.builds(Message, EVENTS, IDS, ATTRIBUTES, PUBLISHED),
    st.builds(Message, EVENTS | NO_EVENTS, IDS, ATTRIBUTES, PUBLISHED),
    st.builds(Message, NO_EVENTS, IDS, ATTRIBUTES, PUBLISHED),
    st.builds(
        Message,
        EVENTS | st.binary(max_size=20),
        IDS,
        problem=st.just(Refused("wrong_encoding", "the payload is not base64")),
    ),
)
BATCHES = st.lists(MESSAGES, max_size=8)

Fate = tuple[dict[str, Any], bytes] | tuple[str, str, str | None]


def fates(messages: Sequence[Message], **how: Any) -> list[Fate]:
    """Return what becomes of each message: row and enriched event, or the refusal."""
    how = {"catalogue": BOTH, "postcodes": POSTCODES, "maximum_bytes": 2_000, **how}
    accepted = accept(*messages, **how)
    found: dict[int, Fate] = {
        place: (one.reason, one.detail, one.field)
        for place, one in accepted.refused.items()
    }
    rows = accepted.rows.to_pylist()
    taken = zip(accepted.places, rows, accepted.enriched, strict=True)
    found |= {place: (one, enriched) for place, one, enriched in taken}
    truths = zip(accepted.truth_places, accepted.truths.to_pylist(), strict=True)
    found |= {place: (one, b"") for place, one in truths}
    return [found[place] for place in range(len(messages))]


class TestBatches:
    @given(BATCHES)
    def test_are_the_sum_of_their_messages(self, messages):
        """What becomes of a message in a batch becomes of it alone: no other message,
        however broken, changes its row, its refusal or what is published of it."""
        assert fates(messages) == [fates([one])[0] for one in messages]

    @given(BATCHES, st.data())
    def test_may_be_split_and_shuffled(self, messages, data):
        """In any order, and in batches of any sizes, the same comes out."""
        order = data.draw(st.permutations(range(len(messages))))
        cut = data.draw(st.integers(0, len(messages)))
        shuffled = [messages[place] for place in order]
        found = fates(shuffled[:cut]) + fates(shuffled[cut:])
        whole = fates(messages)

        assert found == [whole[place] for place in order]

    @given(BATCHES)
    def test_lose_nothing(self, messages):
        """Every message is an event, a truth or refused, and none is two of them."""
        accepted = accept(*messages, catalogue=BOTH, postcodes=POSTCODES)

        every = [*accepted.places, *accepted.truth_places, *accepted.refused]
        assert sorted(every) == [*range(len(messages))]
        assert accepted.truths.num_rows == len(accepted.truth_places)
        assert accepted.rows.num_rows == len(accepted.enriched)
        assert accepted.reasons.total() == len(accepted.refused)
        assert set(accepted.reasons) <= set(REASONS)

    @given(BATCHES)
    def test_keep_the_order(self, messages):
        """Rows come in the order of their messages."""
        accepted = accept(*messages, catalogue=BOTH)

        assert list(accepted.places) == sorted(accepted.places)
        assert list(accepted.truth_places) == sorted(accepted.truth_places)

    def test_may_be_empty(self):
        """Nothing gives no rows, of the table's columns."""
        accepted = accept()

        assert accepted.rows.schema == EVENT_SCHEMA
        assert (accepted.rows.num_rows, accepted.enriched) == (0, [])

    @given(BATCHES)
    def test_are_rows_of_the_table(self, messages):
        """Columns, types and order are the table's, and what it requires is there."""
        accepted = accept(*messages, catalogue=BOTH)

        for rows, schema in (
            (accepted.rows, EVENT_SCHEMA),
            (accepted.truths, TRUTH_SCHEMA),
        ):
            rows.validate(full=True)
            assert rows.schema == schema
            for one in schema:
                assert one.nullable or rows.column(one.name).null_count == 0

    @given(BATCHES)
    def test_tell_who_sent_what(self, messages):
        """A row holds its message's id and times; when it was received is one moment
        for the batch."""
        accepted = accept(*messages, catalogue=BOTH)

        for place, one in zip(accepted.places, accepted.rows.to_pylist(), strict=True):
            assert one["message_id"] == messages[place].message_id
            assert (one["received_at"], one["received_on"]) == (NOW, NOW.date())
            assert one["event_date"] == one["event_time"].astimezone(UTC).date()


class TestAmounts:
    @given(st.lists(st.decimals(0, MAXIMUM_AMOUNT, places=2), min_size=1, max_size=20))
    def test_are_exactly_what_was_written(self, amounts):
        """To a thousand million, every cent: no float comes in between."""
        sent = [message(written(bet(), bet_amount=str(one))) for one in amounts]

        assert accept(*sent).rows["amount"].to_pylist() == amounts

    @given(
        st.from_regex(
            re.compile(
                r"-?(0|[1-9][0-9]{0,11})(\.(0{1,8}|9{1,8})?[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?"
            ),
            fullmatch=True,
        )
    )
    def test_are_read_by_one_rule(self, literal):
        """What a float takes for whole cents is what the decimal is; what it does not
        take is judged number by number."""
        try:
            amount = amount_of(literal.encode(), field="amount")
        except Refused:
            amount = None
        cents = cents_of([literal.encode()])
        is_usual = re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,2})?", literal) is not None

        assert cents is None or Decimal(int(cents[0])) == amount * 100
        assert cents is not None or not is_usual

    @given(st.lists(AMOUNTS | NO_AMOUNTS, min_size=1, max_size=6))
    def test_are_read_as_quickly_as_slowly(self, literals):
        """One literal that needs the slow way changes nothing for the others."""
        plain = [message(written(bet(), bet_amount=one)) for one in literals]
        odd = message(written(bet(), bet_amount="1e0"))

        assert fates([*plain, odd])[:-1] == fates(plain)


MOMENTS = st.one_of(
    TIMES,
    NO_TIMES,
    st.from_regex(
        r"[0-9]{4}-(0[1-9]|1[0-2])-[0-3][0-9]([T ][0-2][0-9](:[0-6][0-9](:[0-6][0-9]"
        r"(\.[0-9]{1,9})?)?)?)?(Z|[+-][0-2][0-9](:?[0-9]{2})?)?",
        fullmatch=True,
    ),
    st.from_regex(r"[0-9TZ:. +-]{1,30}", fullmatch=True),
)


# Times in the usual format, with as many decimals each or not.
USUAL = st.builds(
    lambda ago, to: f"{(NOW - ago).replace(tzinfo=None).isoformat(timespec=to)}Z",
    st.timedeltas(timedelta(0), timedelta(days=9)),
    st.sampled_from(["milliseconds", "milliseconds", "seconds", "microseconds"]),
)


class TestMoments:
    @given(MOMENTS)
    def test_are_read_by_one_rule(self, text):
        """Arrow takes no text for a moment that is none, and reads no other moment.
        It has years that a datetime has not; all of those are refused."""
        try:
            quick = pa.array([text]).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        except pa.ArrowInvalid:
            return
        since = timedelta(microseconds=quick[0].as_py())
        try:
            slow = moment_of(text) - datetime(1970, 1, 1, tzinfo=UTC)
        except Refused:
            [accepted] = fates([message(bet(event_time=text))])
            assert accepted[0] == "bad_time"
        else:
            assert slow == since

    @given(st.lists(MOMENTS, min_size=1, max_size=6))
    def test_are_read_as_quickly_as_slowly(self, texts):
        """A time that Arrow does not read changes nothing for the others."""
        plain = [message(bet(event_time=text)) for text in texts]
        odd = message(bet(event_time="2026-03-01"))

        assert fates([*plain, odd])[:-1] == fates(plain)

    @given(st.lists(st.tuples(USUAL, USUAL), min_size=1, max_size=4))
    def test_are_no_other_beside_those_of_publication(self, times):
        """Both are read together where they are written alike."""
        sent = [message(bet(event_time=of), published_at=at) for of, at in times]

        assert fates(sent) == [fates([one])[0] for one in sent]
        assert accept(*sent).rows["published_at"].to_pylist() == [
            datetime.fromisoformat(at) for _, at in times
        ]

    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("2026-03-02T05:59:59.5Z", NOW - timedelta(seconds=0.5)),
            ("2026-03-02T05:59:59.123456789Z", NOW - timedelta(microseconds=876544)),
            ("2026-03-02T06:59:59+01:00", NOW - timedelta(seconds=1)),
            ("2026-03-02T05:59:59", NOW - timedelta(seconds=1)),
            ("2999-01-01T00:00:00Z", datetime(2999, 1, 1, tzinfo=UTC)),
            ("", None),
            ("soon", None),
        ],
    )
    @pytest.mark.parametrize("other", ["", "2026-03-02T00:00:00Z", "soon"])
    def test_of_publication_are_each_message_s(self, text, moment, other):
        """What says nothing gives null, for that message and no other."""
        sent = [message(bet(), published_at=one) for one in (text, other)]

        assert accept(*sent).rows["published_at"].to_pylist()[0] == moment


class TestPersonalFields:
    KEPT = ("name", "street_address", "date_of_birth")

    def test_are_not_stored(self):
        """Of who registers, the age in whole years at the event is kept."""
        found = row(registration())

        assert [found[name] for name in self.KEPT] == [None, None, None]
        assert found["age"] == 35
        assert "Muster" not in str(found)
        assert "High Street" not in str(found)
        assert "1990" not in str(found)

    def test_are_stored_where_that_is_set(self):
        """A deployment may choose to keep them."""
        found = row(registration(), keeps_personal=True)

        assert [found[name] for name in self.KEPT] == [
            "Ada Muster",
            "1 High Street",
            date(1990, 5, 4),
        ]
        assert found["age"] == 35

    def test_may_stay_with_the_producer(self):
        """Who sends the age need send none of them; they are not made up."""
        told = registration(age=41, **dict.fromkeys(self.KEPT, ...))

        for keeps in (False, True):
            found = row(told, keeps_personal=keeps)
            assert found["age"] == 41
            assert [found[name] for name in self.KEPT] == [None, None, None]

    def test_come_before_an_age_that_is_given(self):
        """A birth date says more than an age does."""
        assert row(registration(age=99))["age"] == 35

    def test_of_a_use_case_are_kept_as_its_others_are(self):
        """A personal field of another name is stored beside the use case's other
        fields, and only where that is set; its birth date has the shared column."""
        for keeps in (False, True):
            found = row(
                spin(), catalogue=BOTH, postcodes=POSTCODES, keeps_personal=keeps
            )
            further = {"machine": "m7", "odds": -1.25} | (
                {"phone": "555"} if keeps else {}
            )
            assert json.loads(found["attributes"]) == further
            assert found["date_of_birth"] == (date(1990, 5, 4) if keeps else None)
            assert found["age"] == 35


class TestLabels:
    @pytest.mark.parametrize("event", [registration(label=1), spin(churned=1)])
    def test_are_in_their_column_and_nowhere_else(self, event):
        """An event with a label and one without differ in that column alone."""
        field = "label" if "label" in event else "churned"
        [with_label, without] = [
            row(one, catalogue=BOTH) for one in (event, {**event, field: None})
        ]

        assert (with_label.pop("label"), without.pop("label")) == (1, None)
        assert with_label == without


class TestPostcodes:
    @pytest.mark.parametrize(
        ("postcode", "index"),
        [
            ("AB10 1AB", 3.25),
            ("ab101ab", 3.25),
            (" AB10-1AB ", 3.25),
            ("AB10 9ZZ", 2.5),
            ("M1 1AA", 7.0),
            ("M1 1AB", None),
            ("〒100-0001", None),
            ("", None),
        ],
    )
    def test_give_their_index(self, postcode, index):
        """Of the postcode, or of its outward code; an unknown one is null, counted."""
        accepted = accept(message(registration(postcode=postcode)), postcodes=POSTCODES)

        assert accepted.rows["socioeconomic_idx"].to_pylist() == [index]
        assert accepted.rows["postcode"].to_pylist() == [postcode]
        assert accepted.unknown_postcodes == (index is None)

    def test_are_counted_once(self):
        """A batch that is looked at again counts no postcode again; an event without
        any counts as none."""
        sent = [
            message(registration(postcode="?")),
            message(registration(postcode="?", label=7)),
            message(spin(postcode=None)),
            message(bet()),
            message(bet(bet_amount=-1)),
        ]
        accepted = accept(*sent, catalogue=BOTH, postcodes=POSTCODES)

        assert (accepted.unknown_postcodes, len(accepted.refused)) == (1, 2)

    def test_do_not_believe_the_client(self):
        """An index in an event that comes in is overridden, in row and publication."""
        for index in (9.5, None):
            accepted = accept(
                message(registration(socioeconomic_idx=index)), postcodes=POSTCODES
            )
            assert accepted.rows["socioeconomic_idx"].to_pylist() == [3.25]
            [enriched] = map(json.loads, accepted.enriched)
            assert enriched["socioeconomic_idx"] == 3.25

    @pytest.mark.parametrize(
        ("given_", "index"), [(9.5, 9.5), (None, None), (..., None)]
    )
    def test_are_looked_up_once(self, given_, index):
        """Of an event that is enriched already, its own index is taken."""
        accepted = accept(message(registration(socioeconomic_idx=given_)))

        assert accepted.rows["socioeconomic_idx"].to_pylist() == [index]


def pairs(data: bytes) -> list[tuple[str, Any]]:
    """Return an object's fields in order, numbers as they are written."""
    return json.loads(
        data, object_pairs_hook=list, parse_float=str, parse_int=lambda one: f"{one}"
    )


class TestBounds:
    def test_is_the_skew_that_clocks_may_have(self):
        """Ten minutes ahead are taken, a microsecond more is not."""
        ahead = bet(event_time="2026-03-02T06:10:00Z")
        beyond = bet(event_time="2026-03-02T06:10:00.000001Z")

        assert row(ahead)["event_time"] == NOW + timedelta(minutes=10)
        assert refusal(beyond)[1] == "event_time"

    def test_is_the_size_that_an_event_may_have(self):
        """By the bytes of its message, all of them."""
        size = len(written(bet()))

        assert row(bet(), maximum_bytes=size)["event_id"] == "e1"
        assert refusal(bet(), maximum_bytes=size - 1)[0] == "too_large"

    def test_is_the_last_day_that_is_not_late(self):
        """An event is late by its day, from the first day beyond the bound on."""
        bound = {"lateness": timedelta(days=30)}
        last, beyond = (
            bet(event_time=f"{day}T23:59:59Z") for day in ("2026-01-31", "2026-01-30")
        )

        assert row(last, **bound)["is_late"] is False
        assert row(beyond, **bound)["is_late"] is True


class TestIdentity:
    def test_is_the_event_s_then_the_attribute_s_then_the_message_s(self):
        """Each where what comes before it is missing."""
        own, bare = bet(), bet(event_id=...)
        found = accept(
            message(own, "m1", event_id="a1"),
            message(bare, "m2", event_id="a2"),
            message(bare, "m3"),
        ).rows

        assert found.column("event_id").to_pylist() == ["e1", "a2", "m3"]


class TestEnriched:
    @pytest.mark.parametrize("spaces", ["%s", " %s\n", "%s \t\r\n"])
    def test_is_the_event_itself_where_nothing_is_new(self, spaces):
        """A bet with its identity is published byte for byte."""
        data = (spaces % written(bet(note="\u00e9")).decode()).encode()

        assert accept(message(data)).enriched == [data]

    @pytest.mark.parametrize("absent", [..., None])
    def test_has_the_identity(self, absent):
        """Whoever reads it need not know how it was delivered."""
        sent = message(bet(event_id=absent, use_case=absent), "m1", other="x")
        [enriched] = accept(sent).enriched

        assert json.loads(enriched) == bet(event_id="m1")
        assert fates([message(enriched)])[0][1] == enriched

    def test_has_what_was_found_out(self):
        """All fields that were sent, in order and unchanged, then the index, and the
        age that stands for the birth date where that is not kept."""
        sent = written(registration(note=[1]), note="[1.10, 1e400, 1E2, -0.0]")
        [enriched] = accept(message(sent), postcodes=POSTCODES).enriched

        assert enriched.startswith(sent[:-1])
        assert pairs(enriched) == [
            *pairs(sent),
            ("socioeconomic_idx", "3.25"),
            ("age", "35"),
        ]

    def test_has_what_is_of_its_type(self):
        """No index without a postcode, no age without a birth date."""
        types = {
            "visit": {"postcode": "text or null"},
            "birthday": {"date_of_birth": "birth date"},
        }
        catalogue = Catalogue([use_case("x", list(types), types)])
        visit = bet(use_case="x", event_type="visit", postcode="M1 1AA")
        birthday = bet(use_case="x", event_type="birthday", date_of_birth="1990-05-04")
        accepted = accept(
            message(visit),
            message(birthday),
            catalogue=catalogue,
            postcodes=POSTCODES,
        )

        assert [json.loads(one) for one in accepted.enriched] == [
            {**visit, "socioeconomic_idx": 7.0},
            {**birthday, "age": 35},
        ]

    @given(BATCHES, st.booleans())
    def test_says_what_the_row_says(self, messages, keeps):
        """Taken in again, as the archive does and a replay may, it gives the same row
        and is published unchanged."""
        first = accept(
            *messages, catalogue=BOTH, postcodes=POSTCODES, keeps_personal=keeps
        )
        again = accept(
            *(
                msgspec.structs.replace(messages[place], data=data, attributes={})
                for place, data in zip(first.places, first.enriched, strict=True)
            ),
            catalogue=BOTH,
            keeps_personal=keeps,
        )

        assert again.rows.to_pylist() == first.rows.to_pylist()
        assert [*map(json.loads, again.enriched)] == [*map(json.loads, first.enriched)]

    def test_keeps_every_field_that_was_sent(self):
        """Names that occur within other fields or texts are left alone there."""
        note = {"event_id": "inner", "age": [{"socioeconomic_idx": 1.10}]}
        sent = registration(event_id=..., note=note, comment='"age": 7, "event_id"')
        [enriched] = accept(message(sent), postcodes=POSTCODES).enriched

        assert json.loads(enriched) == {
            **sent,
            "event_id": "m1",
            "socioeconomic_idx": 3.25,
            "age": 35,
        }


_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _FLOATS | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXT | st.just("age"), inner, max_size=3)
    ),
    max_leaves=6,
)
OBJECTS = st.dictionaries(
    TEXT | st.sampled_from(["age", "event_id", "socioeconomic_idx"]),
    VALUES,
    min_size=1,
    max_size=4,
)


class TestWithFields:
    @given(
        OBJECTS,
        st.fixed_dictionaries(
            {"age": st.none() | st.integers(0, 150)},
            optional={"event_id": TEXT, "socioeconomic_idx": st.none() | st.just(2.5)},
        ),
        st.sampled_from([None, 1]),
        st.booleans(),
    )
    def test_adds_or_replaces_fields_of_the_object(self, whole, added, indent, ascii_):
        """The object is the same but for the fields that come; fields of those names
        deeper within are none of them, however JSON spells it."""
        data = json.dumps(whole, indent=indent, ensure_ascii=ascii_).encode() + b" \n"

        assert json.loads(with_fields(data, added)) == {**whole, **added}

    @pytest.mark.parametrize(
        "data",
        [
            '{"x":1.10,"y":1E2,"big":123456789012345678901234567890,"z":[1e400,-0.0]}',
            '{"age":1.10,"x":1.10,"y":1E2,"z":{"age":-0.0,"w":1e400}}',
            '{"\\u0061ge":5,"x":1.10}',
            '{"age":5,"age":6,"x":1.10}',
        ],
    )
    def test_leaves_numbers_as_they_are_written(self, data):
        """No digit of a number that stays is touched, be it one that no float is; of a
        name there is one field in the end, however often and however it was spelled."""
        before = [one for one in pairs(data.encode()) if one[0] != "age"]
        after = pairs(with_fields(data.encode(), {"age": 41}))

        assert sorted(after, key=str) == sorted([*before, ("age", "41")], key=str)


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

        assert letters.schema == DEAD_LETTER_SCHEMA
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


class TestReplay:
    def test_of_a_stored_row_gives_the_row(self):
        """What is kept of a registration is enough to send it again."""
        stored = row(registration(), postcodes=POSTCODES)
        event = {
            name: stored[name]
            for name in (
                *("use_case", "event_id", "user_id", "event_type", "age", "city"),
                *("country", "postcode", "affiliate_url", "campaign", "label"),
            )
        }
        event["event_time"] = stored["event_time"].isoformat()

        assert row(event, postcodes=POSTCODES) == stored

    @pytest.mark.parametrize("name", BASE[1:])
    def test_of_a_stored_amount_gives_the_amount(self, name):
        """With the nine decimals that NUMERIC has."""
        field = CATALOGUE.types[name].amount
        event = bet(event_type=name, bet_amount=...)

        assert row(written(event, **{field: "12.300000000"}))["amount"] == Decimal(
            "12.3"
        )
