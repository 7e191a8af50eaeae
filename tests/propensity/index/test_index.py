"""
The prediction index, specified: whatever rows are built into it, it gives them back.
"""

from __future__ import annotations

import random
from datetime import date, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.index import build
from propensity.index.build import Builder, Collision
from propensity.index.layout import FIXED, DamagedIndex, Head, hash_of
from propensity.index.reader import Index, find_in_block

KEY = b"a key of 16 byte"
DAY = date(2026, 3, 2)
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)
# Bit for bit, so every double there is but those that are no probability at all.
ROWS = st.dictionaries(
    IDS,
    st.tuples(
        st.floats(0.0, 1.0),
        st.none() | st.integers(1, 100),
        st.dates(),
        st.integers(0, 2**63 - 1),
    ),
)


def batch(rows) -> pa.RecordBatch:
    """Rows as the statement gives them: by user, probability, percentile, as-of and
    version."""
    values = [(user, *row) for user, row in rows.items()]
    columns = list(zip(*values, strict=True)) or [[]] * 5
    types = {
        "user_id": pa.string(),
        "probability": pa.float64(),
        "percentile": pa.int64(),
        "as_of": pa.date32(),
        "model_version": pa.int64(),
    }
    return pa.RecordBatch.from_arrays(
        [
            pa.array(values_of, kind)
            for values_of, kind in zip(columns, types.values(), strict=True)
        ],
        names=list(types),
    )


def built(*batches: pa.RecordBatch, key: bytes = KEY) -> bytes:
    builder = Builder(key)
    for rows in batches:
        builder.add(rows)
    return b"".join(builder.finish())


def many(count: int):
    """Rows of many users, of many dates and versions."""
    return {
        f"user.{n}": (n / count, 1 + n % 100, DAY + timedelta(days=n % 400), n % 3)
        for n in range(count)
    }


def in_block(data: bytes, user_id: str):
    """Look a user up as by ranges: by the head and one block."""
    head = Head.parse(data)
    user_hash = hash_of(user_id, key=head.key)
    number = head.block_of(user_hash)
    block = data[head.offsets[number] : head.offsets[number + 1]]
    return find_in_block(block, user_hash, head=head)


def row_of(entry):
    """An entry as it was put in."""
    if entry is None:
        return None
    probability, percentile, (as_of, version) = entry
    return probability, percentile or None, as_of, version


class TestIndex:
    @given(rows=ROWS, others=st.lists(IDS), parts=st.integers(1, 4))
    def test_gives_back_what_was_put_in(self, rows, others, parts):
        """Of any ids, by the whole file and by one block of it alike."""
        names = list(rows)
        data = built(
            *[batch({n: rows[n] for n in names[at::parts]}) for at in range(parts)]
        )
        index = Index(data)

        assert len(index) == len(rows)
        for user_id in {*rows, *others}:
            assert row_of(index.find(user_id)) == rows.get(user_id)
            assert row_of(in_block(data, user_id)) == rows.get(user_id)

    @pytest.mark.parametrize("run", [1, 7, 1_000, 100_000])
    def test_is_the_same_however_rows_come(self, run, monkeypatch):
        """Runs, stripes and the order of rows leave no trace in the answers, and one
        key gives one file for rows in one order."""
        rows = many(5_000)
        names = random.Random(1).sample(list(rows), len(rows))
        monkeypatch.setattr(build, "RUN_USERS", run)
        data = built(
            *[
                batch({name: rows[name] for name in names[at : at + 500]})
                for at in range(0, len(names), 500)
            ]
        )
        index = Index(data)

        assert {name: row_of(index.find(name)) for name in rows} == rows
        assert all(row_of(in_block(data, name)) == rows[name] for name in names[:200])
        assert len(index.head.pairs) > 256

    def test_takes_eighteen_bytes_a_user(self):
        """Ten million users fit into 200 MB."""
        data = built(batch(many(50_000) | {}))
        few_pairs = built(batch({f"u{n}": (0.5, 1, DAY, 1) for n in range(100_000)}))

        assert len(data) / 50_000 < 19.5
        assert len(few_pairs) / 100_000 < 18.1

    def test_has_no_ids_and_other_hashes_under_another_key(self):
        """Whoever does not know the key cannot choose ids that collide."""
        rows = batch(many(100))
        data, rekeyed = built(rows), built(rows, key=b"another 16 bytes")

        assert b"user." not in data
        assert row_of(Index(rekeyed).find("user.7")) == row_of(
            Index(data).find("user.7")
        )
        assert hash_of("user.7", key=KEY) != hash_of("user.7", key=b"another 16 bytes")

    def test_refuses_two_rows_of_one_hash(self):
        """Nobody gets the answer of somebody else: the builder says so."""
        once = batch({"ana": (0.5, 1, DAY, 1)})

        with pytest.raises(Collision):
            built(once, batch(many(1_000)), once)


class TestDamage:
    @given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
    def test_of_any_bit_is_noticed_where_it_is_read(self, at, bit):
        """A wrong head is refused, and so is a wrong block that is read alone: no
        lookup answers of it. (Of the whole file the caller compares a checksum.)"""
        rows = many(700)
        data = bytearray(built(batch(rows)))
        data[at % len(data)] ^= 1 << bit
        for user_id in list(rows)[:50]:
            try:
                row = row_of(in_block(bytes(data), user_id))
            except DamagedIndex:
                continue
            assert row == rows[user_id]

    @pytest.mark.parametrize("size", [0, 7, FIXED.size, FIXED.size + 8, -1])
    def test_by_a_lost_end_is_noticed(self, size):
        """Half a file is no index."""
        data = built(batch(many(700)))

        with pytest.raises(DamagedIndex):
            Index(data[:size])

    def test_of_another_version_is_no_index(self):
        """What this version does not write it does not read."""
        data = built(batch(many(7)))

        with pytest.raises(DamagedIndex, match="does not begin"):
            Index(b"PROPIDX\x02" + data[8:])
