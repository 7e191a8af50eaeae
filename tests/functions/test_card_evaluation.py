"""
03-ModelEvaluation of a use case that scores events, specified on emulators.

No model is needed: tests write the log that the stream would have written.
"""

from __future__ import annotations

import json
import uuid
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from propensity import tables
from propensity.edges.columns import record
from propensity.learning import metrics as learning_metrics
from tests.functions.conftest import Place
from tests.scored_cards import DAY, START, inference, store, truth

NAME = "card_fraud"
FIRST = START.date()
N = 200
PROBABILITY_FIGURES = (
    "brier", "log_loss", "calibration_error", "mean_probability", "precision",
    "recall", "f1", "true_positives",
)  # fmt: skip


@pytest.fixture
def place(borrow) -> Place:
    """A place without an export: all it has is transactions."""
    return borrow("")


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Scores of a day's transactions, and labels that they tell something of."""
    generator = np.random.default_rng(5)
    score = np.round(generator.beta(1, 6, N), 3)
    return score, (generator.random(N) < 2 * score).astype(int)


def evaluate(place: Place, as_of: date) -> list[dict[str, Any]]:
    """Run 03; return its rows as they stand in the table."""
    place.run("model_evaluation", as_of, use_case=NAME)
    return place.rows(
        "SELECT * FROM ma_model_evaluation ORDER BY week, model_version, is_shadow"
    )


def trained(
    place: Place,
    version: int,
    *,
    as_of: date,
    at: datetime,
    alert_threshold: float | None = None,
) -> None:
    """Record a version as trained at a moment on what was before an as-of date."""
    row = {
        "use_case": NAME,
        "model_version": version,
        "training_date": at.date(),
        "trained_at": at,
        "as_of": as_of,
        "alert_threshold": alert_threshold,
    }
    place.warehouse.append(
        tables.TRAINING_METADATA,
        record(row, tables.TRAINING_METADATA),
        job_id=f"t{uuid.uuid4().hex}",
    )


def scored(
    scores: Any, kind: str = "probability", *, day: int = 0, **changed: Any
) -> list[dict[str, Any]]:
    """Return the log of a day's transactions, t0, t1 and so on of that day."""
    values = {"model_version": 0, **changed}
    return [
        inference(
            f"{day}-t{n}",
            START + day * DAY + timedelta(minutes=n),
            **{kind: None if value is None else float(value), **values},
        )
        for n, value in enumerate(scores)
    ]


def truths(labels: Any, *, day: int = 0, after: int = 2) -> list[dict[str, Any]]:
    """Return what is found of them some days later; None is never found."""
    return [
        truth(f"{day}-t{n}", START + (day + after) * DAY, int(label))
        for n, label in enumerate(labels)
        if label is not None
    ]


