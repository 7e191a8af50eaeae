"""
Card fraud through 00-ModelTraining and 03-ModelEvaluation, without truths and with.

Tests write the log that the stream would have written. Alerts, their costs and the gate
are of ``propensity/streaming/cards``.
"""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from propensity.registry.versions import Registry
from propensity.tables.models import TRAINING_METADATA
from propensity.weeks.evaluations import report_name
from tests.support import scored_cards
from tests.support.deployment import Deployment
from tests.support.rows import append_rows
from tests.support.scored_cards import DAY, START, inference, store, stored, truth

NAME = "card_fraud"
FIRST = START.date()
N = 200
TRAINED = date(2026, 3, 14)


@pytest.fixture
def deployment(borrow_deployment) -> Deployment:
    """A deployment without an export: all it has is transactions."""
    return borrow_deployment(dataset="")


def train(deployment: Deployment, **body: object) -> dict[str, Any]:
    return deployment.run("model_training", TRAINED, use_case=NAME, **body)


def test_a_training_with_truths_takes_over_from_one_without(deployment):
    """
    The first version learns what is usual; nothing is measured, and it is live. Once
    frauds are known, row, card and answer say how good the next one is, and what its
    alerts save.
    """
    refused = deployment.post("model_training", {"use_case": NAME, "as_of": TRAINED})
    cards = scored_cards.drawn(1_500)
    stored(deployment.warehouse, cards, known=())
    first = train(deployment)
    found = START + 11 * DAY
    truths = []
    for event_id, is_fraud in zip(cards.ids, cards.is_fraud, strict=True):
        truths.append(truth(event_id, found, int(is_fraud)))
    store(deployment.warehouse, truths=truths)
    answer = train(deployment, force=True)
    before, row = deployment.versions()
    savings = row["card"]["savings"]

    assert refused.status_code == 422
    assert "propensity load transactions" in refused.json["message"]
    assert first["algorithm"] == "HalfSpaceTrees"
    assert first["is_warm"]
    assert first["promoted"]
    assert "too few are known to measure it" in first["verdict"]
    assert (before["roc_auc"], before["users"]) == (None, 0)
    # Seven days on, the oldest can be told to stay unknown; none is taken for 0.
    assert first["outcomes"]["known"] == 0
    assert first["outcomes"]["unknown"] > 0
    assert first["outcomes"]["pending"] > 0
    assert answer["outcomes"]["known"] == 1_500
    assert row["users"] == answer["rows"]["holdout"] == 300
    assert row["roc_auc"] > 0.95
    spared = savings["cost_without"] - savings["cost"]
    assert answer["cost"]["saved"] == float(row["saved"]) == pytest.approx(spared)
    assert answer["cost"]["alert_threshold"] == row["alert_threshold"]
    assert "Alerts" in deployment.page(f"models/{NAME}/1/report.html")
    assert row["compared_version"] == 0
    assert answer["verdict"].startswith("not worse: cost -")
    assert Registry(deployment.artifacts, NAME).champion().version == 1


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


def record(deployment: Deployment, version: int, *, as_of: date, **changed: Any):
    """Record a version as trained on what was before an as-of date."""
    row = {"use_case": NAME, "model_version": version, "training_date": as_of}
    append_rows(
        deployment.warehouse, TRAINING_METADATA, [{**row, "as_of": as_of, **changed}]
    )


def scored(
    scores: Any, kind: str = "probability", *, day: int = 0, **changed: Any
) -> list[dict[str, Any]]:
    """Return the log of a day's transactions, t0, t1 and so on of that day."""
    rows = []
    for n, value in enumerate(scores):
        given = {"model_version": 0}
        if value is not None:
            given[kind] = float(value)
        at = START + day * DAY + timedelta(minutes=n)
        rows.append(inference(f"{day}-t{n}", at, **{**given, **changed}))
    return rows


def truths(labels: Any, *, day: int = 0, after: int = 2) -> list[dict[str, Any]]:
    """Return what is found of them some days later; None is never found."""
    return [
        truth(f"{day}-t{n}", START + (day + after) * DAY, int(label))
        for n, label in enumerate(labels)
        if label is not None
    ]


# The days, by what is special about them.
SOUND, COLD, COSTLY, BOTH, UNKNOWN = range(5)
# One fraud is above 0.5, and one below.
FIVE = ((0.9, 100.1), (0.8, 0.2), (0.3, 7.0), (0.2, 30.05), (0.1, 9.0))


@pytest.fixture(scope="module")
def days(borrow_deployment, drawn) -> Deployment:
    """A deployment whose days were evaluated by one run."""
    score, label = drawn
    known = [None if n % 4 == 0 else outcome for n, outcome in enumerate(label)]
    log = scored(score) * 2
    log += scored([None] * 4, day=COLD, model_version=7, is_warm=False)
    costly = scored([value for value, _ in FIVE], day=COSTLY, model_version=8)
    for row, (_, amount) in zip(costly, FIVE, strict=True):
        log.append({**row, "features": json.dumps({"Amount": amount})})
    log += scored(score, day=BOTH, model_version=10)
    log += scored(score, "anomaly_score", day=BOTH, model_version=11)
    log += scored(score, day=UNKNOWN, model_version=12)
    # In conflict with what was found before.
    known_truths = truths(known) + [truth("0-t1", START + 3 * DAY, 1 - int(label[1]))]
    known_truths += truths([1, 1, 0, 0], day=COLD)
    known_truths += truths([1, 0, 0, 1, None], day=COSTLY) + truths(label, day=BOTH)
    deployment = borrow_deployment(dataset="")
    record(deployment, 8, as_of=FIRST - DAY, alert_threshold=0.5)
    store(deployment.warehouse, log, known_truths)
    evaluate(deployment, FIRST + 9 * DAY)
    return deployment


