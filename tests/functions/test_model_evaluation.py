"""
03-ModelEvaluation, specified on emulators: probabilities and purchases of some weeks.

No model is needed: tests write the history that 01 would have written.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from propensity.gcp.warehouse import Warehouse
from propensity.tables import every as tables
from tests import shop
from tests.functions.conftest import Place
from tests.functions.evaluated import MONDAY, USERS, evaluations
from tests.functions.test_audience_lift import join, lifts
from tests.published import publish
from tests.rows import CARD, append_rows
from tests.shop import DAY, WEEK, event, purchase


class TestFigures:
    @pytest.fixture
    def place(self, shop_of, scores, converters):
        """A week with its outcomes, and what must not count for it."""
        rows = [purchase(user, MONDAY + DAY) for user in converters]
        rows += [
            purchase("stranger 1", MONDAY + 3 * DAY),
            purchase("stranger 2", MONDAY + 4 * DAY),
            purchase("stranger 2", MONDAY + 4 * DAY, transaction="again"),
            purchase("u0", MONDAY + WEEK),
            event("u1", MONDAY + DAY),
        ]
        place = shop_of(rows)
        publish(place.warehouse, MONDAY, scores)
        # What is in force later is not what was in force for the week.
        publish(place.warehouse, MONDAY + WEEK, dict.fromkeys(scores, 0.99), version=1)
        publish(place.warehouse, MONDAY, {"u0": 1.0}, use_case="first_day_churn")
        return place

    def test_are_those_of_scikit_learn_on_the_joined_rows(
        self, place, scores, converters, log_lines
    ):
        """Defect: the join is an outer one, with the history and not the present."""
        answer = place.run("model_evaluation", MONDAY + WEEK)
        [row] = evaluations(place)
        probability = np.array(list(scores.values()))
        label = np.array([user in converters for user in scores]).astype(int)
        called = probability >= 0.5

        assert row["outcome"] == "evaluated"
        assert (row["week"], row["week_end"]) == (MONDAY, MONDAY + WEEK)
        assert (row["prediction_as_of"], row["model_version"]) == (MONDAY, 0)
        assert (row["users"], row["conversions"]) == (USERS, label.sum())
        assert row["unscored_converters"] == 2
        expected = {
            "roc_auc": metrics.roc_auc_score(label, probability),
            "pr_auc": metrics.average_precision_score(label, probability),
            "brier": metrics.brier_score_loss(label, probability),
            "log_loss": metrics.log_loss(label, np.clip(probability, 1e-15, 1)),
            "precision": metrics.precision_score(label, called),
            "recall": metrics.recall_score(label, called),
            "f1": metrics.f1_score(label, called),
            "base_rate": label.mean(),
            "mean_probability": probability.mean(),
        }
        assert {name: row[name] for name in expected} == pytest.approx(
            expected, rel=1e-9
        )
        negatives, false_alarms, misses, hits = metrics.confusion_matrix(
            label, called
        ).ravel()
        assert [
            row[name]
            for name in (
                "true_negatives",
                "false_positives",
                "false_negatives",
                "true_positives",
            )
        ] == [negatives, false_alarms, misses, hits]
        for name in ("roc_auc", "pr_auc"):
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
        assert [part["decile"] for part in row["lift"]] == list(range(1, 11))
        assert sum(part["conversions"] for part in row["lift"]) == pytest.approx(
            label.sum()
        )
        assert answer["weeks"][0]["roc_auc"] == pytest.approx(expected["roc_auc"])
        evaluated, line = log_lines()
        assert (line["function"], line["outcome"]) == ("modelEvaluation", "ok")
        # An alert of a deploy reads it.
        assert evaluated["function"] == "modelEvaluation"
        assert evaluated["roc_auc"] == answer["weeks"][0]["roc_auc"]
        assert (evaluated["model_version"], evaluated["users"]) == (0, USERS)
        assert "u0" not in str([evaluated, line])
        # Twice equals once.
        place.run("model_evaluation", MONDAY + WEEK)
        [again] = evaluations(place)
        for changing in ("evaluated_at", "bytes_billed", "run_id"):
            row.pop(changing), again.pop(changing)
        assert again == row


def republish(place: Place, as_of: date, scores: dict[str, float], **how: Any) -> None:
    """Replace all publications by one of half the probabilities."""
    place.warehouse.execute("DELETE FROM ma_publications_runs WHERE TRUE")
    halved = {user: probability / 2 for user, probability in scores.items()}
    publish(place.warehouse, as_of, halved, **how)


class TestMaturity:
    def test_is_provisional_then_final(self, shop_of, scores):
        """Defect: labels closed before GA4 did. Late rows still change the figures."""
        some = [purchase("u1", MONDAY + 2 * DAY)]
        place = shop_of([event("u1", MONDAY - DAY), *some])
        publish(place.warehouse, MONDAY, scores)

        early = place.run("model_evaluation", MONDAY + WEEK)
        shop.load(place.workplace, [*some, purchase("u2", MONDAY + 2 * DAY)])
        late = place.run("model_evaluation", MONDAY + WEEK + 3 * DAY)

        [before] = early["weeks"]
        assert (before["status"], before["conversions"]) == ("provisional", 1)
        first = late["weeks"][0]
        assert (first["week"], first["status"]) == (str(MONDAY), "final")
        assert first["conversions"] == 2
        rows = evaluations(place)
        assert [(row["week"], row["status"]) for row in rows] == [
            (MONDAY, "final"),
            (MONDAY + 3 * DAY, "provisional"),
        ]
        # The week between has its final row in time, though nothing was published then.
        last = place.run("model_evaluation", MONDAY + 2 * WEEK)
        assert {row["week"]: row["status"] for row in last["weeks"]} == {
            str(MONDAY + 3 * DAY): "final",
            str(MONDAY + WEEK): "provisional",
        }

    @pytest.mark.parametrize(
        ("version", "began"),
        [
            (0, DAY),
            (0, -timedelta(minutes=1)),
            pytest.param(1, DAY, marks=pytest.mark.long),
        ],
        ids=["the same version", "begun before", "another version"],
    )
    def test_is_of_the_publication_that_stands(self, monday, scores, version, began):
        """A week that was repaired and published again is evaluated again, once, and
        nothing stays of the probabilities that were replaced.

        Defect: 03 made a week final while a run of 01 that had begun before it was
        still to replace the publication; no run looked again."""
        for day in (MONDAY + WEEK, MONDAY + 2 * WEEK):
            monday.run("model_evaluation", day)
        [before, *_] = evaluations(monday)
        scored_at = before["evaluated_at"] + began
        republish(monday, MONDAY, scores, version=version, scored_at=scored_at)
        again = monday.run("model_evaluation", MONDAY + 2 * WEEK)
        once_more = monday.run("model_evaluation", MONDAY + 2 * WEEK)

        assert (before["status"], before["model_version"]) == ("final", 0)
        assert again["weeks"][0]["week"] == str(MONDAY)
        assert str(MONDAY) not in [row["week"] for row in once_more["weeks"]]
        [after] = [row for row in evaluations(monday) if row["week"] == MONDAY]
        assert (after["status"], after["model_version"]) == ("final", version)
        assert after["mean_probability"] == before["mean_probability"] / 2
        assert after["prediction_scored_at"] == scored_at

    def test_is_of_what_stands_where_01_was_missed(self, shop_of, scores, converters):
        """Defect: a final week without a publication of its own kept the figures of an
        earlier one that was replaced. It is evaluated again, once, and is of the newest
        before it alone; so is one that had no probabilities at all."""
        place = shop_of([purchase(user, MONDAY + DAY) for user in converters])
        late = MONDAY + 2 * WEEK
        place.run("model_evaluation", MONDAY + WEEK)
        found = []
        for publication in (None, (-WEEK, 1.0, 0), (-WEEK, 0.5, 0), (-3 * DAY, 1.0, 1)):
            if publication is not None:
                days, share, version = publication
                shares = {user: share * value for user, value in scores.items()}
                now = datetime.now(UTC)
                publish(
                    place.warehouse,
                    MONDAY + days,
                    shares,
                    version=version,
                    scored_at=now,
                )
            place.run("model_evaluation", late)
            rows = [row for row in evaluations(place) if row["week"] == MONDAY]
            found += [
                (row["status"], row["model_version"], row["mean_probability"])
                for row in rows
            ]
        once_more = place.run("model_evaluation", late)

        mean = pytest.approx(sum(scores.values()) / len(scores))
        half = pytest.approx(sum(scores.values()) / len(scores) / 2)
        assert found == [
            ("final", -1, None), ("final", 0, mean), ("final", 0, half),
            ("final", 1, mean),
        ]  # fmt: skip
        assert str(MONDAY) not in [row["week"] for row in once_more["weeks"]]

    def test_waits_for_a_day_that_the_export_lacks(self, shop_of, scores, converters):
        """Defect: a table that came weeks late was in no figure, and none said so. As
        long as a run catches up the week is provisional, and its report names the day;
        once the day is there it is final, with all who bought."""
        wednesday = MONDAY + 2 * DAY
        others = [event("u0", wednesday + n * WEEK) for n in (-2, -1, *range(1, 10))]
        half = len(converters) // 2
        bought = [purchase(user, MONDAY + DAY) for user in converters[:half]]
        place = shop_of([*others, *bought])
        publish(place.warehouse, MONDAY, scores)
        # Longer ago than features read.
        late = MONDAY + 10 * WEEK
        lacking = place.run("model_evaluation", late)
        page = place.registry.artifacts.read(f"reports/ga4_purchase/{MONDAY}.html")
        shop.load(
            place.workplace, [purchase(user, wednesday) for user in converters[half:]]
        )
        whole = place.run("model_evaluation", late)

        assert lacking["missing_days"] == [str(wednesday)]
        first, then = lacking["weeks"][0], whole["weeks"][0]
        assert first["week"] == then["week"] == str(MONDAY)
        assert (first["status"], first["conversions"]) == ("provisional", half)
        assert f"The export lacks {wednesday}" in page.data.decode()
        assert (then["status"], then["conversions"]) == ("final", len(converters))
        assert "missing_days" not in whole


class TestWeeksWithout:
    @pytest.mark.parametrize(
        "buying",
        [False, pytest.param(True, marks=pytest.mark.long)],
        ids=["nobody", "everybody"],
    )
    def test_two_classes_or_predictions_get_a_row_that_says_so(
        self, shop_of, scores, buying
    ):
        """Where nobody bought, or everybody, there is no ROC curve, and no crash. Once
        there are predictions, the row that says there were none is replaced."""
        rows = [event("u1", MONDAY - DAY)]
        rows += [purchase(user, MONDAY + DAY) for user in scores if buying]
        place = shop_of(rows)
        answer = place.run("model_evaluation", MONDAY + WEEK)
        [before] = evaluations(place)
        publish(place.warehouse, MONDAY, scores)
        place.run("model_evaluation", MONDAY + WEEK)
        [row] = evaluations(place)

        assert answer["weeks"][0]["outcome"] == "no_predictions"
        assert (before["outcome"], before["model_version"]) == ("no_predictions", -1)
        assert before["roc_auc"] is None
        assert "reports" not in answer
        assert (row["outcome"], row["model_version"]) == ("one_class", 0)
        assert row["roc_auc"] is None
        assert row["residual_log_odds"] is None
        assert row["conversions"] == (USERS if buying else 0)
        assert row["brier"] is not None

    def test_labels_that_nobody_foretold_are_not_read(self, monday, log_lines):
        """Purchases were foretold, and signing up is what is set since: the labels say
        nothing of these probabilities, and figures of purchases stay."""
        monday.run("model_evaluation", MONDAY + WEEK)
        before = evaluations(monday)
        trained_with = {"user_column": "user_pseudo_id", "label_event": "purchase"}
        record = {
            "use_case": "ga4_purchase",
            "model_version": 0,
            "training_date": MONDAY,
            "as_of": MONDAY,
            "algorithm": "LogisticRegression",
            "card": json.dumps({**CARD, "statement_parameters": trained_with}),
        }
        append_rows(monday.warehouse, tables.TRAINING_METADATA, [record])
        log_lines()
        other = monday.with_settings(PROPENSITY_LABEL_EVENT="sign_up")
        answer = other.run("model_evaluation", MONDAY + WEEK)
        warnings = [
            line["message"] for line in log_lines() if line["severity"] == "WARNING"
        ]

        assert answer["weeks"] == []
        assert evaluations(monday) == before
        assert any("version 0 was trained with" in message for message in warnings)
        assert monday.run("model_evaluation", MONDAY + WEEK)["weeks"]


@pytest.mark.parametrize("of", ["figures", "lifts"])
def test_a_run_of_an_older_date_leaves_final_rows(monday, converters, monkeypatch, of):
    """Defect: what it had read before late rows came took the place of the final
    figures that a run of a newer date, with a lease of its own, had written meanwhile;
    and its page that of theirs."""
    place, users = monday, sorted(converters)
    join(place, MONDAY, users[:10], users[10:20])
    read = evaluations if of == "figures" else lifts
    table = tables.EVALUATION if of == "figures" else tables.AUDIENCE_LIFT
    page = f"reports/ga4_purchase/{MONDAY}.html"
    final: list[Any] = []
    write = Warehouse.write

    def written(self: Any, to: Any, rows: Any) -> None:
        write(self, to, rows)
        if to is table and not final:
            final.append(None)
            shop.load(place.workplace, [purchase("u3", MONDAY + 2 * DAY)])
            place.run("model_evaluation", MONDAY + 2 * WEEK)
            final[:] = [*read(place), place.registry.artifacts.read(page).data]

    monkeypatch.setattr(Warehouse, "write", written)
    answer = place.run("model_evaluation", MONDAY + WEEK)

    assert [week["status"] for week in answer["weeks"]] == ["provisional"]
    assert final[0]["status"] == "final"
    assert [*read(place), place.registry.artifacts.read(page).data] == final
