"""
Rows to act on, specified: from a threshold on, and the best of a budget.

``scored`` draws rows with ties and weights, as the tests of the metrics do.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from propensity import tables
from propensity.budget import Budget
from propensity.learning import metrics, thresholds
from propensity.learning.metrics import outcomes
from propensity.learning.thresholds import Metrics, Selection, by_threshold, pooled
from tests.propensity.learning.scored_rows import Rows, calibrated, scored

TENTH = Budget(share=0.1)


def f1_at(rows: Rows, threshold: float) -> float:
    """scikit-learn's F1 of calls from a threshold on."""
    return reference.f1_score(
        rows.label, rows.probability >= threshold, sample_weight=rows.weight
    )


def figures(rows: Rows, threshold: float | None, budget: Budget = TENTH) -> dict:
    """The figures of a selection."""
    columns = measured(rows, threshold, budget).columns()
    return {name: value for name, value in columns.items() if name != "lift"}


def measured(
    rows: Rows, threshold: float | None, budget: Budget = TENTH, **more: bool
) -> Metrics:
    """All metrics of scored rows."""
    selection = Selection(budget=budget, threshold=threshold)
    return thresholds.measured(rows.outcomes, selection, threshold=0.5, seed=1, **more)


class TestBestThreshold:
    @given(scored())
    def test_has_the_highest_f1_there_is(self, rows):
        """No probability of the rows, as a threshold, has a higher one."""
        best = thresholds.best_threshold(rows.outcomes)

        highest = max(f1_at(rows, threshold) for threshold in set(rows.probability))
        assert f1_at(rows, best) == pytest.approx(highest)
        assert best in rows.probability

    def test_of_equal_ones_calls_the_fewest(self):
        """One hit of one call, and two of four: F1 is 2/3 at both."""
        rows = Rows(np.array([0.9, 0.6, 0.6, 0.6]), np.array([1, 0, 0, 1]), np.ones(4))

        assert f1_at(rows, 0.9) == f1_at(rows, 0.6) == pytest.approx(2 / 3)
        assert thresholds.best_threshold(rows.outcomes) == 0.9

    def test_of_a_constant_score_calls_everybody(self):
        """There is one probability, so there is one threshold."""
        rows = Rows(np.full(50, 0.07), np.arange(50) < 5, np.ones(50))
        best = thresholds.best_threshold(rows.outcomes)

        assert best == 0.07
        values = figures(rows, best)
        assert (values["users_at_best"], values["recall_at_best"]) == (50, 1)
        assert values["precision_at_best"] == pytest.approx(0.1)

    @pytest.mark.parametrize("label", [[0, 0], [1, 1], []], ids=str)
    def test_of_one_class_is_none(self, label):
        """Without label 1 no threshold is right; without label 0 none is wrong; and a
        week without rows has none."""
        observed = outcomes(np.array([0.1, 0.4])[: len(label)], np.array(label))

        assert thresholds.best_threshold(observed) is None

    def test_of_calibrated_rare_probabilities_is_far_below_a_half(self):
        """At 0.5 nobody is called; at the best threshold, which is about half of its
        F1, many are, and the figures say something."""
        generator = np.random.default_rng(1)
        p = generator.beta(0.6, 12, 20_000)
        label = (generator.random(len(p)) < p).astype(int)
        rows = Rows(p, label, np.ones(len(p)))
        best = thresholds.best_threshold(rows.outcomes)
        values = figures(rows, best)

        assert metrics.confusion(rows.outcomes, threshold=0.5)["recall"] < 0.01
        assert best == pytest.approx(values["f1_at_best"] / 2, abs=0.02)
        assert values["recall_at_best"] > 0.3


class TestFiguresAtAThreshold:
    @given(scored(), st.sampled_from([0.0, 0.2, 0.5, 1.0]))
    def test_are_those_of_calls_at_it(self, rows, threshold):
        """Which ``test_metrics`` compares with scikit-learn; and the rows above."""
        called = rows.probability >= threshold
        calls = metrics.confusion(rows.outcomes, threshold=threshold)
        values = figures(rows, threshold)

        users, hits = rows.weight[called].sum(), calls["true_positives"]
        assert values["users_at_best"] == pytest.approx(users, abs=1)
        assert values["true_positives_at_best"] == pytest.approx(hits, abs=0.5)
        for name in ("precision", "recall", "f1"):
            assert values[f"{name}_at_best"] == calls[name]

    def test_are_none_without_one(self):
        """Where no earlier rows gave a threshold; the budget has its figures."""
        values = figures(calibrated(200, seed=3), None)

        assert {v for name, v in values.items() if name.endswith("_at_best")} == {None}
        assert values["precision_at_budget"] is not None


