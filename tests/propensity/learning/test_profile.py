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
    "amount": "number",
    "double": "number",
    "flag": "number",
    "site": "category",
}


def table(count: int = 2_000) -> pa.Table:
    random = np.random.default_rng(1)
    label = (random.random(count) < 0.2).astype(np.int64)
    amount = random.gamma(2, 10, count) + 20 * label
    amount[0] = 987_654.25
    site = random.choice(["shop", "app"], count).astype(object)
    site[:9] = "only nine users"
    return pa.table(
        {
            "as_of": pa.array([date(2026, 1, 5 + 7 * (n % 2)) for n in range(count)]),
            "user_id": [f"u{n}" for n in range(count)],
            "amount": pa.array(amount, mask=np.arange(count) % 4 == 3),
            "double": 2 * amount,
            "flag": (random.random(count) < 0.5).astype(float),
            "site": pa.array(site.tolist()),
            "label": label,
        }
    )


@pytest.fixture(scope="module")
def described() -> dict:
    return profile.described(table(), FEATURES)


class TestNumbers:
    def test_have_histograms_by_label(self, described):
        """Shares add up to one, whatever lies beyond the ends."""
        amount = described["numbers"][0]

        assert len(amount["edges"]) == profile.BINS + 1
        for name in ("negative", "positive"):
            assert sum(amount[name]) == pytest.approx(1, abs=0.01)
        assert amount["correlation"] > 0.3
        assert amount["missing"] == pytest.approx(0.25)

    def test_that_are_few_have_a_bin_each(self, described):
        assert described["numbers"][2]["edges"] == [0.0, 1.0, 2.0]

    def test_show_no_single_user(self, described):
        """The largest value is one person's."""
        assert "987654" not in str(described).replace("_", "")


class TestRest:
    def test_counts_rows_by_date(self, described):
        assert [day["rows"] for day in described["dates"]] == [1_000, 1_000]
        assert (described["rows"], described["users"]) == (2_000, 2_000)

    def test_pools_values_of_fewer_than_ten_users(self, described):
        [site] = described["categories"]

        assert {entry["value"] for entry in site["values"]} == {"shop", "app"}
        assert site["distinct"] == 3

    def test_names_the_pairs_that_correlate_most(self, described):
        first = described["correlations"][0]

        assert set(first["features"]) == {"amount", "double"}
        assert first["correlation"] > 0.9
