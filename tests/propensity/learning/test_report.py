"""
Pages of versions and weeks, specified: whole HTML that runs nothing and escapes all.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import pytest
from msgspec import convert
from msgspec.structs import replace

from propensity import usecases
from propensity.budget import Budget
from propensity.learning import season
from propensity.learning.card import UserCard
from propensity.learning.report import version_page
from propensity.measures import metrics
from propensity.measures.thresholds import score_metrics
from propensity.tables.models import Category
from propensity.usecases import UseCase
from propensity.weeks.judged import judgement_of
from propensity.weeks.week_report import week_page
from tests.propensity.learning.cards import card
from tests.propensity.learning.report_pages import (
    ALARM,
    MONDAY,
    UPLIFT,
    WEEK,
    parse,
    pictures,
)
from tests.propensity.learning.shops import SHOP

PURCHASE = usecases.load("ga4_purchase")


@cache
def figures(week: int, *, moved: float) -> dict[str, Any]:
    """Return the figures of a week whose outcomes follow the probabilities, moved."""
    generator = np.random.default_rng(week)
    probability = generator.beta(1, 9, 3_000)
    label = generator.random(3_000) < season.apply(probability, moved)
    of_week = score_metrics(
        metrics.outcomes(probability, label),
        threshold=0.5,
        budget=Budget.parse("10%"),
    )
    return of_week.columns()


def row(week: int = 0, *, moved: float = 0.0, **changes: Any) -> dict[str, Any]:
    """Return a week's row of ``ma_model_evaluation``."""
    first = MONDAY + week * WEEK
    shown = figures(week, moved=moved)
    expected = shown["users"] * shown["mean_probability"]
    return {
        "conversions_low": round(expected / 1.15),
        "conversions_high": round(expected * 1.15),
        "week": first,
        "week_end": first + WEEK,
        "model_version": 3,
        "prediction_as_of": first,
        "status": "final",
        "outcome": "evaluated",
        "evaluated_at": datetime(2026, 3, 19, 12, tzinfo=UTC),
        "data_until": first + WEEK,
        **shown,
        "unscored_converters": 12,
    } | changes


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
        days=use_case.kind.evaluated_days or use_case.horizon_days,
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
    pictures(page)
    page.encode()
    return " ".join(" ".join(parsed.words).split())


def hostile(value: Any) -> Any:
    """Return plain values with every text replaced."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, dict):
        return {key: hostile(entry) for key, entry in value.items()}
    return [*map(hostile, value)] if isinstance(value, list | tuple) else value


def test_the_page_of_a_version_escapes_what_comes_from_data():
    """Names of features, titles, reasons; also with kinds of users."""
    rates = {"users": 900, "conversions": 90, "mean_probability": 0.1}
    active = {"category": "presence", "value": "active", "base_rate": 0.1, **rates}
    kind = Category(**active, lift_at_budget=3.0)
    plain = replace(card(), presence=[kind]).plain()
    names = ("title", "outcome", "verdict", "candidates", "importance", "features")
    shown = plain | {name: hostile(plain[name]) for name in names}
    written = version_page(convert(shown, UserCard))

    assert "3.00 (2.15 to 4.01)" in words(written)
    for curve in ("ROC", "Precision and recall", "Calibration"):
        assert f"<h3>{curve}</h3>" in written
    assert "<script>" not in written


def test_the_page_of_a_week_escapes_what_comes_from_data():
    texts = {
        "alarms": [{**ALARM, "message": HOSTILE}],
        "uplifts": [{**UPLIFT, "audience": HOSTILE}],
    }
    written = page(use_case=replace(SHOP, title=HOSTILE, outcome=HOSTILE), **texts)

    assert "2.91" in words(written)
    assert "<script>" not in written


def test_a_week_has_its_figures_its_kinds_and_what_contacting_brought():
    """One shift for all may be wrong for customers who were away."""
    rates = {"users": 900, "conversions": 9, "mean_probability": 0.02}
    away = {"category": "presence", "value": "away", "base_rate": 0.01, **rates}
    away["lift_at_budget"] = 4.0
    said = "Contacting 900 users brought 1,233 USD more than not contacting them."
    newest = row(2, log_odds_shift=0.23, categories=[away])
    written = words(page(newest, uplifts=[{**UPLIFT, "brought": said}]))
    one_class = row(2, outcome="one_class", roc_auc=None, pr_auc=None, lift=())

    assert "shifted by 0.23; away users: expected 2.0%, actual 1.0%" in written
    assert "4.00 (1.49 to 10.27)" in written
    assert said in written
    assert "As expected." in written
    assert "Other than expected." in words(page(row(2, moved=0.8)))
    assert "All outcomes are the same" in words(page(one_class))


def test_a_page_of_a_week_has_one_verdict():
    """By the range that was published of its users. Revenue is told with its range;
    a week is not judged without one."""
    sums = {"promised": 790.0, "observed": 1000.0, "top_share": 0.3, "gini": 0.5}
    sums |= {"observed_low": 850.0, "observed_high": 1200.0, "deciles": ()}
    money = {f"value_{name}": value for name, value in sums.items()}
    money |= {"value_low": 500.0, "value_high": 900.0}
    paid = words(page(row(2, **money)))

    assert "As expected." in paid
    said = "Revenue: 790 USD expected, 500 to 900 in 19 weeks of 20; actual: 1,000 USD"
    assert said in paid
    without = words(page(row(2, conversions_low=None, moved=0.8)))
    assert "Not judged: its predictions were published without a range" in without


@pytest.mark.parametrize(
    ("conversions", "verdict", "is_alarm"),
    [
        (0, "other than expected", True),
        (70, "other than expected", True),
        (78, "other than expected", False),
        (80, "as expected", False),
        (120, "as expected", False),
        (126, "other than expected", True),
    ],
)
def test_an_alarm_is_of_a_week_that_is_off_and_by_a_quarter(
    conversions, verdict, is_alarm
):
    """Also where nobody bought, as with a broken tag."""
    counts = {"users": 1000, "mean_probability": 0.1, "conversions": conversions}
    limits = {"conversions_low": 80, "conversions_high": 120}
    judged = judgement_of({"prediction_as_of": MONDAY, **counts, **limits}, 7)

    assert (judged.verdict, judged.is_alarm) == (verdict, is_alarm)


def test_a_week_that_an_earlier_list_served_says_so():
    """A Monday's run failed: the range that there is belongs to another week."""
    counts = {"users": 1000, "mean_probability": 0.1, "conversions": 100}
    dates = {"week": MONDAY, "prediction_as_of": MONDAY - WEEK}
    judged = judgement_of({**dates, **counts}, 7)

    assert "Not judged: its predictions are those of" in judged.text


def test_a_quarter_is_judged_once_there_are_enough_and_days_of_events_never():
    counts = {"users": 1000, "mean_probability": 0.1, "conversions": 100}
    quarter = judgement_of({"prediction_as_of": MONDAY, **counts}, 91)

    assert quarter.text.endswith("Not judged: not enough quarters yet")
    assert judgement_of(counts, 7) is None
