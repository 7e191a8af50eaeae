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
