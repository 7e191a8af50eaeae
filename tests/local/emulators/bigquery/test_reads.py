"""What a translation has read is asked for again, once, after a change."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from local.emulators.bigquery.reads import Reads, Signs


@pytest.fixture
def catalog():
    """A catalog of columns, which counts the questions, and lists by way of them."""
    made = SimpleNamespace(known={"t": ["n"], "u": ["m"]}, asked=[])

    def columns(table):
        made.asked.append(table)
        return made.known[table]

    made.columns = columns
    made.count = lambda table: len(made.columns(table))
    return made


@pytest.fixture
def reads(catalog):
    made = Reads()
    made.watch(catalog, "columns", lambda found, _: tuple(found))
    made.watch(catalog, "count", lambda found, _: found)
    return made


def test_hold_while_answers_are_the_same(catalog, reads):
    """Another table may change, and the table may be made anew as it was."""
    found, noted = reads.of(lambda: catalog.columns("t"))
    catalog.known = {"t": ["n"], "u": ["changed"]}

    assert found == ["n"]
    assert reads.are_so(noted, 1)
    catalog.known["t"] = ["n", "word"]
    assert not reads.are_so(noted, 2)


def test_hold_for_what_is_missing(catalog, reads):
    """That a table is not there is an answer as well."""

    def look():
        with pytest.raises(KeyError):
            catalog.columns("missing")

    _, noted = reads.of(look)

    assert reads.are_so(noted, 1)
    catalog.known["missing"] = ["n"]
    assert not reads.are_so(noted, 2)


def test_are_asked_once_in_a_generation(catalog, reads):
    """Of many translations that read one table; each time while it is changed."""
    several = [reads.of(lambda: catalog.columns("t"))[1] for _ in range(3)]
    catalog.asked.clear()

    assert all(reads.are_so(noted, 1) for noted in several)
    assert catalog.asked == ["t"]
    assert all(reads.are_so(noted, None) for noted in several)
    assert catalog.asked == ["t"] * 4


def test_are_the_outermost_only(catalog, reads):
    """What an answer was made of does not matter where the answer does not change."""
    _, noted = reads.of(lambda: catalog.count("t"))
    catalog.known["t"] = ["other"]

    assert [one.answer for one in noted] == [1]
    assert reads.are_so(noted, 1)
    assert reads.of(lambda: None)[1] == ()


class TestSigns:
    def test_are_made_once(self):
        """Of each thing, and of each way that it is asked about."""
        asked = []
        signs = Signs(lambda thing, *how: asked.append((*thing, *how)) or len(asked))
        thing = ["t"]

        assert [signs.of(thing, "a"), signs.of(thing, "b"), signs.of(thing, "a")] == [
            1,
            2,
            1,
        ]
        assert asked == [("t", "a"), ("t", "b")]

    def test_are_of_the_thing_itself(self):
        """Another one may have the number in memory that one had which has gone."""
        signs = Signs(lambda thing: hash(tuple(thing)))

        made = [signs.of([number]) for number in range(5_000)]

        assert made == [hash((number,)) for number in range(5_000)]