class TestFigures:
    def test_are_of_scores_as_they_were_given(self, place, drawn):
        """Of the rows whose truth is known, whatever served when it came."""
        score, label = drawn
        store(
            place.warehouse,
            scored(score) + scored(score),
            truths([None if n % 4 == 0 else one for n, one in enumerate(label)]),
        )
        [row] = [r for r in evaluate(place, FIRST + 3 * DAY) if r["week"] == FIRST]
        known = np.arange(N) % 4 != 0

        assert (row["model_version"], row["outcome"]) == (0, "evaluated")
        assert (row["week"], row["week_end"]) == (FIRST, FIRST + DAY)
        assert (row["users"], row["conversions"]) == (150, label[known].sum())
        assert row["roc_auc"] == pytest.approx(
            metrics.roc_auc_score(label[known], score[known])
        )
        assert row["brier"] == pytest.approx(
            metrics.brier_score_loss(label[known], score[known])
        )
        assert row["roc_auc_low"] <= row["roc_auc"] <= row["roc_auc_high"]
        assert row["is_shadow"] is False

    def test_of_anomaly_scores_are_those_of_a_ranking(self, place, drawn):
        """An anomaly score is no probability: what reads it as one is null."""
        score, label = drawn
        store(place.warehouse, scored(score, "anomaly_score"), truths(label))
        row = evaluate(place, FIRST + 3 * DAY)[0]

        assert row["roc_auc"] == pytest.approx(metrics.roc_auc_score(label, score))
        assert row["pr_auc"] == pytest.approx(
            metrics.average_precision_score(label, score)
        )
        assert {row[name] for name in PROBABILITY_FIGURES} == {None}

    def test_are_of_each_version_and_of_each_shadow(self, place, drawn):
        """Of one day, two champions and a shadow have a row each."""
        score, label = drawn
        store(
            place.warehouse,
            scored(score[:100])
            + [
                {**row, "event_id": f"0-t{100 + n}", "user_id": f"0-t{100 + n}"}
                for n, row in enumerate(scored(score[100:], model_version=1))
            ]
            + scored(1 - score, model_version=2, is_shadow=True),
            truths(label),
        )
        found = evaluate(place, FIRST + 1 * DAY + 2 * DAY)
        rows = [row for row in found if row["week"] == FIRST]

        assert [(r["model_version"], r["is_shadow"], r["users"]) for r in rows] == [
            (0, False, 100),
            (1, False, 100),
            (2, True, N),
        ]
        assert rows[2]["roc_auc"] == pytest.approx(
            metrics.roc_auc_score(label, 1 - score)
        )

    def test_are_the_same_when_run_again(self, place, drawn):
        """Twice equals once, whatever came in between that is of no matter."""
        score, label = drawn
        store(place.warehouse, scored(score), truths(label))
        first = evaluate(place, FIRST + 3 * DAY)
        again = evaluate(place, FIRST + 3 * DAY)
        for row in first + again:
            row.pop("evaluated_at"), row.pop("bytes_billed")

        assert again == first


class TestThresholds:
    """Of a day: the best on the days before, and the best hundredth."""

    def test_are_the_best_on_the_days_before_of_the_same_version(self, place, drawn):
        """An anomaly score has one as well, on a scale of its own."""
        score, label = drawn
        store(
            place.warehouse,
            [
                row
                for day in (0, 1)
                for row in scored(score, day=day)
                + scored(
                    1 - score**2,
                    "anomaly_score",
                    day=day,
                    model_version=1,
                    is_shadow=True,
                )
            ],
            truths(label) + truths(label, day=1),
        )
        rows = evaluate(place, FIRST + 4 * DAY)
        before, days = rows[:2], rows[2:4]

        assert [row["week"] for row in rows[:4]] == [FIRST] * 2 + [FIRST + DAY] * 2
        assert {row["best_threshold"] for row in before} == {None}
        for row, mine in zip(days, (score, 1 - score**2), strict=True):
            best = max(
                sorted(set(mine), reverse=True),
                key=lambda one: round(metrics.f1_score(label, mine >= one), 12),
            )
            called = mine >= best

            assert row["best_threshold"] == pytest.approx(best)
            assert row["best_threshold_source"] == "evaluations"
            assert row["precision_at_best"] == pytest.approx(
                metrics.precision_score(label, called)
            )
            assert row["recall_at_best"] == pytest.approx(
                metrics.recall_score(label, called)
            )

    def test_and_the_budget_is_an_alert_rate(self, place, drawn):
        """A hundredth of the transactions, as the use case says; the names are those
        of the alerts that training measures."""
        score, label = drawn
        store(place.warehouse, scored(score), truths(label))
        row = evaluate(place, FIRST + 3 * DAY)[0]
        [alert] = learning_metrics.alerts(
            score, label, np.ones(N), review_cost=1.0, rates=(0.01,)
        )

        assert (row["budget"], row["users_at_budget"]) == ("1%", alert["alerts"])
        for name in ("true_positives", "precision", "recall"):
            assert row[f"{name}_at_budget"] == pytest.approx(alert[name])


