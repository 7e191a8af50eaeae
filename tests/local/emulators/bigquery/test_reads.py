"""What a translation has read is asked for again, once, after a change."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from local.emulators.bigquery.reads import Reads, Signs


@pytest.fixture
def catalog():
    """A catalog of columns, which counts the questions, and lists by way of them."""
    fake = SimpleNamespace(known={"t": ["n"], "u": ["m"]}, asked=[])

    def columns(table):
        fake.asked.append(table)
        return fake.known[table]

    fake.columns = columns
    fake.count = lambda table: len(fake.columns(table))
    return fake


@pytest.fixture
def reads(catalog):
    watched = Reads()
    watched.watch(catalog, "columns", lambda answer, _: tuple(answer))
    watched.watch(catalog, "count", lambda answer, _: answer)
    return watched


def test_are_asked_once_in_a_generation(catalog, reads):
    """Of many translations that read one table; each time while it is changed."""
    several = [reads.of(lambda: catalog.columns("t"))[1] for _ in range(3)]
    catalog.asked.clear()

    assert all(reads.are_so(questions, 1) for questions in several)
    assert catalog.asked == ["t"]
    assert all(reads.are_so(questions, None) for questions in several)
    assert catalog.asked == ["t"] * 4


def test_are_the_outermost_only(catalog, reads):
    """What an answer was made of does not matter where the answer does not change."""
    _, questions = reads.of(lambda: catalog.count("t"))
    catalog.known["t"] = ["other"]

    assert [one.answer for one in questions] == [1]
    assert reads.are_so(questions, 1)
    assert reads.of(lambda: None)[1] == ()


class TestSigns:
    def test_are_made_once(self):
        """Of each thing, and of each way that it is asked about."""
        calls = []
        signs = Signs(lambda thing, *how: calls.append((*thing, *how)) or len(calls))
        thing = ["t"]

        assert [signs.of(thing, "a"), signs.of(thing, "b"), signs.of(thing, "a")] == [
            1,
            2,
            1,
        ]
        assert calls == [("t", "a"), ("t", "b")]

    def test_are_of_the_thing_itself(self):
        """Another one may have the number in memory that one had which has gone."""
        signs = Signs(lambda thing: hash(tuple(thing)))

        signatures = [signs.of([number]) for number in range(5_000)]

        assert signatures == [hash((number,)) for number in range(5_000)]
