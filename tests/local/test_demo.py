"""
The demo, as far as it is pure: what it refuses, what it sends, what it says.

The whole of it is what ``make demo`` runs.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from local.demos.calls import table
from local.demos.cards import COLUMNS, PARTS, by_version, counts_of, planned
from local.demos.source import check
from local.errors import UnusableData
from local.exports.ga4_export import Summary
from local.generators.cards import Cards
from propensity.settings import Settings

NOW = datetime(2026, 7, 15, 10, 30, tzinfo=UTC)
TODAY = date(2026, 3, 1)


def summary(*columns: str, last: date = TODAY) -> Summary:
    """Return the summary of an export whose events have these columns of users."""
    return Summary(
        rows=10,
        users=3,
        last_full_day=last,
        events=frozenset({"page_view", "purchase"}),
        user_columns=frozenset(columns),
        dates=frozenset({last}),
    )


class TestExport:
    def test_with_users_and_outcomes_does(self):
        """The last day may be tomorrow's, as it is in the far east."""
        settings = Settings(
            project="p", label_event="purchase", user_column="user_pseudo_id"
        )
        check(summary("user_pseudo_id", last=date(2026, 3, 2)), settings, today=TODAY)

    @pytest.mark.parametrize(
        ("given", "changed", "says"),
        [
            (summary("user_id"), {}, "has a user_pseudo_id, .*COLUMN can be user_id"),
            (
                summary("user_pseudo_id"),
                {"label_event": "sign_up"},
                "'sign_up'.*one of page_view, purchase",
            ),
            (
                summary("user_pseudo_id", last=date(2061, 7, 31)),
                {},
                "until 2061-07-31.*still to come",
            ),
        ],
    )
    def test_of_which_nothing_can_be_learned_is_refused(self, given, changed, says):
        defaults = {"label_event": "purchase", "user_column": "user_pseudo_id"}
        settings = Settings(project="p", **{**defaults, **changed})

        with pytest.raises(UnusableData, match=says):
            check(given, settings, today=TODAY)


@pytest.fixture(scope="module")
def transactions():
    return Cards(transactions=800, fraud_rate=0.05, days=8, seed=3).drawn.named("run-")


class TestCards:
    def test_are_sent_once_in_order_in_parts(self, transactions):
        """Transactions and truths between one another."""
        parts = planned(transactions, now=NOW)
        times = [delivery.sent_time for part in parts for delivery in part]
        sent = [*transactions.deliveries(), *transactions.truth_deliveries()]
        counts = counts_of(sent)

        assert len(parts) == PARTS
        assert times == sorted(times)
        assert len(times) == len(sent)
        assert counts["scored"] == len(transactions)
        assert counts["stored_rows"] == round(1.05 * len(transactions))
        assert sum(counts.values()) - counts["scored"] == len(sent)

    def scored(self, transactions, **changed):
        """Every transaction's score as first_scores.sql gives it."""
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

    def test_are_measured_by_their_first_scores(self, transactions):
        """Areas as scikit-learn has them, alerts from the threshold on."""
        training = {"model_version": 0, "cost": {"alert_threshold": 0.5}}
        [row] = by_version(self.scored(transactions), transactions, [training], 5.0)
        truth, score = transactions.is_fraud, transactions.true_probabilities
        is_alert = score >= 0.5
        caught = transactions.amounts[is_alert & truth].sum()

        assert row["frauds"] == truth.sum()
        assert row["roc_auc"] == row["optimum"] == roc_auc_score(truth, score)
        assert row["pr_auc"] == average_precision_score(truth, score)
        assert row["caught"] == (is_alert & truth).sum()
        assert row["saved"] == pytest.approx(caught - 5.0 * is_alert.sum())

    @pytest.mark.parametrize("changed", [{"score": None}, {"label": 1}])
    def test_have_dashes_where_there_are_no_figures(self, transactions, changed):
        """Before any version serves, and where all known ones are of one class."""
        [row] = by_version(self.scored(transactions, **changed), transactions, [], 5.0)

        assert "roc_auc" not in row
        assert table(COLUMNS, [row]).splitlines()[-1].split()[-4:] == ["-"] * 4
