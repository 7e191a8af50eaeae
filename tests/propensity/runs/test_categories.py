"""Categories by which a week is compared, specified: what is kept of a user's."""

from __future__ import annotations

import json

import pyarrow as pa

from propensity.runs.categories import LONGEST, stored_categories


def stored(*values: str | None) -> list[str]:
    batch = pa.RecordBatch.from_pydict(
        {
            "country": pa.array(values, pa.string()),
            "source": pa.array(["a\x1fb"] * len(values)),
        }
    )
    texts = stored_categories(batch, ["country", "source"]).to_pylist()
    return [json.loads(text) for text in texts]


def test_a_users_categories_are_kept_by_name():
    """Without a value it is an empty one, and a long one is cut."""
    short, none, long = stored('"DE"', None, "x" * 1_000)

    assert short == {"country": '"DE"', "source": "a b"}
    assert none["country"] == ""
    assert long["country"] == "x" * LONGEST


def test_nothing_is_kept_where_nothing_is_compared():
    batch = pa.RecordBatch.from_pydict({"country": ["DE", "FR"]})

    assert stored_categories(batch, []).to_pylist() == [None, None]
