"""
Pages of versions and weeks, specified: whole HTML that runs nothing and escapes all.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
from msgspec import convert
from msgspec.structs import replace

from propensity import usecases
from propensity.learning import season
from propensity.learning.card import UserCard
from propensity.learning.report import version_page
from propensity.learning.week_report import week_page
from propensity.measures import metrics
from propensity.measures.thresholds import measured
from propensity.settings import Budget
from propensity.usecases import UseCase
from tests.propensity.learning.report_pages import parse, pictures
from tests.propensity.learning.shops import SHOP
from tests.propensity.learning.test_card import card

MONDAY = date(2026, 3, 2)
WEEK = timedelta(days=7)
PURCHASE = usecases.load("ga4_purchase")


@cache
def figures(week: int, *, moved: float) -> dict[str, Any]:
    """Return the figures of a week whose outcomes follow the probabilities, moved."""
    generator = np.random.default_rng(week)
    probability = generator.beta(1, 9, 3_000)
    label = generator.random(3_000) < season.apply(probability, moved)
    of_week = measured(
        metrics.outcomes(probability, label),
        threshold=0.5,
        budget=Budget.parse("10%"),
    )
    return of_week.columns()


def row(week: int = 0, *, moved: float = 0.0, **changes: Any) -> dict[str, Any]:
    """Return a week's row of ``ma_model_evaluation``."""
    first = MONDAY + week * WEEK
    return {
        "week": first,
        "week_end": first + WEEK,
        "model_version": 3,
        "prediction_as_of": first,
        "status": "final",
        "outcome": "evaluated",
        "evaluated_at": datetime(2026, 3, 19, 12, tzinfo=UTC),
        "data_until": first + WEEK,
        **figures(week, moved=moved),
        "unscored_converters": 12,
    } | changes


ALARM = {
    "as_of": MONDAY + 2 * WEEK,
    "kind": "feature",
    "name": "source",
    "cause": "feature",
    "message": "source is 'google' for 2% of users (41% in the training)",
    "is_alarm": True,
}
UPLIFT = {
    "audience": "winback",
    "week": MONDAY + 2 * WEEK,
    "week_end": MONDAY + 3 * WEEK,
    "status": "provisional",
    "run_id": "run",
    "evaluated_at": datetime(2026, 3, 19, 12, tzinfo=UTC),
    "control_share": 0.1,
    "sample_ratio_p": 0.5,
    "treated_users": 900,
    "control_users": 100,
    "treated_conversions": 150,
    "control_conversions": 9,
    "conversion_difference": 0.0513,
    "conversion_difference_low": -0.0111,
    "conversion_difference_high": 0.1129,
    "conversion_lift": 0.518,
    "revenue_difference": 1.37,
    "revenue_difference_low": -0.21,
    "revenue_difference_high": 2.91,
    "verdict": "open",
}


def page(
    newest: dict[str, Any] | None = None,
    *,
    use_case: UseCase = PURCHASE,
    **changes: Any,
) -> str:
    """Write the page of the third of three weeks."""
    weeks = [row(0), row(1), newest or row(2)]
    return week_page(
        use_case,
        weeks[2]["week"],
        rows=weeks[2:],
        weeks=weeks,
        trained={3: row(0)},
        lacked=[],
        **{"alarms": [], "uplifts": [], **changes},
    )


NAMES = ("ga4_purchase", SHOP.name)
HOSTILE = '<script>alert("1")</script>&amp;\'`]]>-->\x00\x1b\x85\u202e\ud800\uffff${x}'


def words(page: str) -> str:
    """Return the text of a page, in which nothing is loaded or run, by the policy too,
    which stands before all that it is about; pictures are XML."""
    parsed = parse(page)
    inner = [given for tag, given in parsed.tags if tag not in ("html", "head")]
    links = [value for _, given in parsed.tags for name, value in given.items()
             if name in ("src", "href") or name.startswith("on")]  # fmt: skip

    assert inner[0] == {"charset": "utf-8"}
    assert str(inner[1]["content"]).startswith("default-src 'none'; ")
    assert not {"script", "iframe", "object", "img"} & {tag for tag, _ in parsed.tags}
    assert links[0] == "data:,"
    assert {*links[1:]} <= {f"../../models/{name}/3/report.html" for name in NAMES}
    assert pictures(page)
    page.encode()
    return " ".join(" ".join(parsed.words).split())


def hostile(value: Any) -> Any:
    """Return plain values with every text replaced."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, dict):
        return {key: hostile(entry) for key, entry in value.items()}
    return [*map(hostile, value)] if isinstance(value, list | tuple) else value


class TestVersion:
    def test_the_page_of_a_version_escapes_what_comes_from_data(self):
        """Names of features, values of categories, titles, reasons."""
        names = ("title", "outcome", "verdict", "candidates", "importance", "profile",
                 "features", "parameters", "baseline")  # fmt: skip
        plain = card().plain()
        shown = plain | {name: hostile(plain[name]) for name in names}
        written = version_page(convert(shown, UserCard))

        assert words(written)
        assert "<script>" not in written


class TestWeek:
    def test_a_week_says_whether_the_odds_were_right(self):
        one = row(2, outcome="one_class", roc_auc=None, pr_auc=None, lift=())

        usual = words(page())
        assert "As expected." in usual
        # The budget, the deciles and the weeks before are on every page.
        for part in ("The top 10%", "Lift by group", "Top 10%", "Week by week"):
            assert part in usual
        assert "Other than expected." in words(page(row(2, moved=0.8)))
        assert "All outcomes are the same" in words(page(one))

    def test_a_week_judges_its_money_as_its_users(self):
        """Defect: the banner was green over a sum that was off by 21%."""
        money = {
            "value_promised": 790.0,
            "value_observed": 1000.0,
            "value_observed_low": 850.0,
            "value_observed_high": 1200.0,
            "value_error": -0.21,
            "value_error_low": -0.34,
            "value_error_high": -0.07,
            "value_top_share": 0.3,
            "value_gini": 0.5,
            "value_deciles": (),
        }
        off = words(page(row(2, **money)))
        right = words(page(row(2, **money | {"value_error_high": 0.05})))

        assert "Other than expected." in off
        assert "Revenue: 790 USD expected, 1,000 USD actual" in off
        assert "If the next one is off the same way, train the model again." in off
        assert "As expected." in right

    def test_a_week_says_what_came_of_each_kind_with_the_seasons_shift(self):
        """One shift for all may be wrong for customers who were away."""
        rates = {"users": 900, "conversions": 9, "mean_probability": 0.02}
        away = {"category": "presence", "value": "away", "base_rate": 0.01, **rates}
        written = words(page(row(2, log_odds_shift=0.23, categories=[away])))

        assert "shifted by 0.23; away users: expected 2.0%, actual 1.0%" in written

    def test_a_week_says_what_contacting_brought(self):
        said = "Contacting 900 users brought 1,233 USD more than not contacting them."
        written = words(page(uplifts=[{**UPLIFT, "brought": said}]))

        assert said in written
        assert "too early to say" in written

    def test_the_page_of_a_week_escapes_what_comes_from_data(self):
        named = replace(SHOP, title=HOSTILE, outcome=HOSTILE)
        texts = {
            "alarms": [{**ALARM, "message": HOSTILE}],
            "uplifts": [{**UPLIFT, "audience": HOSTILE}],
        }
        written = page(use_case=named, **texts)

        assert "2.91" in words(written)
        assert "<script>" not in written
