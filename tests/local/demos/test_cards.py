"""
The fraud part of the demo, as far as it is pure: its plan, its figures, its tables.

The whole of it is what `make demo` runs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet as pq
from sklearn.metrics import average_precision_score, roc_auc_score

from commands.cli import main
from commands.exits import Exit
from local import play
from local.demos import cards_plan
from local.demos.cards import chosen, earlier_text, stamped, start_text
from local.demos.cards_plan import is_truth, moment_of, planned
from local.demos.cards_tables import (
    ALERTS,
    Counts,
    Window,
    by_version,
    day_table,
    messages_text,
    optimum_text,
    savings_text,
    switch_text,
    training_text,
    version_table,
)
from local.generators.cards.cards import Cards
from local.generators.cards.transactions import Transactions
from local.stack.state import Options, State

NOW = datetime(2026, 7, 15, 10, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def transactions() -> Transactions:
    cards = Cards(transactions=800, fraud_rate=0.05, days=8, seed=3)
    return cards.drawn.named("run-")


@pytest.fixture(scope="module")
def plan(transactions):
    return planned(transactions, now=NOW)


def scored(transactions: Transactions) -> list[dict[str, Any]]:
    """Every transaction's score as first_scores.sql gives it, the truth all known."""
    began = datetime(2026, 7, 15, 10, 30, tzinfo=UTC)
    return [
        {
            "event_id": which,
            "model_version": 0,
            "score": probability,
            "label": int(is_fraud),
            "is_conflicting": False,
            "scored_at": began + timedelta(seconds=row),
            "latency_ms": 10.0 + row,
        }
        for row, (which, probability, is_fraud) in enumerate(
            zip(
                transactions.ids,
                transactions.true_probabilities.tolist(),
                transactions.is_fraud.tolist(),
                strict=True,
            )
        )
    ]


def figures_of(
    transactions: Transactions,
    rows: list[dict[str, Any]] | None = None,
    *,
    thresholds: dict[int, float] | None = None,
) -> list[dict[str, Any]]:
    """Return figures by version, of all scores or of some; an alert costs 5."""
    rows = scored(transactions) if rows is None else rows
    return by_version(rows, transactions, review_cost=5.0, thresholds=thresholds or {})


class TestPlan:
    def test_sends_everything_once_in_order(self, transactions, plan):
        """Transactions and truths between one another, as they are sent."""
        sent = list(plan.deliveries)
        moments = [delivery.sent_time for delivery in sent]
        truths = transactions.truths().deliveries()

        assert moments == sorted(moments)
        assert len(sent) == len(transactions.deliveries()) + len(truths)
        assert {is_truth(delivery) for delivery in plan.parts[1]} == {True, False}

    def test_stops_after_each_quarter_of_the_transactions(self, transactions, plan):
        """What is sent before a stop happened before it; the rest is of the next."""
        assert len(plan.parts) == 4
        assert plan.stops == [moment_of(transactions, row) for row in (200, 400, 600)]
        for stop, part in zip(plan.stops, plan.parts, strict=False):
            assert all(delivery.sent_time < stop for delivery in part)
        assert all(delivery.sent_time >= plan.stops[-1] for delivery in plan.parts[-1])

    def test_knows_no_truth_of_the_future(self, transactions):
        """Which nobody could have found out."""
        early = planned(transactions, now=moment_of(transactions, 400))
        truths = [delivery for delivery in early.deliveries if is_truth(delivery)]

        assert truths
        assert max(delivery.sent_time for delivery in truths) < moment_of(
            transactions, 400
        )

    def test_counts_what_is_to_come_of_messages(self, transactions, plan):
        """Duplicates are stored, and broken ones are not."""
        sent = list(plan.deliveries)
        counts = Counts.of(sent)

        assert counts.distinct == 800
        assert counts.transactions == 840
        assert counts.transactions + counts.truths + counts.broken == len(sent)
        assert counts.broken == sum(delivery.event is None for delivery in sent)
        assert Counts.of([]) == Counts()

    def test_generated_transactions_are_of_past_days(self):
        """So long ago that a truth is there by now, or unknown for good."""
        transactions = chosen(None, now=NOW, seed=42)

        assert len(transactions) == cards_plan.TRANSACTIONS
        assert transactions.is_fraud.mean() == cards_plan.FRAUD_RATE
        assert moment_of(transactions, -1) < NOW - timedelta(days=8)
        assert moment_of(transactions, 0) >= datetime(2026, 6, 29, tzinfo=UTC)
        assert transactions.ids[0] == "20260715103000-0000001"

    def test_another_run_plays_other_transactions(self):
        """Those of the first have been learned."""
        first, second = (chosen(None, now=NOW, seed=seed) for seed in (42, 45))

        assert not (first.components == second.components).any()
        assert "other transactions" in earlier_text(3, is_real=False)
        assert "these very transactions" in earlier_text(3, is_real=True)

    def test_real_transactions_take_their_place(self, transactions, tmp_path):
        """Stretched over as many days, and no more than a demo can play."""
        file = tmp_path / "cards.parquet"
        pq.write_table(transactions.first(300).table(), file)
        played = chosen(str(file), now=NOW, seed=42)

        assert len(played) == 300
        assert moment_of(played, 0) == datetime(2026, 6, 29, tzinfo=UTC)
        assert moment_of(played, -1) < datetime(2026, 7, 7, tzinfo=UTC)
        assert "stretched over 2026-06-29 to 2026-07-06" in start_text(
            planned(played, now=NOW), is_real=True
        )


