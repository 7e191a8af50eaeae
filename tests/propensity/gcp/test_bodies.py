"""
Bodies in JSON, specified: no object of one has a name twice.
"""

from __future__ import annotations

import json

import pytest

from propensity.errors import RequestError
from propensity.gcp.bodies import each_once


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('{"a": 1, "a": 2}', "a"),
        (r'{"a": 1, "\u0061": 2}', "a"),
        ('{"b": [{"c": {"": 1, "d": 2, "": 3}}]}', ""),
        ('{"a": ":", "b": "a", "a": 1}', "a"),
        (f'{{"{"n" * 1000}": 1, "{"n" * 1000}": 2}}', "n" * 64),
    ],
)
def test_a_name_is_once_in_an_object(body, name):
    """However deep, and however it is written; an answer repeats 64 characters."""
    with pytest.raises(RequestError) as refused:
        json.loads(body, object_pairs_hook=each_once)

    assert refused.value.field == name


def test_a_name_may_be_in_several_objects():
    """And a value may be what a name is."""
    body = '{"a": {"a": "a"}, "b": [{"a": 1}, {"a": 2}]}'

    assert json.loads(body, object_pairs_hook=each_once) == json.loads(body)


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