class TestCounts:
    def test_keep_what_nobody_learned_apart(self, place, drawn):
        """Unknown and conflicting ones are counted, and none is taken for 0."""
        score, label = drawn
        told: list[Any] = label.tolist()
        told[0] = told[1] = None
        conflict = truth("0-t2", START + 3 * DAY, 1 - int(label[2]))
        store(place.warehouse, scored(score), [*truths(told), conflict])
        row = evaluate(place, FIRST + 8 * DAY)[0]

        assert row["status"] == "final"
        assert row["unknown_outcomes"] == 2
        assert row["conflicting_outcomes"] == 1
        assert row["users"] == N - 2
        assert row["conversions"] == sum(told[3:]) + 1 - label[2]

    def test_name_frauds_without_a_score(self, place):
        """A transaction that nothing scored, or a model that was not warm, has none."""
        store(
            place.warehouse,
            scored([None] * 4, model_version=-1)
            + scored([None] * 4, "anomaly_score", day=1, is_warm=False),
            truths([1, 0, 0, None]) + truths([1, 1, 0, 0], day=1),
        )
        rows = evaluate(place, FIRST + 4 * DAY)
        told = [
            (r["model_version"], r["outcome"], r["unscored_converters"]) for r in rows
        ]

        assert told[:2] == [(-1, "no_predictions", 1), (0, "no_predictions", 2)]
        assert rows[0]["roc_auc"] is None


class TestDays:
    @pytest.mark.long
    def test_are_provisional_until_the_truth_is_due(self, place, drawn):
        """For the truth's delay figures may change; then they are final."""
        score, label = drawn
        store(place.warehouse, scored(score), truths(label[:100]))
        early = evaluate(place, FIRST + 7 * DAY)[0]
        store(
            place.warehouse,
            truths=[
                truth(f"0-t{n}", START + 6 * DAY, int(one))
                for n, one in enumerate(label)
            ],
        )
        late = evaluate(place, FIRST + 8 * DAY)[0]
        store(place.warehouse, truths=truths(1 - label, after=8))
        after = evaluate(place, FIRST + 12 * DAY)[0]

        assert (early["status"], early["users"]) == ("provisional", 100)
        assert early["unknown_outcomes"] == 0
        assert (late["status"], late["users"]) == ("final", N)
        assert after == late

    def test_that_were_missed_are_caught_up_with(self, place, drawn):
        """A run evaluates all days with scores, and says where there are none."""
        score, label = drawn
        for day in (0, 1, 3):
            store(
                place.warehouse,
                scored(score, day=day),
                truths(label, day=day, after=1),
            )
        rows = evaluate(place, FIRST + 6 * DAY)

        assert [(r["week"], r["outcome"]) for r in rows] == [
            (FIRST, "evaluated"),
            (FIRST + DAY, "evaluated"),
            (FIRST + 3 * DAY, "evaluated"),
            (FIRST + 5 * DAY, "no_predictions"),
        ]

    @pytest.mark.parametrize("label", [0, 1])
    def test_of_one_class_say_so(self, place, drawn, label):
        """There is no ROC curve, and no crash."""
        store(place.warehouse, scored(drawn[0]), truths([label] * N))
        row = evaluate(place, FIRST + 3 * DAY)[0]

        assert (row["outcome"], row["roc_auc"]) == ("one_class", None)

    def test_without_any_truth_are_of_no_class(self, place, drawn):
        """Nothing is known yet: a row without figures, to be written again."""
        store(place.warehouse, scored(drawn[0]))
        row = evaluate(place, FIRST + DAY)[0]

        assert (row["outcome"], row["users"]) == ("one_class", 0)
        assert row["status"] == "provisional"


