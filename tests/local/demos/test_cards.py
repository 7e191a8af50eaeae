"""
The fraud part of the demo, as far as it is pure: what is sent, and figures by version.

The whole of it is what `make demo` runs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from local.demos.calls import table
from local.demos.cards import (
    COLUMNS,
    PARTS,
    by_version,
    chosen,
    counts_of,
    is_truth,
    planned,
    stamped,
)
from local.generators.cards.cards import Cards

NOW = datetime(2026, 7, 15, 10, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def transactions():
    return Cards(transactions=800, fraud_rate=0.05, days=8, seed=3).drawn.named("run-")


def scored(transactions, **changed):
    """Every transaction's score as first_scores.sql gives it, the truth all known."""
    rows = zip(
        transactions.ids,
        transactions.true_probabilities.tolist(),
        transactions.is_fraud.tolist(),
        strict=True,
    )
    return [
        {"event_id": which, "model_version": 0, "score": score, "label": int(label)}
        | changed
        for which, score, label in rows
    ]


class TestPlan:
    def test_sends_everything_once_in_order(self, transactions):
        """Transactions and truths between one another, in parts of equal length."""
        parts = planned(transactions, now=NOW)
        times = [delivery.sent_time for part in parts for delivery in part]
        truths = transactions.truths().deliveries()

        assert len(parts) == PARTS
        assert times == sorted(times)
        assert len(times) == len(transactions.deliveries()) + len(truths)
        assert {is_truth(delivery) for delivery in parts[1]} == {True, False}

    def test_counts_what_is_to_come_of_messages(self, transactions):
        """Duplicates are stored, and broken ones are dead letters."""
        sent = [*transactions.deliveries(), *transactions.truths().deliveries()]
        counts = counts_of(sent)

        assert counts["scored"] == len(transactions)
        assert counts["stored_rows"] == round(1.05 * len(transactions))
        assert sum(counts.values()) - counts["scored"] == len(sent)

    def test_is_of_past_days_under_ids_of_its_own(self):
        """Whatever day the demo runs, and however often."""
        drawn = chosen(None, now=NOW, seed=1)

        assert drawn.ids[0] == "20260715103000-0000001"
        assert drawn.time_ms.max() / 1_000 < NOW.timestamp()

    @pytest.mark.parametrize("written", [1, 1.5, "1", "2026-01-01T00:00:00Z"])
    def test_is_ingested_now(self, written):
        """In the form in which a producer writes it."""
        stamp = json.loads(stamped(json.dumps({"ingest_ts": written}).encode(), NOW))

        assert type(stamp["ingest_ts"]) is type(written)
        assert stamped(b"broken", NOW) == b"broken"


class TestFigures:
    def test_are_those_of_the_first_scores(self, transactions):
        """Areas as scikit-learn has them, alerts from the threshold on."""
        training = {
            "model_version": 0,
            "algorithm": "half_space_trees",
            "cost": {"alert_threshold": 0.5},
        }
        [row] = by_version(
            scored(transactions), transactions, trainings=[training], review_cost=5.0
        )
        truth, score = transactions.is_fraud, transactions.true_probabilities
        is_alert = score >= 0.5

        assert row["frauds"] == truth.sum()
        assert row["roc_auc"] == row["optimum"] == roc_auc_score(truth, score)
        assert row["pr_auc"] == average_precision_score(truth, score)
        assert (row["alerts"], row["caught"]) == (
            is_alert.sum(),
            (is_alert & truth).sum(),
        )
        caught = transactions.amounts[is_alert & truth].sum()
        assert row["saved"] == pytest.approx(caught - 5.0 * is_alert.sum())

    @pytest.mark.parametrize("changed", [{"score": None}, {"label": 1}])
    def test_are_dashes_where_there_are_none(self, transactions, changed):
        """Before any version serves, and where all known ones are of one class."""
        rows = scored(transactions, **changed)
        [row] = by_version(rows, transactions, trainings=[], review_cost=5.0)

        assert "roc_auc" not in row
        assert table(COLUMNS, [row]).splitlines()[-1].split()[-4:] == ["-"] * 4
