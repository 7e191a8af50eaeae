"""What users were promised to pay and paid, specified: on the pages that show it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from offline.dashboard.amounts import charts, sentences, tiles
from offline.dashboard.site import site
from tests.offline.dashboard.rows import (
    AS_OF,
    KNOWN,
    PROMISE,
    VALUE,
    WEEK,
    WINDOW,
    evaluation,
    publication,
    readings,
)
from tests.offline.dashboard.test_site import words
from tests.shop import DAY

PAGE = "use-case-ga4_purchase.html"


def sentences_of(*weeks, published=()) -> str:
    return " ".join(text for text, _ in sentences(weeks, published))


def pages(*weeks, published=()) -> dict[str, str]:
    rows = {"evaluations": weeks, "publications": published}
    return site(readings(rows), KNOWN, WINDOW, place="p.d")


class TestSentences:
    def test_say_what_was_paid_of_a_promise(self):
        assert (
            "In the week of 2026-02-24 users were promised to pay 12,000.50 in all, "
            "and paid 13,050.50, 1.09 of it."
        ) in sentences_of(evaluation(**VALUE))

    def test_add_up_final_weeks(self):
        """A week's sum says little; a provisional one is left out of the sum."""
        weeks = [
            evaluation(1, status="provisional", **VALUE),
            evaluation(2, **VALUE | {"value_observed": Decimal(9_999)}),
            evaluation(3, **VALUE),
        ]

        assert sentences_of(*weeks).endswith(
            "Over 2 final weeks 24,001.00 were promised, and 23,049.50 came: 0.96 of "
            "it."
        )

    def test_add_up_a_purchase_once(self):
        """Weeks that share days with a newer one are left out: who publishes each day
        would have each purchase seven times."""
        days = [
            evaluation(
                2, week=week, prediction_as_of=week, week_end=week + WEEK, **VALUE
            )
            for week in (AS_OF - 2 * WEEK - n * DAY for n in range(8))
        ]

        assert "Over 2 final weeks 24,001.00 were promised" in sentences_of(*days)

    def test_add_up_a_promise_once(self):
        """Defect: where 01 runs every second week, the week between is measured by the
        probabilities of the one before, and its promise was in the sum twice."""
        weeks = [
            evaluation(n, **VALUE)
            | {"prediction_as_of": AS_OF - (n + n % 2) * WEEK, "status": "final"}
            for n in range(1, 7)
        ]

        assert sentences_of(*weeks).endswith(
            "Over 3 final weeks 36,001.50 were promised, and 39,151.50 came: 1.09 of "
            "it."
        )

    def test_of_another_horizon_name_its_days(self):
        """What two weeks of outcomes paid is not what a week did."""
        fortnights = [
            evaluation(n + 1, **VALUE) | {"week_end": AS_OF - (n - 1) * WEEK}
            for n in range(4)
        ]

        text = sentences_of(*fortnights)
        assert "In the 14 days from 2026-02-24 on users were promised" in text
        assert "Over 2 final spans of 14 days 24,001.00 were promised" in text
        assert "week" not in text

    def test_are_about_the_newest_week_with_sums(self):
        """A version of before there were amounts has none."""
        assert "the week of 2026-02-17" in sentences_of(
            evaluation(1), evaluation(2, **VALUE)
        )

    def test_make_up_no_ratio(self):
        """Of a promise of nothing the sums alone are said."""
        changed = {"value_promised": Decimal(0), "value_observed": Decimal(7)}

        text = sentences_of(evaluation(1, **changed))
        assert text.endswith("and paid 7.00.")

    def test_are_none_without_amounts(self):
        """Nor is there a tile or a chart."""
        assert sentences_of(evaluation(1), evaluation(2)) == ""
        assert tiles([evaluation()]) == []
        assert charts([evaluation()]) == []


class TestPromise:
    """Of the newest publication, whose week has no outcomes yet."""

    def test_is_told(self):
        """On the overview, and on the use case's page as a tile and in the chart."""
        files = pages(
            evaluation(1, **VALUE),
            evaluation(2, **VALUE),
            published=[publication(**PROMISE), publication(1, **PROMISE)],
        )

        for name in ("index.html", PAGE):
            assert (
                "In the 7 days from 2026-03-03 on users are promised to pay 14,000.25 "
                "in all."
            ) in words(files[name])
        text = words(files[PAGE])
        assert "Promised from 2026-03-03 on 14k" in text
        assert "the last of which is not paid yet" in text

    def test_comes_before_any_week_has_outcomes(self):
        """The first publication of all has a promise, too."""
        assert sentences_of(published=[publication(**PROMISE)]).startswith(
            "In the 7 days"
        )
        [tile] = tiles([], [publication(**PROMISE)])
        assert tile.source == "publications.value_promised"

    @pytest.mark.parametrize(
        "published",
        [
            # Its week has been evaluated: what came stands beside it.
            [publication(1, **PROMISE)],
            # BigQuery has scored, or the version is of before there were amounts; an
            # older promise is about a week that is over.
            [publication(), publication(1, **PROMISE)],
            [],
        ],
    )
    def test_is_none_where_nothing_is_open(self, published):
        weeks = [evaluation(1, **VALUE), evaluation(2, **VALUE)]

        assert sentences_of(*weeks, published=published) == sentences_of(*weeks)
        assert tiles(weeks, published) == tiles(weeks)
        assert charts(weeks, published) == charts(weeks)


class TestPages:
    def test_have_sums_of_each_week(self):
        """The overview what it is worth; the use case a tile, two charts, columns."""
        files = pages(evaluation(1, **VALUE), evaluation(2, **VALUE))

        assert "users were promised to pay 12,000.50" in words(files["index.html"])
        text = words(files[PAGE])
        assert "12k / 13.1k" in text
        assert "12,000.50 13,050.50 1.09" in text
        for heading in ("Promised and paid by week", "Paid over promised by week"):
            assert heading in text

    def test_keep_their_columns_where_one_week_has_no_sums(self):
        """Those of the others stand where they belong."""
        text = words(pages(evaluation(1), evaluation(2, **VALUE))[PAGE])

        assert "— — —" in text
        assert "12,000.50 13,050.50" in text

    def test_have_no_word_of_it_without_amounts(self):
        """Neither a column nor an empty chart."""
        files = pages(evaluation(1), evaluation(2))

        for name in ("index.html", PAGE):
            for word in ("were promised", "Promised", "Paid"):
                assert word not in words(files[name])