class TestStamp:
    @pytest.mark.parametrize(
        ("written", "expected"),
        [
            ("2026-07-01T00:00:00.000Z", "2026-07-15T10:30:00+00:00"),
            (1_780_000_000_000, 1_784_111_400_000),
            (1_780_000_000.5, 1_784_111_400.0),
            ("1780000000000", "1784111400000"),
            (None, None),
        ],
    )
    def test_writes_ingestion_as_it_was_written(self, written, expected):
        """With the moment of now; all else stays."""
        data = json.dumps({"V1": "1.5", "ingest_ts": written}).encode()

        assert json.loads(stamped(data, NOW)) == {"V1": "1.5", "ingest_ts": expected}

    @pytest.mark.parametrize("data", [b" ", b'{"V1": 1', b'{"V1": 1}', b"[1]", b"7"])
    def test_leaves_what_has_none(self, data):
        """To the byte."""
        assert stamped(data, NOW) == data


class TestFigures:
    def test_are_of_each_version_by_known_truths(self, transactions):
        """As scikit-learn computes them of the same rows."""
        rows = scored(transactions)
        for row in rows[:300]:
            row.update(model_version=-1, score=None)
        for row in rows[600:]:
            row.update(model_version=1)
        rows[310]["label"] = None
        none, zero, one = figures_of(transactions, rows)
        label = transactions.is_fraud[600:]
        score = transactions.true_probabilities[600:]

        assert [figures["version"] for figures in (none, zero, one)] == [-1, 0, 1]
        assert (none["scored"], none["roc_auc"], none["alerts"]) == (300, None, [])
        assert (zero["scored"], zero["known"]) == (300, 299)
        assert one["frauds"] == label.sum() > 0
        assert one["roc_auc"] == pytest.approx(roc_auc_score(label, score))
        assert one["pr_auc"] == pytest.approx(average_precision_score(label, score))
        assert one["optimum"] == one["roc_auc"]
        assert [alert["rate"] for alert in one["alerts"]] == list(ALERTS)
        assert one["alerts"][1]["recall"] >= one["alerts"][0]["recall"] > 0

    def test_say_what_alerts_save(self, transactions):
        """At the threshold that training chose, as money and as a share."""
        figures = figures_of(transactions, thresholds={0: 0.5})
        policy = figures[0]["policy"]
        alerted = transactions.true_probabilities >= 0.5
        lost = transactions.amounts[transactions.is_fraud & ~alerted].sum()
        line = version_table(figures, []).splitlines()[-1]

        assert policy.alerts == alerted.sum()
        assert float(policy.cost) == pytest.approx(lost + 5.0 * alerted.sum())
        assert f"{policy.alerts:,.0f}  " in line
        assert f"{policy.saved:,.0f} ({policy.saved_share:.0%})" in line
        assert f"on {policy.frauds} frauds its alerts save" in savings_text(figures)

    def test_say_so_where_no_version_has_a_threshold(self, transactions):
        """One that was trained without truths, or before this run."""
        figures = figures_of(transactions)

        assert figures[0]["policy"] is None
        assert savings_text(figures).endswith("no version has one")

    def test_a_slice_of_one_class_has_none(self, transactions):
        """Neither area, nor optimum, nor alerts; the table has dashes."""
        rows = [row for row in scored(transactions) if row["label"] == 0]
        [figures] = figures_of(transactions, rows)
        line = version_table([figures], []).splitlines()[-1].split()

        assert (figures["roc_auc"], figures["pr_auc"], figures["optimum"]) == (
            None,
        ) * 3
        assert figures["frauds"] == 0
        assert line[5:] == ["-"] * 8

    def test_nothing_scored_gives_an_empty_table(self, transactions):
        """And no error."""
        assert figures_of(transactions, []) == []
        assert version_table([], []).splitlines()[0].split()[0] == "version"

    def test_the_table_names_algorithms(self, transactions):
        """Of what was trained now; of a version from before, that it is earlier."""
        figures = figures_of(transactions)
        trained = [{"model_version": 0, "algorithm": "HalfSpaceTrees"}]
        row = version_table(figures, trained).splitlines()[-1].split()
        optimum = f"{transactions.optimum_roc_auc():.3f}"

        assert row[:5] == ["0", "HalfSpaceTrees", "800", "800", "40"]
        assert row[5:7] == [optimum, optimum]
        assert "earlier" in version_table(figures, [])


