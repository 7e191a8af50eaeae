"""
The description of a data set, specified: what it says, and what of users it hides.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from propensity.learning import profile

FEATURES = {
    "amount": "number", "double": "number", "flag": "number", "site": "category",
}  # fmt: skip


@pytest.fixture(scope="module")
def described() -> dict:
    random, count = np.random.default_rng(1), 2_000
    label = (random.random(count) < 0.2).astype(np.int64)
    amount = random.gamma(2, 10, count) + 20 * label
    amount[0] = 987_654.25
    site = random.choice(["shop", "app"], count).astype(object)
    site[:9] = "only nine users"
    rows = {
        "as_of": pa.array([date(2026, 1, 5 + 7 * (n % 2)) for n in range(count)]),
        "user_id": [f"u{n}" for n in range(count)],
        "amount": pa.array(amount, mask=np.arange(count) % 4 == 3),
        "double": 2 * amount,
        "flag": (random.random(count) < 0.5).astype(float),
        "site": pa.array(site.tolist()),
        "label": label,
    }
    return profile.described(pa.table(rows), FEATURES)


def test_numbers_have_histograms_by_label(described):
    """Shares add up to one, whatever lies beyond the ends; of a few whole numbers each
    has a bin of its own."""
    amount, _, flag = described["numbers"]

    assert len(amount["edges"]) == profile.BINS + 1
    for name in ("negative", "positive"):
        assert sum(amount[name]) == pytest.approx(1, abs=0.01)
    assert amount["correlation"] > 0.3
    assert amount["missing"] == pytest.approx(0.25)
    assert flag["edges"] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "values", [[0, 1], [0, 4e9], [0, 4e9] * 50, [2.0**53] * 3, [-1e300] * 3]
)
def test_odd_numbers_have_histograms_too(values):
    """Two values, whole numbers far apart, and a constant that no 1 can be added to."""
    rows = {"as_of": [1] * len(values), "user_id": values, "x": values}
    table = pa.table(rows | {"label": [0] * len(values)})
    [number] = profile.described(table, {"x": "number"})["numbers"]

    assert len(number["edges"]) == profile.BINS + 1
    assert sum(number["negative"]) == pytest.approx(1)


def test_nothing_shows_a_single_user(described):
    """The largest value is one person's; values of fewer than ten users are pooled."""
    [site] = described["categories"]

    assert "987654" not in str(described).replace("_", "")
    assert {entry["value"] for entry in site["values"]} == {"shop", "app"}
    assert site["distinct"] == 3


def test_rows_are_counted_by_date_and_the_strongest_correlation_comes_first(described):
    first = described["correlations"][0]

    assert [day["rows"] for day in described["dates"]] == [1_000, 1_000]
    assert (described["rows"], described["users"]) == (2_000, 2_000)
    assert set(first["features"]) == {"amount", "double"}
    assert first["correlation"] > 0.9
