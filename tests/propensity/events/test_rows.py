"""
From messages to rows, specified: each message for itself, exactly once, exactly.

A batch is judged whole for speed. What one message of it says must not show in what
becomes of another, so that much here is said as: together is the same as alone.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.events.rows import EVENT_SCHEMA, TRUTH_SCHEMA
from propensity.events.values import (
    MAXIMUM_AMOUNT,
    REASONS,
)
from tests.events import (
    NOW,
    accept,
    bet,
    message,
    places,
    published,
    registration,
    row,
    written,
)
from tests.propensity.events.messages import (
    BATCHES,
    BOTH,
    NO_TIMES,
    POSTCODES,
    TIMES,
    fates,
    spin,
)


class TestBatches:
    @given(BATCHES)
    def test_are_the_sum_of_their_messages(self, messages):
        """What becomes of a message in a batch becomes of it alone: no other message,
        however broken, changes its row, its refusal or what is published of it."""
        assert fates(messages) == [fates([one])[0] for one in messages]

    @given(BATCHES)
    def test_lose_nothing(self, messages):
        """Every message is an event, a truth or refused, and none is two of them; rows
        come in the order of their messages."""
        accepted = accept(*messages, catalogue=BOTH, postcodes=POSTCODES)

        every = [
            *places(accepted.events),
            *places(accepted.truth_events),
            *accepted.refused,
        ]
        assert sorted(every) == [*range(len(messages))]
        for one in (places(accepted.events), places(accepted.truth_events)):
            assert one == sorted(one)
        assert accepted.truths.num_rows == len(places(accepted.truth_events))
        assert accepted.rows.num_rows == len(published(accepted))
        assert {one.reason for one in accepted.refused.values()} <= set(REASONS)

    @given(BATCHES)
    def test_are_rows_of_the_table(self, messages):
        """Columns, types and order are the table's, and what it requires is there. A
        row holds its message's id and times; when it was received is one moment for the
        batch."""
        accepted = accept(*messages, catalogue=BOTH)

        for rows, schema in (
            (accepted.rows, EVENT_SCHEMA),
            (accepted.truths, TRUTH_SCHEMA),
        ):
            rows.validate(full=True)
            assert rows.schema == schema
            for one in schema:
                assert one.nullable or rows.column(one.name).null_count == 0
        for place, one in zip(
            places(accepted.events), accepted.rows.to_pylist(), strict=True
        ):
            assert one["message_id"] == messages[place].message_id
            assert (one["received_at"], one["received_on"]) == (NOW, NOW.date())
            assert one["event_date"] == one["event_time"].astimezone(UTC).date()


class TestAmounts:
    @given(st.lists(st.decimals(0, MAXIMUM_AMOUNT, places=2), min_size=1, max_size=20))
    def test_are_exactly_what_was_written(self, amounts):
        """To a thousand million, every cent: no float comes in between."""
        sent = [message(written(bet(), bet_amount=str(one))) for one in amounts]

        assert accept(*sent).rows["amount"].to_pylist() == amounts


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


class TestMoments:
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
    FIELDS = ("name", "street_address", "date_of_birth")

    def test_are_not_stored(self):
        """Of who registers, the age in whole years at the event is kept."""
        stored = row(registration())

        assert stored["age"] == 35
        assert "Muster" not in str(stored)
        assert "High Street" not in str(stored)
        assert "1990" not in str(stored)

    def test_may_stay_with_the_producer(self):
        """Who sends the age need send none of them; they are not made up."""
        event = registration(age=41, **dict.fromkeys(self.FIELDS, ...))

        assert row(event)["age"] == 41

    def test_come_before_an_age_that_is_given(self):
        """A birth date says more than an age does."""
        assert row(registration(age=99))["age"] == 35

    def test_of_a_use_case_are_not_stored_either(self):
        """A personal field of another name is left out of the use case's others."""
        stored = row(spin(), catalogue=BOTH, postcodes=POSTCODES)

        assert json.loads(stored["attributes"]) == {"machine": "m7", "odds": -1.25}
        assert stored["age"] == 35


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
            (" ab10-1AB ", 3.25),
            ("AB10 9ZZ", 2.5),
            ("M1 1AB", None),
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
            [enriched] = map(json.loads, published(accepted))
            assert enriched["socioeconomic_idx"] == 3.25

    @pytest.mark.parametrize(("own", "index"), [(9.5, 9.5), (None, None), (..., None)])
    def test_are_looked_up_once(self, own, index):
        """Of an event that is enriched already, its own index is taken."""
        accepted = accept(message(registration(socioeconomic_idx=own)))

        assert accepted.rows["socioeconomic_idx"].to_pylist() == [index]


class TestLateness:
    def test_is_from_the_first_day_beyond_the_bound_on(self):
        """By the day of the event."""
        bound = {"lateness": timedelta(days=30)}
        last, beyond = (
            bet(event_time=f"{day}T23:59:59Z") for day in ("2026-01-31", "2026-01-30")
        )

        assert row(last, **bound)["is_late"] is False
        assert row(beyond, **bound)["is_late"] is True