class TestScoreFirstLearnAfter:
    def test_leaves_out_what_the_model_has_learned(self, place, drawn):
        """A version scores a transaction that it was trained on, sent again: the score
        is no forecast, and does not count."""
        score, label = drawn
        now = START + 10 * DAY
        trained(place, 1, as_of=FIRST + 5 * DAY, at=now)
        store(
            place.warehouse,
            scored(score)
            + scored(label, model_version=1, scored_at=now + DAY)
            + scored(score, model_version=1, day=6, scored_at=now + DAY),
            truths(label) + truths(label, day=6, after=1),
        )
        rows = evaluate(place, FIRST + 12 * DAY)
        told = [(row["week"], row["model_version"]) for row in rows]

        assert told == [
            (FIRST, 0),
            (FIRST + 6 * DAY, 1),
            (FIRST + 11 * DAY, -1),
        ]

    def test_counts_what_came_after_the_training(self, place, drawn):
        """An old transaction that nobody had logged is new to the model."""
        score, label = drawn
        now = START + 10 * DAY
        trained(place, 1, as_of=FIRST + 5 * DAY, at=now)
        store(
            place.warehouse,
            scored(score, model_version=1, scored_at=now + DAY),
            truths(label),
        )
        row = evaluate(place, FIRST + 12 * DAY)[0]

        assert (row["model_version"], row["users"]) == (1, N)

    def test_leaves_out_what_was_loaded(self, place, drawn):
        """History that was never scored is no day without predictions."""
        score, label = drawn
        store(
            place.warehouse,
            scored([None] * N, model_version=-1, source="loaded"),
            truths(label),
        )
        [row] = evaluate(place, FIRST + 3 * DAY)

        assert row["week"] == FIRST + 2 * DAY


class TestPredictions:
    def test_are_refused_for_events(self, place):
        """01 scores users by day; transactions are scored as they happen."""
        refused = place.post("predictions", {"use_case": NAME, "as_of": str(FIRST)})

        assert refused.status_code == 400
        assert refused.json["field"] == "use_case"
        assert "as it happens" in refused.json["message"]


class TestCost:
    """What alerts of the day cost, at the threshold that training chose."""

    AMOUNTS = (100.1, 0.2, 7.0, 30.05, 9.0)
    SCORES = (0.9, 0.8, 0.3, 0.2, 0.1)
    LABELS = (1, 0, 0, 1, None)

    def scored(self) -> list[dict[str, Any]]:
        """Five transactions with amounts: one fraud above 0.5, one below."""
        return [
            {**row, "features": json.dumps({"Amount": amount})}
            for row, amount in zip(scored(self.SCORES), self.AMOUNTS, strict=True)
        ]

    def evaluated(self, place: Place, threshold: float | None) -> dict[str, Any]:
        at = START - DAY
        trained(place, 0, as_of=at.date(), at=at, alert_threshold=threshold)
        store(place.warehouse, self.scored(), truths(self.LABELS))
        [row] = [r for r in evaluate(place, FIRST + 3 * DAY) if r["week"] == FIRST]
        return row

    def test_is_of_reviews_and_missed_amounts(self, place):
        """Exact, as the amounts were sent; an unknown truth costs nothing."""
        row = self.evaluated(place, 0.5)

        assert (row["alerted"], row["alerted_conversions"]) == (2, 1)
        assert row["review_cost"] == Decimal(5)
        assert row["cost"] == Decimal("40.05")
        assert row["cost_without"] == Decimal("130.15")
        assert row["saved"] == Decimal("90.1")
        assert row["saved_share"] == pytest.approx(90.1 / 130.15)
        assert row["saved_low"] < row["saved"] < row["saved_high"]
        assert row["alert_threshold"] == 0.5

    def test_is_not_known_of_a_version_without_a_threshold(self, place):
        """One from before there were any, or that had no fraud to choose by."""
        row = self.evaluated(place, None)

        assert row["roc_auc"] is not None
        assert (row["cost"], row["saved"], row["alerted"]) == (None, None, None)