def rows_of(deployment: Deployment, day: int) -> list[dict[str, Any]]:
    rows = deployment.evaluations()
    return [row for row in rows if row["week"] == FIRST + day * DAY]


def test_figures_are_of_scores_as_they_were_given(days, drawn):
    """Of the rows whose truth is known, whatever was live when it came; unknown and
    conflicting ones are counted, and none is taken for 0. An anomaly score is no
    probability, and a model that was not warm has no score."""
    score, label = drawn
    [row] = rows_of(days, SOUND)
    probable, anomalous = rows_of(days, BOTH)
    [cold] = rows_of(days, COLD)
    [unknown] = rows_of(days, UNKNOWN)
    known = np.arange(N) % 4 != 0
    latest = np.where(np.arange(N) == 1, 1 - label, label)[known]

    assert (row["outcome"], row["status"]) == ("evaluated", "final")
    assert (row["users"], row["conversions"]) == (150, latest.sum())
    roc_auc = metrics.roc_auc_score(latest, score[known])
    assert row["roc_auc"] == pytest.approx(roc_auc)
    assert (row["unknown_outcomes"], row["conflicting_outcomes"]) == (N // 4, 1)
    assert probable["roc_auc"] == anomalous["roc_auc"]
    assert probable["brier"] is not None
    assert anomalous["brier"] is anomalous["mean_probability"] is None
    assert (cold["outcome"], cold["unscored_converters"]) == ("no_predictions", 2)
    assert (unknown["outcome"], unknown["users"]) == ("one_class", 0)
    # Of what is worth a review: exact, as the amounts were sent.
    [costly] = rows_of(days, COSTLY)
    assert (costly["alerted"], costly["alerted_conversions"]) == (1, 1)
    assert (costly["cost"], costly["saved"]) == (Decimal("35.05"), Decimal("95.1"))


def test_days_with_truths_have_a_page(days):
    """Of the day's versions, with the nouns of the use case, and no id. A day of which
    none is known yet, or none ever came, has none and keeps no other away."""
    page = days.page(report_name(NAME, FIRST))

    assert days.registry.artifacts.names("reports/") == [
        report_name(NAME, FIRST + day * DAY) for day in (SOUND, COSTLY, BOTH)
    ]
    assert "of 150 transactions to be fraud." in page
    assert "user" not in page.lower()
    assert re.findall(r"0-t\d+", page) == []


def test_days_are_provisional_until_the_truth_is_due(deployment, drawn):
    """For the truth's delay figures may change; then they are final, and stay so in a
    run for an earlier date, which knows fewer truths."""
    score, label = drawn
    store(deployment.warehouse, scored(score), truths(label[:100]))
    early = evaluate(deployment, FIRST + 7 * DAY)[0]
    rest = [truth(f"0-t{n}", START + 6 * DAY, int(label[n])) for n in range(100, N)]
    store(deployment.warehouse, truths=rest)
    late = evaluate(deployment, FIRST + 8 * DAY)[0]
    store(deployment.warehouse, truths=truths(1 - label, after=8))
    deployment.run("model_evaluation", FIRST + DAY, use_case=NAME)
    after = evaluate(deployment, FIRST + 12 * DAY)[0]

    assert (early["status"], early["users"]) == ("provisional", 100)
    assert early["unknown_outcomes"] == 0
    assert (late["status"], late["users"]) == ("final", N)
    assert after == late


def test_a_day_leaves_out_what_is_no_forecast(deployment, drawn):
    """
    A version scores a transaction that it was trained on, sent again, or somebody asked
    for a score: neither counts.

    An old transaction that nobody had logged is new to the model, and history that was
    loaded and never scored is no day without predictions.
    """
    score, label = drawn
    record(deployment, 1, as_of=FIRST + 5 * DAY, trained_at=START + 10 * DAY)
    of_1 = {"model_version": 1, "scored_at": START + 11 * DAY}
    log = scored(score) + scored(label, **of_1)
    log += scored(label, source="online", scored_at=START)
    log += scored(score, day=2, **of_1)
    log += scored([None] * N, day=3, model_version=-1, source="loaded")
    found = truths(label) + truths(label, day=2) + truths(label, day=3)
    store(deployment.warehouse, log, found)
    rows = evaluate(deployment, FIRST + 12 * DAY)

    assert [(row["week"], row["model_version"], row["users"]) for row in rows] == [
        (FIRST, 0, N),
        (FIRST + 2 * DAY, 1, N),
        (FIRST + 11 * DAY, -1, None),
    ]
    assert rows[0]["roc_auc"] == pytest.approx(metrics.roc_auc_score(label, score))


def test_predictions_refuse_a_use_case_of_transactions(deployment):
    """01 scores users by day; transactions are scored as they happen."""
    refused = deployment.post("predictions", {"use_case": NAME, "as_of": str(FIRST)})

    assert (refused.status_code, refused.json["field"]) == (400, "use_case")
    assert "as they happen" in refused.json["message"]