class TestFiguresOfABudget:
    @given(st.integers(2, 80), st.integers(1, 100), st.integers(0, 2**32))
    def test_are_those_of_a_plain_sort(self, size, count, seed):
        """Without ties: of the rows with the highest probabilities, one by one; of all
        of them where there is room for more."""
        random = np.random.default_rng(seed)
        p = random.permutation(np.linspace(0.01, 0.99, size))
        label = (random.random(size) < 0.4).astype(int)
        label[0] = 1
        best = np.argsort(-p)[:count]
        called = np.isin(np.arange(size), best)
        values = figures(Rows(p, label, np.ones(size)), None, Budget(count=count))

        assert values["users_at_budget"] == min(count, size)
        assert values["true_positives_at_budget"] == pytest.approx(label[best].sum())
        assert values["precision_at_budget"] == pytest.approx(label[best].mean())
        assert values["recall_at_budget"] == pytest.approx(
            reference.recall_score(label, called)
        )
        assert values["f1_at_budget"] == pytest.approx(
            reference.f1_score(label, called)
        )
        assert values["lift_at_budget"] == pytest.approx(
            label[best].mean() / label.mean()
        )

    @given(scored())
    def test_of_a_tenth_have_the_lift_of_the_first_decile(self, rows):
        """Ties at the border are shared out in proportion, as lift does."""
        values = figures(rows, None)
        [first, *_] = metrics.lift_by_decile(rows.outcomes)

        assert values["users_at_budget"] == pytest.approx(first["users"])
        assert values["true_positives_at_budget"] == pytest.approx(first["conversions"])
        assert values["lift_at_budget"] == pytest.approx(first["lift"])

    def test_count_rows_by_their_weight(self):
        """A row that stands for nine others is ten of the budget."""
        rows = Rows(
            np.array([0.9, 0.5, 0.1]), np.array([1, 0, 0]), np.array([1.0, 10.0, 10.0])
        )
        repeated = Rows(*(np.repeat(column, [1, 10, 10]) for column in rows[:2]), None)

        assert figures(rows, 0.5, Budget(count=6)) == pytest.approx(
            figures(repeated, 0.5, Budget(count=6))
        )

    def test_of_nobody_converting_have_no_recall(self):
        """Precision is 0, and what would divide by zero is None."""
        rows = Rows(np.array([0.1, 0.3]), np.zeros(2), np.ones(2))
        values = figures(rows, 0.2, Budget(count=1))

        for kind in ("best", "budget"):
            assert values[f"precision_at_{kind}"] == 0
            assert values[f"recall_at_{kind}"] is None
        assert values["lift_at_budget"] is None


class TestCountsByThreshold:
    @given(scored(), st.floats(0, 1))
    def test_of_few_probabilities_are_all_of_them(self, rows, threshold):
        """Up to fifty rows nothing is left out, and each count is that of calls."""
        few = Rows(*(column[:40] for column in rows))
        counts = by_threshold(few.outcomes)

        assert [row["threshold"] for row in counts][0] == few.probability.max()
        for row in counts:
            called = few.probability >= row["threshold"]
            assert row["users"] == pytest.approx(few.weight[called].sum())
            assert row["conversions"] == pytest.approx(
                few.weight[called] @ few.label[called]
            )
        if (few.weight == 1).all():
            assert len(counts) == len(set(few.probability))

    def test_of_many_lose_little(self):
        """Of 100,000 probabilities some hundreds are kept, the last with all rows; the
        best F1 of these is within a hundredth of the best of all."""
        rows = calibrated(100_000, seed=5)
        kept = by_threshold(rows.outcomes)
        best = thresholds.best_threshold(pooled([kept]))
        highest = f1_at(rows, thresholds.best_threshold(rows.outcomes))

        assert len(kept) < 600
        assert kept[-1]["users"] == 100_000
        assert f1_at(rows, best) >= 0.99 * highest

    def test_of_several_weeks_add_up(self):
        """Pooled, two weeks are their rows together."""
        weeks = [calibrated(45, seed=seed) for seed in (6, 7)]
        together = Rows(
            *(np.concatenate(columns) for columns in zip(*weeks, strict=True))
        )
        pooled_weeks = pooled(by_threshold(week.outcomes) for week in weeks)

        assert pooled_weeks.probability == pytest.approx(together.outcomes.probability)
        assert pooled_weeks.users == pytest.approx(together.outcomes.users)
        assert pooled_weeks.conversions == pytest.approx(together.outcomes.conversions)

    def test_of_no_week_are_none(self):
        """Nothing before a week is no outcome."""
        assert len(pooled([]).users) == 0
        assert by_threshold(outcomes(np.empty(0), np.empty(0))) == []


class TestMetrics:
    def test_are_columns_of_both_tables(self):
        names = {*measured(calibrated(500, seed=8), 0.2).columns()}

        for table in (tables.TRAINING_METADATA, tables.EVALUATION):
            assert names <= {column.name for column in table.columns}

    def test_of_anomaly_scores_read_none_as_a_probability(self):
        """Areas, lift, threshold and budget need a ranking alone."""
        rows = calibrated(500, seed=11)
        ranks = measured(rows, 0.2, is_anomaly=True)
        whole = measured(rows, 0.2)
        lacking = {
            name
            for name, value in whole.columns().items()
            if value is not None and ranks.columns()[name] is None
        }

        assert ranks.roc_auc == whole.roc_auc
        assert ranks.precision_at_budget == whole.precision_at_budget
        assert lacking >= {"brier", "log_loss", "precision", "mean_probability"}
        assert {part["mean_probability"] for part in ranks.lift} == {None}

    @given(scored(), st.floats(0.01, 1))
    def test_rates_are_never_above_all(self, rows, share):
        """Whatever is selected: a budget, a threshold, groups."""
        values = measured(rows, 0.3, Budget(share=share)).columns()
        rates = [
            values[f"{name}{where}"]
            for name in ("precision", "recall", "f1")
            for where in ("", "_at_best", "_at_budget")
        ]
        rates += [part["conversions"] / part["users"] for part in values["lift"]]

        assert all(0 <= rate <= 1 for rate in rates if rate is not None)
