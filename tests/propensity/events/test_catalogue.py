"""
The catalogue, specified: which types a deploy takes, and how their events are known.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal

import pytest

from propensity.errors import UseCaseError
from propensity.events.catalogue import Catalogue
from propensity.usecases import UseCase
from tests.events import (
    EXAMPLES,
    SLOTS,
    SPIN,
    accept,
    bet,
    message,
    refusal,
    row,
    spin,
    use_case,
    written,
)


class TestCatalogue:
    def test_has_the_types_that_are_taken(self):
        """Of the shared types those that a use case names, with its own."""
        catalogue = Catalogue([use_case("slots", ["new_win", "spin"], SPIN)])

        assert sorted(catalogue.types) == ["new_win", "spin"]
        assert catalogue.use_cases == {"slots"}
        assert catalogue.default == {"new_win": "slots", "spin": "slots"}

    def test_reads_the_types_of_a_use_case(self):
        """An event of a use case's own type is taken as one of the shared types is."""
        stored = row(spin(), catalogue=SLOTS)

        assert (stored["use_case"], stored["event_type"]) == ("slots", "spin")
        assert stored["amount"] == Decimal("2.5")
        assert json.loads(stored["attributes"]) == {"machine": "m7", "odds": -1.25}

    @pytest.mark.parametrize(
        ("field", "literal", "reason"),
        [
            ("machine", "5", "wrong_type"),
            ("machine", "null", "wrong_type"),
            ("odds", '"5"', "wrong_type"),
            ("odds", "1e999", "not_finite"),
            ("odds", "-Infinity", "not_finite"),
            ("stake", "-1", "bad_amount"),
            ("stake", "0.001", "bad_amount"),
            ("stake", "NaN", "not_finite"),
        ],
    )
    def test_checks_the_types_of_a_use_case(self, field, literal, reason):
        """Fields of a use case's own are judged as all others."""
        wrong = written(spin(), **{field: literal})

        assert refusal(wrong, catalogue=SLOTS) == (reason, field)
        assert refusal(spin(**{field: ...}), catalogue=SLOTS) == (
            "missing_field",
            field,
        )

    def test_asks_for_the_type_even_where_there_is_one(self):
        """A deploy of a single type takes no event that does not say so."""
        slots = Catalogue([use_case("slots", ["new_bet"])])

        assert row(bet(use_case="slots"), catalogue=slots)["use_case"] == "slots"
        for name, reason in ((..., "missing_field"), ("", "unknown_event_type")):
            event = bet(use_case="slots", event_type=name)
            assert refusal(event, catalogue=slots) == (reason, "event_type")

    def test_leaves_out_use_cases_without_events(self):
        """A use case that is not streamed is none that an event can be of."""
        both = Catalogue([use_case(), use_case("ga4_purchase", [])])

        assert both.use_cases == {"first_day_churn"}

    @pytest.mark.parametrize(
        ("use_cases", "problem"),
        [
            ([use_case("slots", ["spin"])], "takes spin, which no file declares"),
            (
                [use_case("slots", ["new_bet"], {"new_bet": {"a": "text"}})],
                "declares new_bet, which is declared already",
            ),
            (
                [use_case("a", ["spin"], SPIN), use_case("b", ["spin"], SPIN)],
                "usecases/b declares spin, which is declared already",
            ),
            (
                [use_case("slots", ["spin"], {"spin": {"a": "float"}})],
                "usecases/slots declares an event type wrongly",
            ),
            ([], "no use case takes events"),
            ([use_case("ga4_purchase", [])], "no use case takes events"),
        ],
    )
    def test_refuses_what_contradicts_itself(self, use_cases, problem):
        """A type that nobody or everybody declares is a mistake of the deploy."""
        with pytest.raises(UseCaseError, match=re.escape(problem)):
            Catalogue(use_cases)

    def test_shares_the_types_that_one_declares(self):
        """A use case may take a type that another has declared, in whatever order."""
        both = Catalogue([use_case("a", ["spin"]), use_case("b", ["spin"], SPIN)])

        assert both.taken == {("a", "spin"), ("b", "spin")}

    def test_knows_the_use_case_only_where_one_can_be_meant(self):
        """Without a use case an event is of the one that takes it; of several, none is
        guessed."""
        both = Catalogue(
            [use_case("a", ["new_bet", "new_win"]), use_case("b", ["new_win"])]
        )
        win = EXAMPLES["new_win"]

        assert row(bet(use_case=...), catalogue=both)["use_case"] == "a"
        assert row({**win, "use_case": "b"}, catalogue=both)["use_case"] == "b"
        assert refusal({**win, "use_case": None}, catalogue=both) == (
            "missing_field",
            "use_case",
        )
        assert refusal(bet(use_case="b"), catalogue=both) == (
            "unknown_event_type",
            "event_type",
        )

    @pytest.mark.parametrize("name", ["", "no_such_case", "FIRST_DAY_CHURN", "é"])
    def test_refuses_an_unknown_use_case(self, name):
        """A use case that an event names is never put right."""
        assert refusal(bet(use_case=name)) == ("unknown_use_case", "use_case")


