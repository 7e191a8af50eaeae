"""
Record batches from buffers, specified: they are the bytes that Arrow writes.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propensity.events.record_batches import (
    Batch,
    Layout,
    bits,
    column_of,
    dense_texts,
    few_texts,
    nulls,
    present,
    sparse_texts,
    sparse_values,
)

QUICK = settings(deadline=None, max_examples=60)
SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("other", pa.string(), nullable=False),
        pa.field("note", pa.string()),
        pa.field("number", pa.float64()),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("nothing", pa.string()),
        pa.field("money", pa.decimal128(38, 9)),
    ]
)
LAYOUT = Layout(SCHEMA)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.text(max_size=5),
            "other": st.text(max_size=5),
            "note": st.none() | st.text(max_size=9),
            "number": st.none() | st.floats(allow_nan=False),
            "count": st.integers(-(2**63), 2**63 - 1),
            "nothing": st.none(),
            "money": st.none() | st.decimals(-1000, 1000, places=9),
        }
    ),
    max_size=20,
)


def batch_of(rows) -> Batch:
    """A batch of rows, each column made by another function."""
    count = len(rows)
    there = {
        name: {n: row[name] for n, row in enumerate(rows) if row[name] is not None}
        for name in ("note", "number")
    }
    name, other = (dense_texts([row[n] for row in rows]) for n in ("name", "other"))
    notes = {row: text.encode() for row, text in there["note"].items()}
    money = pa.array([row["money"] for row in rows], SCHEMA.field("money").type)
    columns = [
        name,
        other,
        sparse_texts(notes, count),
        sparse_values(there["number"], count, "<d"),
        present(np.array([row["count"] for row in rows], np.int64)),
        nulls(pa.string(), count),
        column_of(money),
    ]
    return LAYOUT.batch(count, columns)


class TestBatch:
    @QUICK
    @given(ROWS.filter(len))
    def test_is_what_arrow_writes(self, rows):
        """Byte for byte."""
        expected = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)

        assert batch_of(rows).serialize() == expected.serialize().to_pybytes()

    @QUICK
    @given(ROWS, st.data())
    def test_has_its_rows(self, rows, data):
        """All of them, or those that are taken; and there may be none."""
        batch = batch_of(rows)
        number = st.integers(0, max(0, len(rows) - 1))
        taken = data.draw(st.lists(number, unique=True)) if rows else []

        batch.rows.validate(full=True)
        assert batch.num_rows == len(rows)
        assert batch.rows.to_pylist() == rows
        assert batch.take(sorted(taken)).rows.to_pylist() == [
            rows[row] for row in sorted(taken)
        ]

    def test_of_another_layout_of_arrow_is_refused(self):
        """Nested columns have further buffers, which this does not write."""
        with pytest.raises((ValueError, IndexError)):
            Layout(pa.schema([("nested", pa.struct([("a", pa.int64())]))]))


@given(
    st.lists(st.text("ab", max_size=3) | st.text(max_size=3), max_size=6)
    | st.lists(st.text("ab", min_size=2, max_size=2), max_size=6)
)
def test_texts_are_the_buffers_of_arrow(texts):
    """Of one width and of several, ASCII and not."""
    expected = column_of(pa.array(texts, pa.string()))

    assert dense_texts(texts) == (expected if texts else nulls(pa.string(), 0))


@given(st.lists(st.sampled_from(["a", "bc", "\u00e9"]), max_size=4))
def test_few_texts_are_texts(texts):
    """Whether they are all the same, also when that was asked before, or not."""
    assert few_texts(texts) == few_texts(texts) == dense_texts(texts)


@given(st.sets(st.integers(0, 29)))
def test_bits_are_set_in_rows_or_in_all_others(rows):
    set_, others = (
        np.unpackbits(np.frombuffer(one, np.uint8), bitorder="little")
        for one in (bits(rows, 30), bits(rows, 30, are_set=False))
    )

    assert {*np.flatnonzero(set_).tolist()} == rows
    assert {*np.flatnonzero(others).tolist()} == {*range(30)} - rows
