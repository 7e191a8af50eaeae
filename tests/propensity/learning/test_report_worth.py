"""
What users are worth, on the page of a model.
"""

from __future__ import annotations

import pytest

from propensity.learning.report.page import training_page
from propensity.learning.report.worth import worth

VALUE = {
    "algorithm": "boosted_trees",
    "buyers": 2412,
    "mean_amount": 617.6,
    "value_promised": 98539.38,
    "value_observed": 105386.07,
    "value_ratio": 1.069,
    "value_ratio_low": 0.746,
    "value_ratio_high": 1.534,
    "value_gini": 0.737,
    "value_gini_low": 0.619,
    "value_gini_high": 0.856,
    "gini_by_probability": 0.717,
    "coverage": 0.95,
}


def card(**more: object) -> dict:
    return {"use_case": "ga4_purchase", "model_version": 4, "outcome": "buy", **more}


def test_shows_sums_and_ranking_with_intervals():
    page = training_page(card(value=VALUE))

    assert "What users are worth" in page
    for shown in ("98,539.38", "105,386.07", "0.75 to 1.53", "0.619 to 0.856", "95.0%"):
        assert shown in page


def test_is_not_on_the_page_of_a_version_without_amounts():
    assert worth(card()) is None
    assert "What users are worth" not in training_page(card())


@pytest.mark.parametrize("name", [*VALUE])
def test_a_figure_that_is_missing_is_a_dash(name):
    """As where nobody of the holdout paid anything."""
    page = training_page(card(value={**VALUE, name: None}))

    assert "What users are worth" in page
    assert "None" not in page.split("What users are worth")[1].split("</section>")[0]
