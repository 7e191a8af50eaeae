"""
03-ModelEvaluation of a use case that scores events, specified.

No model is needed: tests write the log that the stream would have written.
Most read one run over some days, each of which is of versions of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from propensity.learning.week_report import report_name
from propensity.tables.models import TRAINING_METADATA
from tests.support.deployment import Deployment
from tests.support.rows import append_rows
from tests.support.scored_cards import DAY, START, inference, store, truth

NAME = "card_fraud"
FIRST = START.date()
N = 200


@pytest.fixture
def deployment(borrow_deployment) -> Deployment:
    """A deployment without an export: all it has is transactions."""
    return borrow_deployment(dataset="")


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Scores of a day's transactions, and labels that they tell something of."""
    generator = np.random.default_rng(5)
    score = np.round(generator.beta(1, 6, N), 3)
    return score, (generator.random(N) < 2 * score).astype(int)


def evaluate(deployment: Deployment, as_of: date) -> list[dict[str, Any]]:
    """Run 03; return its rows as they stand in the table."""
    deployment.run("model_evaluation", as_of, use_case=NAME)
    return deployment.evaluations()


def trained(
    deployment: Deployment,
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
    append_rows(deployment.warehouse, TRAINING_METADATA, [row])


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


# The days, by what is special about them.
SOUND, NO_FRAUD, UNSCORED, COLD, COSTLY = range(5)
BOTH, EMPTY, UNKNOWN, NEWEST = range(5, 9)
AMOUNTS = (100.1, 0.2, 7.0, 30.05, 9.0)


def of_five(day: int, version: int) -> list[dict[str, Any]]:
    """Five transactions with amounts: one fraud above 0.5, one below."""
    rows = scored((0.9, 0.8, 0.3, 0.2, 0.1), day=day, model_version=version)
    return [
        {**row, "features": json.dumps({"Amount": amount})}
        for row, amount in zip(rows, AMOUNTS, strict=True)
    ]


@pytest.fixture(scope="module")
def days(borrow_deployment, drawn) -> Deployment:
    """A deployment whose days were evaluated by one run."""
    score, label = drawn
    known = [None if n % 4 == 0 else outcome for n, outcome in enumerate(label)]
    costs = (1, 0, 0, 1, None)
    log = [
        *scored(score) * 2,
        *scored(score, day=NO_FRAUD, model_version=5),
        *scored([None] * 4, day=UNSCORED, model_version=-1),
        *scored([None] * 4, "anomaly_score", day=COLD, model_version=7, is_warm=False),
        *of_five(COSTLY, 8),
        *scored(score, day=BOTH, model_version=10),
        *scored(score, "anomaly_score", day=BOTH, model_version=11),
        *scored(score, day=UNKNOWN, model_version=12),
    ]
    truth_rows = [
        *truths(known),
        # In conflict with what was found before.
        truth("0-t1", START + 3 * DAY, 1 - int(label[1])),
        *truths([0] * N, day=NO_FRAUD),
        *truths([1, 0, 0, None], day=UNSCORED),
        *truths([1, 1, 0, 0], day=COLD),
        *truths(costs, day=COSTLY),
        *truths(label, day=BOTH),
    ]
    deployment = borrow_deployment(dataset="")
    at = START - DAY
    trained(deployment, 8, as_of=at.date(), at=at, alert_threshold=0.5)
    store(deployment.warehouse, log, truth_rows)
    evaluate(deployment, FIRST + (NEWEST + 1) * DAY)
    return deployment


@pytest.fixture(scope="module")
def rows_of(days) -> Callable[[int], list[dict[str, Any]]]:
    rows = days.evaluations()
    return lambda day: [row for row in rows if row["week"] == FIRST + day * DAY]


class TestFigures:
    def test_figures_are_of_scores_as_they_were_given(self, rows_of, drawn):
        """Of the rows whose truth is known, whatever served when it came."""
        score, label = drawn
        [row] = rows_of(SOUND)
        known = np.arange(N) % 4 != 0
        latest = np.where(np.arange(N) == 1, 1 - label, label)[known]

        assert (row["model_version"], row["outcome"]) == (0, "evaluated")
        assert (row["week"], row["week_end"]) == (FIRST, FIRST + DAY)
        assert (row["users"], row["conversions"]) == (150, latest.sum())
        roc_auc = metrics.roc_auc_score(latest, score[known])
        assert row["roc_auc"] == pytest.approx(roc_auc)
        # Unknown and conflicting ones are counted, and none is taken for 0.
        assert row["status"] == "final"
        assert row["unknown_outcomes"] == N // 4
        assert row["conflicting_outcomes"] == 1

    def test_figures_of_anomaly_scores_are_those_of_a_ranking(self, rows_of):
        """Of the two versions that scored a day; an anomaly score is no probability."""
        probable, anomalous = rows_of(BOTH)

        assert probable["roc_auc"] == anomalous["roc_auc"]
        assert probable["brier"] is not None
        assert anomalous["brier"] is anomalous["mean_probability"] is None

    def test_figures_name_frauds_without_a_score(self, rows_of):
        """A transaction that nothing scored, or a model that was not warm, has none."""
        rows = rows_of(UNSCORED) + rows_of(COLD)
        counts = [
            (r["model_version"], r["outcome"], r["unscored_converters"]) for r in rows
        ]

        assert counts == [(-1, "no_predictions", 1), (7, "no_predictions", 2)]
        assert rows[0]["roc_auc"] is None

    def test_figures_have_the_cost_of_fraud(self, rows_of):
        """At the threshold that training chose, of what is worth a review: exact, as
        the amounts were sent; an unknown truth costs nothing."""
        [row] = rows_of(COSTLY)

        assert (row["alerted"], row["alerted_conversions"]) == (1, 1)
        assert (row["review_cost"], row["alert_threshold"]) == (5, 0.5)
        assert row["cost"] == Decimal("35.05")
        assert row["cost_without"] == Decimal("130.15")
        assert row["saved"] == Decimal("95.1")
        assert row["saved_share"] == pytest.approx(95.1 / 130.15)
        assert row["saved_low"] is None


class TestDays:
    def test_days_are_provisional_until_the_truth_is_due(self, deployment, drawn):
        """For the truth's delay figures may change; then they are final, and stay so in
        a run for an earlier date.

        Defect: figures of the few truths known by the earlier date replaced them."""
        score, label = drawn
        store(deployment.warehouse, scored(score), truths(label[:100]))
        early = evaluate(deployment, FIRST + 7 * DAY)[0]
        rest = zip(range(100, N), label[100:], strict=True)
        late_truths = [truth(f"0-t{n}", START + 6 * DAY, int(one)) for n, one in rest]
        store(deployment.warehouse, truths=late_truths)
        late = evaluate(deployment, FIRST + 8 * DAY)[0]
        store(deployment.warehouse, truths=truths(1 - label, after=8))
        deployment.run("model_evaluation", FIRST + DAY, use_case=NAME)
        after = evaluate(deployment, FIRST + 12 * DAY)[0]

        assert (early["status"], early["users"]) == ("provisional", 100)
        assert early["unknown_outcomes"] == 0
        assert (late["status"], late["users"]) == ("final", N)
        assert after == late

    def test_days_that_were_missed_are_caught_up_with(self, rows_of):
        """A run evaluates all days with scores, and says where there are none, or
        only those of one class, which have no ROC curve."""
        assert [day for day in range(NEWEST + 1) if not rows_of(day)] == [EMPTY]
        assert [row["outcome"] for row in rows_of(NEWEST)] == ["no_predictions"]
        for day, users in ((NO_FRAUD, N), (UNKNOWN, 0)):
            [row] = rows_of(day)
            assert (row["outcome"], row["users"]) == ("one_class", users)
            assert row["roc_auc"] is None

    def test_days_with_truths_have_a_page(self, days):
        """Of the day's versions, with the nouns of the use case, and no id. A day of
        which none is known yet, or none ever came, has none and keeps no other away."""
        page = days.page(report_name(NAME, FIRST))
        without = {UNSCORED, COLD, EMPTY, UNKNOWN, NEWEST}

        assert days.registry.artifacts.names("reports/") == [
            report_name(NAME, FIRST + day * DAY)
            for day in range(NEWEST + 1)
            if day not in without
        ]
        assert "of 150 transactions to be fraud." in page
        assert "user" not in page.lower()
        assert re.findall(r"0-t\d+", page) == []

    def test_a_day_leaves_out_what_the_model_has_learned(self, deployment, drawn):
        """
        A version scores a transaction that it was trained on, sent again: the score
        is no forecast, and does not count.

        An old transaction that nobody had logged is new to the model, and history that
        was loaded and never scored is no day without predictions.
        """
        score, label = drawn
        now = START + 10 * DAY
        trained(deployment, 1, as_of=FIRST + 5 * DAY, at=now)
        of_1 = {"model_version": 1, "scored_at": now + DAY}
        store(
            deployment.warehouse,
            scored(score)
            + scored(label, **of_1)
            + scored(score, day=2, **of_1)
            + scored([None] * N, day=3, model_version=-1, source="loaded")
            + scored(score, day=6, **of_1),
            truths(label)
            + truths(label, day=2)
            + truths(label, day=3)
            + truths(label, day=6, after=1),
        )
        rows = evaluate(deployment, FIRST + 12 * DAY)

        assert [(row["week"], row["model_version"], row["users"]) for row in rows] == [
            (FIRST, 0, N),
            (FIRST + 2 * DAY, 1, N),
            (FIRST + 6 * DAY, 1, N),
            (FIRST + 11 * DAY, -1, None),
        ]


def test_a_caller_of_score_changes_no_figure(deployment, drawn):
    """The stream's score of a transaction counts, whatever was asked for before it."""
    score, label = drawn
    store(deployment.warehouse, scored(score), truths(label))
    alone = evaluate(deployment, FIRST + 3 * DAY)[0]
    asked = {"source": "online", "scored_at": START}
    store(deployment.warehouse, scored(label, **asked))
    beside = evaluate(deployment, FIRST + 3 * DAY)[0]

    assert beside["roc_auc"] == alone["roc_auc"] < 1


def test_predictions_refuse_a_use_case_of_transactions(deployment):
    """01 scores users by day; transactions are scored as they happen."""
    refused = deployment.post("predictions", {"use_case": NAME, "as_of": str(FIRST)})

    assert (refused.status_code, refused.json["field"]) == (400, "use_case")
    assert "as they happen" in refused.json["message"]
