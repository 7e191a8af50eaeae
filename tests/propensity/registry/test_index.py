"""
The prediction index, specified: whatever rows are written, it gives them back.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.errors import ArtifactError, SchemaError
from propensity.registry import index
from propensity.registry.index import Index

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
        st.none() | st.decimals(0, 10**9, places=9),
        st.none() | st.decimals(0, 10**9, places=2),
    ),
)


SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "probability": pa.float64(),
        "percentile": pa.int64(),
        "as_of": pa.date32(),
        "model_version": pa.int64(),
        "expected_value": pa.decimal128(38, 9),
        "decile_value": pa.decimal128(38, 9),
    }
)


def batch(rows) -> pa.RecordBatch:
    """Rows as the statement gives them, by user: the values of the other columns."""
    named = [dict(zip(SCHEMA.names, (u, *row), strict=True)) for u, row in rows.items()]
    return pa.RecordBatch.from_pylist(named, SCHEMA)


def many(count: int):
    """Rows of many users, of many dates and versions."""
    return {
        f"user.{n}": (
            n / count,
            1 + n % 100,
            DAY + timedelta(n % 400),
            n % 3,
            None,
            None,
        )
        for n in range(count)
    }


def written(folder: Path, *rows) -> Path:
    """The file of some batches of rows."""
    folder.mkdir(exist_ok=True)
    index.write_index(folder / "index", map(batch, rows))
    return folder / "index"


class TestIndex:
    @given(rows=ROWS, others=st.lists(IDS), parts=st.integers(1, 4))
    def test_the_index_gives_back_what_was_put_in(self, rows, others, parts):
        """Of any ids, in any batches; nobody else has anything."""
        names = list(rows)
        batches = [{n: rows[n] for n in names[at::parts]} for at in range(parts)]
        with tempfile.TemporaryDirectory() as folder:
            opened = Index(written(Path(folder), *batches))

        assert all(opened.find(other) is None for other in {*others} - {*rows})
        for user_id, (p, rank, as_of, version, *amounts) in rows.items():
            values = [None if value is None else float(value) for value in amounts]
            expected = (p, rank, as_of.isoformat(), version, *values)
            assert opened.find(user_id) == expected

    def test_the_index_has_no_ids(self, tmp_path):
        """Whoever does not know the key cannot choose ids that collide."""
        files = [written(tmp_path / part, many(100)) for part in ("a", "b")]
        first, second = (file.read_bytes() for file in files)

        assert b"user." not in first
        assert first != second

    def test_the_index_refuses_a_user_who_is_there_twice(self, tmp_path):
        ana = {"ana": (0.5, 1, DAY, 1, None, None)}

        with pytest.raises(SchemaError, match="twice"):
            written(tmp_path, ana, many(1_000), ana)

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE about SET key = 'a text'",
            "UPDATE predictions SET probability = 'a text'",
        ],
    )
    def test_the_index_of_another_form_is_refused(self, tmp_path, change):
        """Or that is cut short: lookups read the table then."""
        path = written(tmp_path, {"ana": (0.5, 1, DAY, 1, None, None)})
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.executescript(change)

        with pytest.raises(ArtifactError):
            Index(path).find("ana")
        path.write_bytes(path.read_bytes()[:4_096])
        with pytest.raises(ArtifactError):
            Index(path)
