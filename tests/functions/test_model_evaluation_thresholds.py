"""
Thresholds of an evaluation, specified: at which users are acted on, and what comes.
"""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pytest
from sklearn import metrics

from propensity import usecases
from propensity.tables import every as tables
from tests import shop
from tests.docs.pages import blocks
from tests.functions.evaluated import MONDAY, evaluations
from tests.published import publish
from tests.rows import CARD, append_rows
from tests.shop import DAY, WEEK, purchase

PARAMETERS = dict(usecases.load("ga4_purchase").parameters)


class TestThresholds:
    """Users to act on: by the threshold of earlier weeks, and by a budget."""

    WEEKS = tuple(MONDAY + n * WEEK for n in range(6))

    @staticmethod
    def buyers(scores: dict[str, float], week: date) -> list[str]:
        """Who buys in a week, about as often as foretold."""
        generator = np.random.default_rng(week.toordinal())
        return [user for user, p in scores.items() if generator.random() < p]

    def bought(self, scores: dict[str, float], *weeks: date) -> list[shop.Row]:
        return [
            purchase(user, week + DAY)
            for week in weeks
            for user in self.buyers(scores, week)
        ]

    def best_of(self, scores: dict[str, float], *weeks: date) -> float:
        """The threshold with the highest F1 on weeks, by scikit-learn, tried one by
        one; the highest of those that are equal."""
        probability = np.tile(list(scores.values()), len(weeks))
        label = np.concatenate(
            [
                [user in set(self.buyers(scores, week)) for user in scores]
                for week in weeks
            ]
        )
        by_threshold = {
            threshold: metrics.f1_score(label, probability >= threshold)
            for threshold in sorted(set(probability), reverse=True)
        }
        return max(
            by_threshold, key=lambda threshold: round(by_threshold[threshold], 12)
        )

    @pytest.fixture
    def place(self, shop_of, scores):
        """Six weeks of one publication each, all outcomes there."""
        place = shop_of(self.bought(scores, *self.WEEKS))
        for week in self.WEEKS:
            publish(place.warehouse, week, scores)
        return place

    @pytest.mark.parametrize(
        "runs",
        [WEEKS[-1:], pytest.param(WEEKS, marks=pytest.mark.long)],
        ids=["caught up with", "week by week"],
    )
    def test_are_the_best_on_the_weeks_before(self, place, scores, runs):
        """Of the weeks whose outcomes ended in the 28 days before, and never of the
        week itself: week by week, as the scheduler runs it, or where no earlier run
        has evaluated any. Weeks that were missed are caught up with."""
        for week in runs:
            place.run("model_evaluation", week + WEEK)
        rows = evaluations(place)
        probability = np.array(list(scores.values()))

        assert rows[0]["best_threshold"] is None
        assert [row["status"] for row in rows] == [*["final"] * 5, "provisional"]
        for number, row in enumerate(rows[1:], start=1):
            before = self.WEEKS[max(0, number - 4) : number]
            label = np.isin(list(scores), self.buyers(scores, row["week"]))
            called = probability >= row["best_threshold"]

            assert row["best_threshold"] == self.best_of(scores, *before)
            assert row["users_at_best"] == called.sum()
            assert row["true_positives_at_best"] == (called & label).sum()
            assert [
                row[f"{name}_at_best"] for name in ("precision", "recall", "f1")
            ] == pytest.approx(
                [
                    metrics.precision_score(label, called),
                    metrics.recall_score(label, called),
                    metrics.f1_score(label, called),
                ]
            )
        assert rows[1]["recall_at_best"] > rows[1]["recall"]

    @pytest.mark.long
    def test_stay_when_a_week_is_evaluated_again(self, place, scores):
        """Late rows of the week before change the figures of both weeks, and not the
        later one's threshold: it is the best on what was known when the week began."""
        first, second = self.WEEKS[:2]
        place.run("model_evaluation", first + WEEK)
        late = [
            purchase(f"u{n}", week + DAY) for n in range(90) for week in (first, second)
        ]
        shop.load(place.workplace, [*self.bought(scores, *self.WEEKS), *late])
        [final, provisional] = place.run("model_evaluation", second + WEEK)["weeks"]
        again = place.run("model_evaluation", second + 2 * WEEK)["weeks"][0]

        assert (final["week"], final["status"]) == (str(first), "final")
        assert final["conversions"] > len(self.buyers(scores, first))
        assert (again["week"], again["status"]) == (str(second), "final")
        assert provisional["best_threshold"] == self.best_of(scores, first)
        assert again["best_threshold"] == self.best_of(scores, first)

    def test_are_of_no_outcome_that_ends_after_the_week_begins(self, shop_of, scores):
        """Weeks overlap: outcomes of the first are not known when the second begins."""
        later = MONDAY + 3 * DAY
        place = shop_of(self.bought(scores, MONDAY, later))
        for week in (MONDAY, later):
            publish(place.warehouse, week, scores)
        weeks = place.run("model_evaluation", later + WEEK)["weeks"]

        assert [row["week"] for row in weeks] == [str(MONDAY), str(later)]
        assert [row["best_threshold"] for row in weeks] == [None, None]

    @pytest.mark.long
    def test_are_the_training_s_where_no_week_is_known(self, place):
        """Of the version that was published; without earlier weeks, or with too few
        conversions in them."""
        row = {
            "use_case": "ga4_purchase",
            "model_version": 0,
            "training_date": MONDAY,
            "best_threshold": 0.25,
            "card": json.dumps({**CARD, "statement_parameters": PARAMETERS}),
        }
        append_rows(place.warehouse, tables.TRAINING_METADATA, [row])
        unsure = place.with_constants(minimum_conversions=1000)
        for week in self.WEEKS[:2]:
            unsure.run("model_evaluation", week + WEEK)
        rows = evaluations(place)

        assert [row["best_threshold"] for row in rows] == [0.25, 0.25]
        assert rows[0]["f1_at_best"] is not None

    @pytest.mark.long
    def test_and_the_budget_are_in_the_answer(self, place, scores):
        """Counts by threshold are in the table alone."""
        place.run("model_evaluation", self.WEEKS[0] + WEEK)
        budgeted = place.with_settings(PROPENSITY_BUDGET="20")
        [_, week] = budgeted.run("model_evaluation", self.WEEKS[1] + WEEK)["weeks"]
        probability = np.array(list(scores.values()))
        label = np.isin(list(scores), self.buyers(scores, self.WEEKS[1]))

        assert "thresholds" not in week
        assert (week["budget"], week["users_at_budget"]) == ("20", 20)
        hits = week["true_positives_at_budget"]
        above = probability > np.sort(probability)[-20]
        assert label[above].sum() <= hits <= label[above].sum() + 20 - above.sum()
        assert week["precision_at_budget"] == pytest.approx(hits / 20)
        assert week["recall_at_budget"] == pytest.approx(hits / label.sum())
        assert week["lift_at_budget"] == pytest.approx(hits / 20 / label.mean())


class TestPage:
    def test_counts_any_threshold_of_any_week(self, shop_of, scores):
        """The README's statement gives a week's figures at each threshold, and none
        where nobody has bought: there is nothing to recall."""
        buyers = [user for user, p in scores.items() if p > 0.3]
        place = shop_of([purchase(user, MONDAY + DAY) for user in buyers])
        for week in (MONDAY, MONDAY + WEEK):
            publish(place.warehouse, week, scores)
        place.run("model_evaluation", MONDAY + 2 * WEEK)
        [page] = blocks("03-ModelEvaluation/README.md", "sql")
        rows = place.rows(page.replace("propensity.ma_", "ma_"))
        probability = np.array(list(scores.values()))
        label = np.isin(list(scores), buyers)

        assert {row["week"] for row in rows} == {MONDAY, MONDAY + WEEK}
        for row in rows:
            called = probability >= row["threshold"]
            bought = label & (row["week"] == MONDAY)
            assert row["users"] == called.sum()
            assert row["precision"] == pytest.approx(bought[called].mean())
            assert row["recall"] == (
                pytest.approx(bought[called].sum() / bought.sum())
                if bought.any()
                else None
            )