class TestWords:
    def test_messages_say_what_came_of_them(self, transactions, plan):
        """Duplicates, dead letters, truths known, told both ways and never told."""
        rows = scored(transactions)
        rows[0]["is_conflicting"] = True
        for row in rows[:7]:
            row["label"] = None
        counts = {"stored_rows": 840, "events": 800, "truths": 803, "dead_letters": 12}
        lines = messages_text(plan, counts, rows, "12 bad_value", 9.6)

        assert "840 transactions sent, 840 stored, 40 of them duplicates" in lines
        assert "12 dead letters: 12 bad_value" in lines
        assert "of 793 transactions the truth is known, of 1 it was told both" in lines
        assert "of 7 nobody has told" in lines

    @pytest.mark.parametrize(
        ("area", "promoted", "words"),
        [
            (0.91234, True, "ROC AUC 0.912 on the holdout; champion: because"),
            (None, False, "no ROC AUC: one class on the holdout; kept aside: because"),
        ],
    )
    def test_a_training_says_its_fate_and_why(self, area, promoted, words):
        """And that there is no figure, where there is none."""
        answer = {
            "model_version": 3,
            "algorithm": "HalfSpaceTrees",
            "holdout": {"roc_auc": area},
            "promoted": promoted,
            "verdict": "because",
        }
        text = training_text(answer, stop=NOW, sent=2_000, truths=1_500)

        assert text.startswith("2026-07-15 10:30  2,000 transactions and 1,500 truths")
        assert words in text

    def test_days_are_those_of_the_evaluation(self):
        """Without what was scored to compare only."""
        row = {
            "week": "2026-07-01",
            "model_version": 1,
            "users": 90,
            "conversions": 2,
            "roc_auc": 0.98765,
            "unknown_outcomes": 4,
            "conflicting_outcomes": 1,
            "outcome": "evaluated",
            "status": "final",
        }
        lines = day_table([row]).splitlines()

        assert len(lines) == 4
        assert lines[-1].split() == [
            *("2026-07-01", "1", "90", "2", "0.988", "-", "4", "1"),
            *("evaluated", "final"),
        ]

    def test_a_switch_says_which_versions_scored(self, transactions):
        """In their order, and how long it took while they came evenly."""
        rows = scored(transactions)
        for row in rows[100:]:
            row["model_version"] = 1
        began = rows[50]["scored_at"]
        window = Window(
            began, began + timedelta(seconds=60), began + timedelta(hours=1)
        )
        text = switch_text({"model_version": 1}, rows[::-1], window)

        assert "scored by version: 50 by 0, then 700 by 1" in text
        assert "score 90 ms at the median" in text
        later = Window(NOW + timedelta(days=1), NOW, NOW)
        assert "none" in switch_text({"model_version": 1}, rows, later)

    def test_the_optimum_is_said_where_it_is_known(self, transactions):
        """Of real transactions it is not."""
        optimum = f"{transactions.optimum_roc_auc():.3f}"
        real = Transactions(
            ids=["a"],
            time_ms=np.zeros(1, np.int64),
            components=np.zeros((1, 28)),
            amounts=np.ones(1),
            is_fraud=np.zeros(1, bool),
        )

        assert optimum in optimum_text(transactions)
        assert "nobody knows" in optimum_text(real)


class TestOptions:
    def test_a_file_of_cards_has_a_state_of_its_own(self, tmp_path):
        """As a data set has."""
        file = tmp_path / "cards.csv"
        file.write_text("Time")
        options = play.Choice(cards=str(file))

        assert play.state_of(options, Options()).name.startswith("cards-")
        assert play.state_of(options, Options()) == State.of_data(str(file))

    def test_cards_and_an_export_are_two_demos(self, capsys):
        """One at a time."""
        assert main(["demo", "--cards", "a.csv", "--data", "b.ndjson"]) == Exit.UNKNOWN
        assert "choose one of --data and --cards" in capsys.readouterr().err
