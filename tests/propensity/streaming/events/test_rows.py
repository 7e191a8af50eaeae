"""From messages to rows, enriched events, truths and dead letters: each for itself."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from propensity import usecases
from propensity.streaming.events.postcodes import PostcodeIndex
from propensity.streaming.events.types import Catalogue
from propensity.suppression import EVERYWHERE, Suppressed, user_hash
from tests.support.events import (
    DEPLOYED,
    EXAMPLES,
    SPIN,
    accept,
    bet,
    message,
    published,
    refusal,
    registration,
    row,
    rows,
    spin,
    transaction,
    truth,
    use_case,
    written,
)

POSTCODES = PostcodeIndex(
    pa.table(
        {
            "postcode": ["AB101AB", "AB10", "M11AA"],
            "socioeconomic_idx": [3.25, 2.5, 7.0],
        }
    )
)
BOTH = Catalogue(
    [
        use_case(),
        use_case("slots", ["spin", "new_win"], SPIN),
        usecases.load("card_fraud"),
    ]
)


AGAIN = [
    bet(event_id=..., use_case=...),
    registration(age=41, date_of_birth=..., name=..., street_address=...),
    registration(age=41, socioeconomic_idx=1.5, label=..., campaign="é"),
    spin(churned=..., postcode=None),
    transaction(transaction_id=7, V3="1e5", ingest_ts="soon"),
]


@pytest.mark.parametrize("event", [*EXAMPLES.values(), *AGAIN])
def test_an_enriched_event_gives_the_same_row_again(event):
    sent = message(event, "m1", published_at="2026-03-02T05:59:59.123Z")
    first = accept(sent, catalogue=BOTH, postcodes=POSTCODES)
    [event] = first.events
    enriched = msgspec.structs.replace(sent, data=event.published, attributes={})
    again = accept(enriched, catalogue=BOTH)

    index = ["socioeconomic_idx"]
    assert rows(again).drop_columns(index) == rows(first).drop_columns(index)


class TestRows:
    @pytest.mark.parametrize(
        ("field", "attribute", "event_id"),
        [("e1", "a1", "e1"), (..., "a1", "a1"), (..., "", "m1"), (None, None, "m1")],
    )
    def test_rows_have_the_first_id_that_is_given(self, field, attribute, event_id):
        attributes = {} if attribute is None else {"event_id": attribute}

        accepted = accept(message(bet(event_id=field), "m1", **attributes))
        assert rows(accepted)["event_id"].to_pylist() == [event_id]


def card(event: dict[str, Any] | bytes) -> dict[str, Any]:
    return row(event, catalogue=DEPLOYED)


class TestCards:
    def test_cards_are_identified_by_a_text_or_a_whole_number(self):
        for literal in ("-7", str(2**53 - 1)):
            stored = card(written(transaction(), transaction_id=literal))
            assert stored["event_id"] == stored["user_id"] == literal
        for literal, reason in (
            ("1.5", "wrong_type"),
            (str(2**53), "wrong_type"),
            (f'"{"x" * 257}"', "bad_value"),
            ('"Null "', "bad_value"),
        ):
            event = written(transaction(), transaction_id=literal)
            assert refusal(event, catalogue=DEPLOYED) == (reason, "transaction_id")

    def test_cards_are_told_from_truths_by_their_fields(self):
        """Unknown fields are passed over."""
        assert card(transaction(is_fraud=1, merchant="m")) == card(transaction())
        plain = row(truth(), catalogue=DEPLOYED)
        assert row(truth(Amount=5, V1=1), catalogue=DEPLOYED) == plain


@pytest.mark.parametrize("sent", [transaction(), truth()])
def test_cards_of_a_suppressed_user_are_neither_events_nor_truths(sent):
    """The user of a truth is the transaction that it names."""
    suppressed = Suppressed("k", [(EVERYWHERE, user_hash("k", "t1"))])
    accepted = accept(message(sent), catalogue=DEPLOYED, suppressed=suppressed)

    assert (accepted.events, accepted.truths, accepted.refused) == ([], [], {})


def test_an_enriched_event_has_what_was_found_out():
    """All fields that were sent stay as they were written."""
    event = registration(event_id=..., socioeconomic_idx=9.5)
    sent = written(event, note="[1.10, 1e400, 1E2, -0.0]")
    accepted = accept(message(sent, "m1"), postcodes=POSTCODES)
    [enriched] = published(accepted)

    assert b'"note":[1.10, 1e400, 1E2, -0.0]' in enriched
    assert rows(accepted)["socioeconomic_idx"].to_pylist() == [3.25]
    found_out = {"event_id": "m1", "socioeconomic_idx": 3.25, "age": 35}
    assert json.loads(enriched) == {**json.loads(sent), **found_out}


@pytest.mark.parametrize(
    ("postcode", "value"),
    [
        ("ab10-1AB\u00a0.\n", 3.25),
        ("AB10 1AC", 2.5),
        ("M11 9ZZ", None),
        ("10115", 1.5),
        ("〒100-0001", None),
        ("A" * 4_096, None),
        ("B2", None),
    ],
)
def test_postcodes_are_found_however_they_are_written(postcode, value):
    """A row without a finite index is as if it were not there."""
    units = ["AB101AB", "AB10", "M1", "10115", "B1", "B2"]
    values = [3.25, 2.5, 4.0, 1.5, None, np.inf]
    index = PostcodeIndex(pa.table({"postcode": units, "socioeconomic_idx": values}))

    assert index.find(postcode) == value