class TestIdentity:
    @pytest.mark.parametrize(
        ("field", "attribute", "event_id"),
        [
            ("e1", "a1", "e1"),
            (..., "a1", "a1"),
            (None, "a1", "a1"),
            (..., "", "m1"),
            (..., None, "m1"),
        ],
    )
    def test_is_the_event_s_then_the_attribute_s_then_the_message_s(
        self, field, attribute, event_id
    ):
        """Without the first two a redelivery is the same event, a twin another."""
        attributes = {} if attribute is None else {"event_id": attribute}
        sent = message(bet(event_id=field), "m1", **attributes)

        assert accept(sent).rows["event_id"].to_pylist() == [event_id]

    @pytest.mark.parametrize(
        ("field", "attribute"),
        [
            ("first_day_churn", "no_such_case"),
            (..., "first_day_churn"),
            (None, "first_day_churn"),
        ],
    )
    def test_is_of_the_use_case_of_the_field_before_the_attribute_s(
        self, field, attribute
    ):
        """Another that an attribute names is not looked at then."""
        sent = message(bet(use_case=field), use_case=attribute)

        assert accept(sent).rows["use_case"].to_pylist() == ["first_day_churn"]

    @pytest.mark.parametrize(
        ("attributes", "refused"),
        [
            ({"use_case": "no_such_case"}, ("unknown_use_case", "use_case")),
            ({"event_id": "x" * 257}, ("bad_value", "event_id")),
        ],
    )
    def test_in_an_attribute_is_checked_too(self, attributes, refused):
        """An attribute is held to what a field is."""
        sent = message(bet(event_id=..., use_case=...), **attributes)
        refusal = accept(sent).refused[0]

        assert (refusal.reason, refusal.field) == refused


CARD = {
    "payment": {"payment_id": "identity", "score": "numeral"},
    "outcome": {"payment_id": "identity", "was": "truth", "at": "truth time"},
}


def paid(**changed: object) -> UseCase:
    """Return a use case that scores events of its own."""
    return replace(
        use_case("payments", ["payment", "outcome"], CARD),
        **{
            "features": {"score": "number"},
            "scored": ["payment"],
            "truths": ["outcome"],
            **changed,
        },
    )


class TestRoles:
    def test_are_those_of_the_declared(self):
        """A use case scores events with an identity, and is told truths."""
        catalogue = Catalogue([paid()])

        assert {one.identity for one in catalogue.types.values()} == {"payment_id"}
        stored = row(
            {"payment_id": "p", "score": "2", "event_time": "2026-03-01"},
            catalogue=catalogue,
        )
        assert json.loads(stored["attributes"]) == {"score": 2.0}

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"scored": ["new_bet"]}, "scores new_bet, and must take it"),
            ({"scored": ["nothing"]}, "scores nothing, and must take it"),
            ({"features": {"other": "number"}}, "whose numerals lack other"),
            ({"truths": []}, "outcome must be among its truths"),
            ({"truths": ["outcome", "payment"]}, "payment must be among its truths"),
        ],
    )
    def test_that_cannot_be_are_refused(self, changed, said):
        """Found at the deploy, and not by the first event."""
        with pytest.raises(UseCaseError, match=re.escape(said)):
            Catalogue([paid(**changed)])
