"""Histograms and correlations of a training's features, specified."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from msgspec import convert
from scipy import stats

from propensity.learning.card import UserCard
from propensity.learning.profile import distributions
from propensity.learning.report import version_page
from propensity.learning.rows import Slice
from tests.propensity.learning.cards import card, trained
from tests.propensity.learning.report_pages import pictures
from tests.propensity.learning.shops import SHOP

FEATURES = {"spend": "number", "city": "category", "flat": "number"}


def slice_of(rows: int = 400) -> Slice:
    """Rows of one user each; who spends more has label 1 more often."""
    random = np.random.default_rng(5)
    spend = np.where(random.random(rows) < 0.25, np.nan, random.lognormal(2, 1, rows))
    label = (random.random(rows) < np.nan_to_num(spend) / 30).astype(np.int8)
    columns = {
        "user_id": [f"u{n}" for n in range(rows)],
        "spend": pa.array(spend, from_pandas=True),
        "city": random.choice(["a", "b", "c"], rows),
        "flat": np.ones(rows),
        "label": label,
        "weight": np.where(label == 1, 1.0, 4.0),
    }
    return Slice(rows=pa.table(columns))


def test_a_histogram_has_the_share_of_each_bin_and_of_label_1_in_it():
    """Weighted, as rows of label 0 are sampled; a gap is a bin of its own."""
    rows = slice_of()
    spend, city, flat = distributions(rows, FEATURES)
    is_gap = np.isnan(rows.rows["spend"].to_numpy(zero_copy_only=False))
    of_b = rows.rows["city"].to_numpy(zero_copy_only=False) == "b"

    gap = rows.weight[is_gap].sum() / rows.weight.sum()
    assert spend.bins[-1] == "missing"
    assert spend.shares[-1] == pytest.approx(gap, abs=1e-6)
    assert sum(spend.shares) == pytest.approx(1, abs=1e-4)
    place = city.bins.index("b")
    rate = np.average(rows.label[of_b], weights=rows.weight[of_b])
    assert city.rates[place] == pytest.approx(rate, abs=1e-6)
    assert flat.shares == [1]


def test_no_bin_shows_fewer_than_ten_users():
    """One user with a refund joins those without; one without an age stands nowhere."""
    refunds = np.zeros(2_000)
    refunds[0] = 5.0
    age = np.arange(2_000, dtype=float)
    age[1] = np.nan
    columns = {"user_id": [f"u{n}" for n in range(2_000)], "refunds": refunds}
    columns |= {"age": pa.array(age, from_pandas=True), "weight": np.ones(2_000)}
    columns |= {"label": (np.arange(2_000) < 200).astype(np.int8)}
    rows = Slice(rows=pa.table(columns))
    refunds_shown, age_shown = distributions(
        rows, {"refunds": "number", "age": "number"}
    )

    assert refunds_shown.shares == [1]
    assert refunds_shown.rates == [0.1]
    assert "missing" not in age_shown.bins
    assert min(age_shown.shares) >= 10 / 2_000


def test_a_correlation_is_spearmans_of_the_rows_that_have_a_value():
    """None of a category, and of a number that is the same everywhere."""
    rows = slice_of()
    spend, city, flat = distributions(rows, FEATURES)
    values = rows.rows["spend"].to_numpy(zero_copy_only=False)
    known = ~np.isnan(values)
    expected = stats.spearmanr(values[known], rows.label[known]).statistic

    assert spend.correlation == pytest.approx(expected, abs=1e-4)
    assert city.correlation is flat.correlation is None


def test_a_report_draws_each_feature_and_its_correlation():
    """Of the rows that the model has learned from. An older card has no pictures."""
    new = card()
    assert new.distributions is not None
    old = convert({**new.plain(), "distributions": None}, UserCard)
    written = version_page(new)

    described = distributions(trained().parts.every, SHOP.features)
    assert new.distributions == described
    assert pictures(written)
    for one in described:
        assert f"<title>{one.feature}</title>" in written
    assert "Correlation with the label" in written
    assert "Histograms" not in version_page(old)
