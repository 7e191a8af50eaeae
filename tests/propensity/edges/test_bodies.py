"""
Bodies in JSON, specified: no object of one has a name twice.

What has one twice is known from the way a body is made: as pairs, each written by
itself, with blanks and escapes that JSON allows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from propensity.edges.bodies import check_each_once, each_once
from propensity.errors import RequestError


class Pairs(NamedTuple):
    """An object as its pairs, where a name may be twice."""

    pairs: tuple[tuple[str, Any], ...]


BLANKS = st.sampled_from(["", "", " ", "\n\t", "\r "])
TEXTS = st.sampled_from(["a", "b", "", ":", '"', '":', '\\":', 'a" :', "é", "\\", "{"])


def written(text: str, *, is_escaped: bool) -> str:
    """A text in JSON, by escapes alone or by as few as possible."""
    if is_escaped:
        return '"' + "".join(f"\\u{ord(one):04x}" for one in text) + '"'
    return json.dumps(text, ensure_ascii=False)


VALUES = st.recursive(
    TEXTS | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False),
    lambda values: (
        st.lists(values, max_size=3)
        | st.builds(Pairs, st.lists(st.tuples(TEXTS, values), max_size=4).map(tuple))
    ),
    max_leaves=8,
)


def has_a_name_twice(value: Any) -> bool:
    """Whether a name is twice in an object, however deep."""
    if isinstance(value, Pairs):
        names = [name for name, _ in value.pairs]
        return len({*names}) < len(names) or any(
            has_a_name_twice(one) for _, one in value.pairs
        )
    return isinstance(value, list) and any(map(has_a_name_twice, value))


def names_of(value: Any) -> int:
    """How many names a parser has kept."""
    if isinstance(value, dict):
        return len(value) + sum(map(names_of, value.values()))
    return sum(map(names_of, value)) if isinstance(value, list) else 0


def refuses(read: Callable[[], object]) -> bool:
    """Whether a reader refuses a body."""
    try:
        read()
    except RequestError:
        return True
    return False


@st.composite
def bodies(draw) -> tuple[Pairs, bytes]:
    """An object, and one way to write it."""

    def text(value: Any) -> str:
        before, after = draw(BLANKS), draw(BLANKS)
        if isinstance(value, Pairs):
            parts = ",".join(f"{text(name)}:{text(one)}" for name, one in value.pairs)
            inner = f"{{{parts}}}"
        elif isinstance(value, list):
            inner = f"[{','.join(map(text, value))}]"
        elif isinstance(value, str):
            inner = written(value, is_escaped=draw(st.booleans()))
        else:
            inner = json.dumps(value)
        return before + inner + after

    pairs = draw(st.lists(st.tuples(TEXTS, VALUES), max_size=5).map(tuple))
    return Pairs(pairs), text(Pairs(pairs)).encode()


@given(bodies(), st.booleans())
@example((Pairs((("a", 1), ("a", 2))), rb'{"a":1,"a":2}'), True)
@example((Pairs((("a", 1), ("a", 2))), rb'{"a":1,"\u0061" :2}'), True)
@example((Pairs((("a", "\\:"), ("b", '":'))), rb'{"a":"\\:","b":"\":"}'), True)
def test_a_name_is_once_in_an_object(drawn, knows_all):
    """Refused if and only if one is twice, with any texts, blanks and escapes.

    So it is where the reader has counted the names of the outer object alone.
    """
    value, body = drawn
    kept = msgspec.json.decode(body)

    is_refused = refuses(
        lambda: check_each_once(body, names_of(kept) if knows_all else len(kept))
    )
    is_refused_at_once = refuses(lambda: json.loads(body, object_pairs_hook=each_once))

    assert is_refused is is_refused_at_once is has_a_name_twice(value)


def test_names_are_compared_in_one_pass():
    """The two that are alike may be the last of a million: nobody else waits for it."""
    compared = []

    class Name(str):
        __hash__ = str.__hash__

        def __eq__(self, other):
            compared.append(other)
            return str.__eq__(self, other)

    names = [Name(f"n{number}") for number in range(1_000)]

    with pytest.raises(RequestError) as refused:
        each_once([(name, 1) for name in [*names, Name("last"), Name("last")]])

    assert refused.value.field == "last"
    assert len(compared) < 10 * len(names)


def test_names_of_any_length_are_told_by_their_beginning():
    """An answer repeats 64 characters of what a caller has sent."""
    long = "n" * 1000

    with pytest.raises(RequestError) as refused:
        check_each_once(f'{{"{long}":1,"{long}":2}}'.encode(), 1)

    assert refused.value.field == "n" * 64


def test_numbers_of_any_size_are_no_obstacle():
    """The second reader looks at names alone."""
    check_each_once(b'{"a":%b,"b":1e999,"c":{"d":":"}}' % (b"9" * 5000), 3)
