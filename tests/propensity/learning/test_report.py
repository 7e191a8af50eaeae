"""
Pages of versions and weeks, specified: whole HTML that runs nothing and escapes all.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from propensity.fraud import rows as event_rows
from propensity.learning import card as cards
from propensity.learning import gate
from propensity.learning.report import verdict, version_page
from tests.propensity.learning import fitted_cards
from tests.propensity.learning.report_pages import parse, pictures
from tests.propensity.learning.shops import SHOP
from tests.propensity.learning.test_card import card
from tests.propensity.learning.weeks import ALARM, LIFT, page, row

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
    assert links == ["data:,"]
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


def of_events(count: int, **changed: Any) -> str:
    """Return the page of a model of so many transactions."""
    rows = fitted_cards.joined(fitted_cards.drawn(count))
    model = fitted_cards.train(rows, **changed)
    written = cards.card(
        fitted_cards.USE_CASE,
        model,
        gate.first_verdict(model),
        version=0,
        rows=event_rows.dataset(rows, fitted_cards.USE_CASE),
        as_of=date(2026, 4, 1),
        trained_at=datetime(2026, 4, 1, tzinfo=UTC),
    )
    return words(version_page(written))


class TestVersion:
    def test_a_version_names_a_feature_that_was_the_same_for_everybody(self):
        """As one whose tag broke before the first snapshot."""
        said = "The same for every user, so the model learned nothing from it: refunds"

        assert said in words(version_page(card()))

    def test_the_page_of_a_version_escapes_what_comes_from_data(self):
        """Names of features, values of categories, titles, reasons."""
        names = ("title", "outcome", "verdict", "candidates", "importance", "profile",
                 "features", "parameters", "baseline")  # fmt: skip
        shown = card() | {name: hostile(card()[name]) for name in names}
        written = version_page(shown)

        assert words(written)
        assert "<script>" not in written

    def test_a_version_of_events_tells_what_alerts_save_or_that_it_is_not_warm(self):
        warm = of_events(1_000)

        assert "Alerts at fixed rates" in warm
        assert "probability times amount" in warm
        assert "it is not warm yet" in of_events(100, use_case=fitted_cards.ALONE)


class TestWeek:
    def test_a_week_tells_predicted_and_observed(self):
        """Of one class there is no ranking."""
        one = row(outcome="one_class", roc_auc=None, pr_auc=None, lift=())
        text = words(page())

        assert "All outcomes are the same" in words(page(one))
        for part in (
            "We expected", "As expected.", "Week by week", "ROC AUC",
            "The top 10%", "Lift by group", "No drift warning in this week",
        ):  # fmt: skip
            assert part in text, part

    @pytest.mark.parametrize(("moved", "good"), [(0.0, True), (0.8, False)])
    def test_a_week_says_whether_the_odds_were_right(self, moved, good):
        assert verdict(row(moved=moved))[0] == good

    def test_the_page_of_a_week_escapes_what_comes_from_data(self):
        named = replace(SHOP, title=HOSTILE, outcome=HOSTILE)
        texts = {
            "alarms": [{**ALARM, "message": HOSTILE}],
            "lifts": [{**LIFT, "audience": HOSTILE}],
        }
        written = page(use_case=named, **texts)

        assert "2.91" in words(written)
        assert "<script>" not in written
