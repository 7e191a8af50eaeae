"""
Pages of versions and weeks, specified: whole HTML that runs nothing and escapes all.
"""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from propensity.learning import card as cards
from propensity.learning import event_rows, gate
from propensity.learning.report.version import version_page
from propensity.learning.report.week import verdict, week_page
from tests.propensity.learning import fitted_cards
from tests.propensity.learning.report_pages import parse, pictures
from tests.propensity.learning.test_card import card
from tests.propensity.learning.weeks import ALARM, LIFT, report, row

HOSTILE = '<script>alert("1")</script>&amp;\'`]]>-->\x00\x1b\x85\u202e\ud800\uffff${x}'


def words(page: str) -> str:
    return " ".join(" ".join(parse(page).words).split())


def check(page: str) -> None:
    """Nothing is loaded or run, by the policy too, which stands before all that it is
    about; pictures are XML; the text can be written."""
    tags = parse(page).tags
    inner = [given for tag, given in tags if tag not in ("html", "head")]
    links = [value for _, given in tags for name, value in given.items()
             if name in ("src", "href") or name.startswith("on")]  # fmt: skip

    assert inner[0] == {"charset": "utf-8"}
    assert str(inner[1]["content"]).startswith("default-src 'none'; ")
    assert not {"script", "iframe", "object", "img"} & {tag for tag, _ in tags}
    assert links == ["data:,"]
    assert pictures(page)
    page.encode()


def hostile(value: Any) -> Any:
    """Return plain values with every text replaced."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, dict):
        return {key: hostile(entry) for key, entry in value.items()}
    return [*map(hostile, value)] if isinstance(value, list | tuple) else value


def of_events(model: Any) -> cards.Card:
    """Build the card of a model of transactions."""
    return cards.card(
        fitted_cards.USE_CASE,
        model,
        gate.first_verdict(model, seed=1),
        version=0,
        rows=event_rows.dataset(
            fitted_cards.joined(fitted_cards.drawn(1_000)), fitted_cards.USE_CASE
        ),
        as_of=date(2026, 4, 1),
        data_until=None,
        settle_days=3,
        chosen={},
        trained_at=datetime(2026, 4, 1, tzinfo=UTC),
        bytes_billed=0,
    )


class TestVersion:
    def test_tells_how_good_it_is_and_how_it_was_chosen(self):
        """Histograms, correlations, importance, calibration, lift, candidates."""
        page = version_page(card())
        text = words(page)

        check(page)
        for part in (
            "Of the tenth of users ranked highest", "Promoted:", "ROC AUC",
            "Predicted and observed", "Lift by group", "How it was chosen",
            "Which features matter", "Histograms", "correlate most", "Calibration",
            "recency_days alone", "Held out 2026-01-22",
        ):  # fmt: skip
            assert part in text, part

    def test_draws_bars_as_long_as_their_values(self):
        """The longest takes all the room, and each its interval."""
        shown = card()
        bars = version_page(shown).partition('aria-label="Lift by group"')[2]
        bars, _, rates = bars.partition('aria-label="Predicted and observed by group"')
        lifts = [group["lift"] or 0.0 for group in shown.metrics.lift]
        width = [float(one) for one in re.findall(r'"bar" style="width:([\d.]+)', bars)]

        assert width == [round(100 * lift / max(lifts), 1) for lift in lifts]
        assert rates.count('"whisker"') >= rates.count('"predicted"') >= len(lifts)

    def test_escapes_what_comes_from_data(self):
        """Names of features, values of categories, titles, reasons."""
        plain = asdict(card())
        names = ("title", "outcome", "verdict", "candidates", "importance", "profile",
                 "features", "parameters", "baseline")  # fmt: skip
        changed = {name: hostile(plain[name]) for name in names}
        page = version_page(replace(card(), **changed))

        check(page)
        assert "<script>" not in page

    def test_of_events_tells_what_alerts_save(self):
        page = version_page(of_events(fitted_cards.trained()))

        check(page)
        assert "Alerts at fixed rates" in words(page)
        assert "cheapest threshold" in words(page)

    def test_of_what_is_not_warm_says_so(self):
        few = fitted_cards.joined(fitted_cards.drawn(100))
        cold = fitted_cards.train(few, fitted_cards.ALONE)

        assert "it is not warm yet" in words(version_page(of_events(cold)))


class TestWeek:
    def test_tells_predicted_and_observed(self):
        text = words(week_page(report()))

        check(week_page(report()))
        for part in (
            "It was predicted that", "As predicted.", "Week by week", "ROC AUC",
            "The best 10%", "Lift by group", "No alarm in this week",
        ):  # fmt: skip
            assert part in text, part

    @pytest.mark.parametrize(("moved", "good"), [(0.0, True), (0.8, False)])
    def test_says_whether_the_odds_were_right(self, moved, good):
        assert verdict(row(moved=moved))[0] == good

    def test_of_one_class_has_no_ranking(self):
        one = row(outcome="one_class", roc_auc=None, pr_auc=None, lift=())

        assert "one class" in words(week_page(report(rows=[one])))

    def test_escapes_what_comes_from_data(self):
        texts = {
            "title": HOSTILE,
            "alarms": [{**ALARM, "message": HOSTILE}],
            "lifts": [{**LIFT, "audience": HOSTILE}],
        }
        page = week_page(report(outcome=HOSTILE, **texts))

        check(page)
        assert "<script>" not in page
        assert "2.91" in page

    def test_needs_a_row_with_metrics(self):
        with pytest.raises(ValueError, match="no row"):
            week_page(report(rows=[row(users=None)]))
