"""Event types: what is an event, what never can be one, and why not."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from propensity.errors import UseCaseError
from propensity.streaming.events.types import Catalogue
from propensity.streaming.events.values import REASONS
from propensity.suppression import Suppressed, user_hash
from propensity.usecases.declaration import Stream
from tests.support.events import (
    BASE,
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
    spoilt,
    use_case,
    written,
)


class TestJson:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"[]",
            written(bet())[:-1],
            written(bet()) * 2,
            spoilt("01"),
            spoilt("[1, NaN]", "note"),
            spoilt('"\\ud800"', "note"),
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

    def test_json_is_utf_8_in_every_field(self):
        """Also in one that is not read: the event is published as it came."""
        event = written(registration(), note='"@"').replace(b"@", b"\xe9")

        assert refusal(event) == ("wrong_encoding", None)
        for encoding in ("utf-16", "utf-8-sig"):
            other = written(bet()).decode().encode(encoding)
            assert refusal(other) == ("wrong_encoding", None)


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
    ({"spin": dict.fromkeys("ab", "amount")}, "more than one field"),
    ({"spin": {"user_id": "text"}}, "a field cannot be named 'user_id'"),
    ({"new_bet": {"a": "text"}}, "another use case has the name"),
    ({"spin": {"id": "identity", "end": "truth"}}, "an outcome needs identity"),
    ({"spin": {"name": "text"}}, "name is text here, but personal elsewhere"),
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
