"""Event types: what is an event, what never can be one, and why not."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from propensity.errors import UseCaseError
from propensity.events.types import Catalogue
from propensity.events.values import REASONS
from propensity.suppression import Suppressed, user_hash
from propensity.usecases.declaration import Stream
from tests.support.events import (
    BASE,
    CATALOGUE,
    EXAMPLES,
    NEVER,
    SLOTS,
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
    spoilt,
    use_case,
    written,
)

COMMON = dict.fromkeys(("user_id", "event_type", "event_time"), "text")
FIELDS = [
    (name, field, kind)
    for name, event_type in CATALOGUE.types.items()
    for field, kind in {**COMMON, **event_type.fields}.items()
]
REQUIRED = [(name, field) for name, field, kind in FIELDS if kind != "label"]

# JSON that a field of a kind is not. Of a label null means that it is not known yet.
ILL_TYPED = {
    "text": (*NEVER, "1", "true", "null"),
    "text or null": (*NEVER, "1", "true"),
    "personal": (*NEVER, "1", "true", "null"),
    "birth date": (*NEVER, "1", "true", "null"),
    "amount": (*NEVER, '"1.50"', '""', "true", "false", "null"),
    "label": (*NEVER, '"1"', "1.0", "0.5"),
}
# A field of each kind.
ONE_OF = {kind: (name, field) for name, field, kind in FIELDS}
WRONG = [(*ONE_OF[kind], literal) for kind in ILL_TYPED for literal in ILL_TYPED[kind]]


class TestEveryType:
    @pytest.mark.parametrize(("name", "field"), REQUIRED)
    def test_every_type_has_its_fields(self, name, field):
        event = {key: one for key, one in EXAMPLES[name].items() if key != field}

        assert refusal(event) == ("missing_field", field)

    @pytest.mark.parametrize(("name", "field", "literal"), WRONG)
    def test_every_type_has_fields_of_their_types(self, name, field, literal):
        event = written(EXAMPLES[name], **{field: literal})

        assert refusal(event) == ("wrong_type", field)

    @pytest.mark.parametrize(
        "name",
        ["", "NEW_BET", "Object missing required field `user_id` - at `$.city`"],
    )
    def test_every_type_is_known(self, name):
        assert refusal(bet(event_type=name)) == ("unknown_event_type", "event_type")

    def test_every_type_may_have_more_fields_in_any_order(self):
        more = bet(device={"os": ["x", 1e300, None]}, age="old", label=[], amount="x")

        assert row(dict(reversed(more.items()))) == row(bet())


class TestJson:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"{'user_id': 'u1'}",
            b"[]",
            b"NaN",
            written(bet())[:-1],
            written(bet())[:-1] + b",}",
            written(bet()) * 2,
            *map(spoilt, ("01", "1.", "+1", "0x1", "1_000")),
            spoilt('"\n"', "user_id"),
            spoilt('"\\x"', "note"),
            spoilt("[1, NaN]", "note"),
            spoilt("NaN")[:-1],
            *(spoilt('"\\ud800"', field) for field in ("user_id", "note")),
            b"[" * 1_000_000,
            b'{"a":' * 200_000,
        ],
        ids=lambda data: str(data[:40]),
    )
    def test_json_that_is_no_object_or_malformed_is_refused(self, data):
        """In fields that are read or not; however deep it is nested."""
        assert refusal(data) == ("malformed_json", None)

    @given(st.sampled_from(BASE), st.data())
    def test_spoilt_json_is_an_event_or_a_dead_letter(self, name, data):
        whole = written(EXAMPLES[name])
        at = data.draw(st.integers(0, len(whole)))
        to = data.draw(st.integers(at, min(len(whole), at + 5)))
        cut = whole[:at] + data.draw(st.binary(max_size=5)) + whole[to:]

        accepted = accept(message(cut))

        assert len(accepted.events) + len(accepted.refused) == 1
        assert {one.reason for one in accepted.refused.values()} <= set(REASONS)

    @pytest.mark.parametrize("field", ["user_id", "note"])
    @pytest.mark.parametrize("broken", [b"\xe9", b"\xed\xa0\x80"])
    def test_json_is_utf_8_in_every_field(self, field, broken):
        """Also in one that is not read: the event is published as it came."""
        event = written(registration(), **{field: '"@"'}).replace(b"@", broken)

        assert refusal(event) == ("wrong_encoding", None)

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
    def test_json_is_not_another_unicode(self, encoding):
        event = written(bet()).decode().encode(encoding)

        assert refusal(event) == ("wrong_encoding", None)


class TestIds:
    @pytest.mark.parametrize("field", ["user_id", "event_id"])
    @pytest.mark.parametrize(
        "sent",
        ["null", "Undefined", " (not set)", "0", "-", "", "é" * 257, "a\tb", "a\x9fb"],
    )
    def test_ids_that_mean_nothing_or_are_no_text_are_refused_alone(self, field, sent):
        """The others of the group are stored; other texts may have such characters."""
        accepted = accept(
            message(bet(**{field: sent}), "1"),
            message(bet(event_id="é" * 256), "2"),
            message(registration(event_id="e3", city="a\tb"), "3"),
        )

        [(index, refused)] = accepted.refused.items()
        assert (index, refused.reason, refused.field) == (0, "bad_value", field)
        assert len(accepted.events) == 2

    def test_ids_have_one_rule(self):
        bare = bet(event_id=...)
        accepted = accept(
            message(bare, "m1", event_id="a\tb"),
            message(bare, "m2", event_id="\u00ad is no control character"),
            message(bare, "m\n3"),
            message(bare, "m4", event_id="x" * 257),
        )

        assert rows(accepted)["message_id"].to_pylist() == ["m2"]
        assert {one.field for one in accepted.refused.values()} == {"event_id"}


@pytest.mark.parametrize("field", ["name", "street_address", "city", "campaign"])
def test_sizes_of_texts_are_bounded(field):
    assert row(registration(**{field: "é" * 4096}))
    assert refusal(registration(**{field: "é" * 4097})) == ("bad_value", field)


@given(secret=st.text("abcXYZ", min_size=8, max_size=12), name=st.sampled_from(BASE))
def test_refusals_repeat_nothing_of_the_event(secret, name):
    for field in EXAMPLES[name]:
        for value in (secret, [secret], {secret: 1}):
            event = {**EXAMPLES[name], field: value}
            for one in accept(message(event)).refused.values():
                assert secret not in f"{one.reason}{one.detail}{one.field}"


CARD = {
    "payment": {"payment_id": "identity", "score": "numeral"},
    "outcome": {"payment_id": "identity", "was": "truth", "at": "truth time"},
}
PAYMENTS = replace(
    use_case("payments", ["payment", "outcome"], CARD),
    features={"score": "number"},
    stream=Stream(events=["payment", "outcome"], scored=["payment"]),
)


# Types that a use case cannot declare: dead letters lose fields by their names, and
# columns have one type.
WRONG_TYPES: list[tuple[dict[str, dict[str, str]], str]] = [
    *(
        ({"spin": dict.fromkeys("ab", kind)}, "more than one field")
        for kind in ("amount", "label", "birth date", "identity")
    ),
    *(
        ({"spin": {name: "text"}}, f"a field cannot be named '{name}'")
        for name in ("user_id", "age", "received_on")
    ),
    ({"new_bet": {"a": "text"}}, "another use case has the name"),
    ({"spin": {"end": "truth"}}, "an outcome needs three fields"),
    ({"spin": {"id": "identity", "end": "truth"}}, "an outcome needs three fields"),
    ({"spin": {"amount": "text"}}, "amount is text here, but amount elsewhere"),
    ({"spin": {"name": "text"}}, "name is text here, but personal elsewhere"),
    ({"spin": {"city": "number"}}, "city is number here, but text elsewhere"),
]
UNDECLARED = replace(PAYMENTS, stream=Stream(events=["payment"], scored=["no"]))
REFUSED = [
    *(([use_case("slots", [*one], one)], problem) for one, problem in WRONG_TYPES),
    ([use_case("slots", ["spin"])], "names spin, which no usecase.toml declares"),
    (
        [use_case("a", ["spin"], SPIN), use_case("b", ["spin"], SPIN)],
        "usecases/b events.spin: another use case has the name",
    ),
    ([use_case("ga4_purchase", [])], "no use case takes events"),
    ([UNDECLARED], "names no, which must be among stream.events"),
    ([replace(PAYMENTS, features={"x": "number"})], "lacks the numerals x"),
]


class TestCatalogue:
    @pytest.mark.parametrize(
        ("field", "literal", "reason"),
        [
            ("machine", "5", "wrong_type"),
            ("odds", '"5"', "wrong_type"),
            ("odds", "1e999", "not_finite"),
            ("stake", "0.001", "bad_amount"),
        ],
    )
    def test_the_catalogue_checks_the_types_of_a_use_case(self, field, literal, reason):
        wrong = written(spin(), **{field: literal})

        assert refusal(wrong, catalogue=SLOTS) == (reason, field)

    @pytest.mark.parametrize(
        ("name", "reason"), [(..., "missing_field"), ("", "unknown_event_type")]
    )
    def test_a_catalogue_asks_for_the_type_even_where_there_is_one(self, name, reason):
        slots = Catalogue([use_case("slots", ["new_bet"])])

        for named in ("slots", ...):
            event = bet(use_case=named, event_type=name)
            assert refusal(event, catalogue=slots) == (reason, "event_type")

    @pytest.mark.parametrize(("use_cases", "problem"), REFUSED)
    def test_a_catalogue_refuses_what_contradicts_itself(self, use_cases, problem):
        """At the deploy, and not at the first event."""
        with pytest.raises(UseCaseError, match=re.escape(problem)):
            Catalogue(use_cases)

    def test_an_event_goes_to_all_use_cases_of_its_type(self):
        """So a new use case gets the events of producers that know none, and takes
        nothing away. A type that one use case declares may be taken by others."""
        both = Catalogue(
            [use_case("a", ["new_bet", "spin"]), use_case("b", ["spin"], SPIN)]
        )

        assert row(bet(use_case=...), catalogue=both)["use_case"] == "a"
        assert row({**spin(), "use_case": "b"}, catalogue=both)["use_case"] == "b"
        sent = {**spin(), "use_case": None}
        accepted = accept(message(sent), catalogue=both)
        assert rows(accepted)["use_case"].to_pylist() == ["a", "b"]
        enriched = [json.loads(event) for event in published(accepted)]
        assert [event["use_case"] for event in enriched] == ["a", "b"]
        suppressed = Suppressed("k", [("a", user_hash("k", "u1"))])
        accepted = accept(message(sent), catalogue=both, suppressed=suppressed)
        assert rows(accepted)["use_case"].to_pylist() == ["b"]
        assert refusal(bet(use_case="b"), catalogue=both) == (
            "unknown_event_type",
            "event_type",
        )
