"""
03-ModelEvaluation, specified on emulators: probabilities and purchases of some weeks.

No model is needed: tests write the history that 01 would have written.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics

from propensity import tables
from propensity.edges.columns import record
from tests import shop
from tests.conftest import Workplace
from tests.functions.conftest import Place
from tests.shop import DAY, WEEK, event, purchase

MONDAY = date(2026, 3, 2)
USERS = 200


def published(
    place: Place,
    as_of: date,
    probabilities: dict[str, float],
    *,
    version: int = 0,
    use_case: str = "ga4_purchase",
) -> None:
    """Add a publication to the history."""
    rows = [
        {
            "use_case": use_case,
            "user_id": user,
            "as_of": as_of,
            "probability": probability,
            "percentile": 50,
            "model_version": version,
            "scored_at": datetime(2026, 3, 2, tzinfo=UTC),
        }
        for user, probability in probabilities.items()
    ]
    schema = tables.PREDICTIONS_HISTORY.arrow_schema()
    place.warehouse.append(
        tables.PREDICTIONS_HISTORY,
        pa.Table.from_pylist(rows, schema),
        job_id=f"published-{uuid.uuid4().hex}",
    )


def evaluations(place: Place) -> list[dict]:
    return place.rows("SELECT * FROM ma_model_evaluation ORDER BY week, model_version")


@pytest.fixture(scope="module")
def own_export(new_export) -> Workplace:
    """An export whose rows each test says."""
    return new_export([event("u1", MONDAY)])


@pytest.fixture
def shop_of(own_export, borrow) -> Callable[[list[shop.Row]], Place]:
    """Return the place of one test, whose export holds these rows."""

    def make(rows: list[shop.Row]) -> Place:
        name = own_export.ga4_dataset
        with own_export.bigquery.client() as client:
            for table in client.list_tables(name):
                client.delete_table(table)
        shop.load(own_export, rows)
        return borrow(name)

    return make


@pytest.fixture(scope="module")
def scores() -> dict[str, float]:
    """A probability for each of many users; some share one."""
    generator = np.random.default_rng(3)
    drawn = np.round(generator.beta(1, 4, USERS), 2)
    return {f"u{number}": float(value) for number, value in enumerate(drawn)}


@pytest.fixture(scope="module")
def converters(scores) -> list[str]:
    """Who of them buys, about as often as foretold."""
    generator = np.random.default_rng(4)
    return [user for user, p in scores.items() if generator.random() < p]


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
        published(place, MONDAY, scores)
        # What is in force later is not what was in force for the week.
        published(place, MONDAY + WEEK, dict.fromkeys(scores, 0.99), version=1)
        published(place, MONDAY, {"u0": 1.0}, use_case="first_day_churn")
        return place

    def test_are_those_of_scikit_learn_on_the_joined_rows(
        self, place, scores, converters, logged
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
        wanted = {
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
        assert {name: row[name] for name in wanted} == pytest.approx(wanted, rel=1e-9)
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
        for name in ("roc_auc", "pr_auc", "brier", "log_loss", "calibration_error"):
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
        assert [part["decile"] for part in row["lift"]] == list(range(1, 11))
        assert sum(part["conversions"] for part in row["lift"]) == pytest.approx(
            label.sum()
        )
        assert answer["weeks"][0]["roc_auc"] == pytest.approx(wanted["roc_auc"])
        [line] = logged()
        assert line["function"] == "modelEvaluation"
        assert line["outcome"] == "ok"
        assert (line["model_version"], line["rows_in"], line["rows_out"]) == (
            0,
            USERS,
            1,
        )
        assert "u0" not in str(line)
        # Twice equals once.
        place.run("model_evaluation", MONDAY + WEEK)
        [again] = evaluations(place)
        for changing in ("evaluated_at", "bytes_billed"):
            row.pop(changing), again.pop(changing)
        assert again == row
        assert place.table("ma_model_evaluation_staging") == []


class TestColumns:
    @pytest.mark.parametrize(
        "table",
        [
            "ma_model_evaluation",
            pytest.param("ma_model_evaluation_staging", marks=pytest.mark.long),
        ],
    )
    def test_are_told_by_their_names(
        self, new_export, make_place, scores, converters, table
    ):
        """A table that was mended has a column at its end that others have within."""
        rows = [purchase(user, MONDAY + DAY) for user in converters]
        place = make_place(new_export(rows).ga4_dataset)
        published(place, MONDAY, scores)
        partition = "week" if table == "ma_model_evaluation" else "staged_on"
        place.warehouse.execute(
            f"CREATE TABLE mended PARTITION BY {partition} AS "
            f"SELECT * EXCEPT (roc_auc), roc_auc FROM {table}"
        )
        place.warehouse.drop(table)
        place.warehouse.execute(
            f"CREATE TABLE {table} PARTITION BY {partition} AS SELECT * FROM mended"
        )

        answer = place.run("model_evaluation", MONDAY + WEEK)
        [row] = evaluations(place)

        assert row["roc_auc"] == answer["weeks"][0]["roc_auc"]
        assert row["pr_auc"] != row["roc_auc"]


class TestThresholds:
    """Whom to act on: by the threshold of earlier weeks, and by a budget."""

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
            one: metrics.f1_score(label, probability >= one)
            for one in sorted(set(probability), reverse=True)
        }
        return max(by_threshold, key=lambda one: round(by_threshold[one], 12))

    @pytest.fixture
    def place(self, shop_of, scores):
        """Six weeks of one publication each, all outcomes there."""
        place = shop_of(self.bought(scores, *self.WEEKS))
        for week in self.WEEKS:
            published(place, week, scores)
        return place

    @pytest.mark.parametrize(
        "runs",
        [WEEKS[-1:], pytest.param(WEEKS, marks=pytest.mark.long)],
        ids=["caught up with", "week by week"],
    )
    def test_are_the_best_on_the_weeks_before(self, place, scores, runs):
        """Of the weeks whose outcomes ended in the 28 days before, and never of the
        week itself: week by week, as the scheduler runs it, or where no earlier run
        has evaluated any."""
        for week in runs:
            place.run("model_evaluation", week + WEEK)
        rows = evaluations(place)
        probability = np.array(list(scores.values()))

        assert [row["best_threshold_source"] for row in rows] == [
            None,
            *["evaluations"] * 5,
        ]
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
            assert row["f1_at_best_low"] <= row["f1_at_best"] <= row["f1_at_best_high"]
        assert rows[1]["recall_at_best"] > rows[1]["recall"]

    def test_do_not_depend_on_the_week_s_own_outcomes(self, place, scores):
        """With other purchases in the last week it has other figures, and the same
        threshold: also where that week is evaluated for the first time."""
        *earlier, last = self.WEEKS[:3]
        place.run("model_evaluation", last)
        rows = self.bought(scores, *earlier)
        found = []
        for buyers in (self.buyers(scores, last), list(scores)):
            shop.load(
                place.workplace, [*rows, *(purchase(u, last + DAY) for u in buyers)]
            )
            place.warehouse.execute(
                "DELETE FROM ma_model_evaluation WHERE week = @week", {"week": last}
            )
            place.run("model_evaluation", last + WEEK)
            found.append(evaluations(place)[-1])

        assert {row["week"] for row in found} == {last}
        assert len({row["conversions"] for row in found}) == 2
        assert {row["best_threshold"] for row in found} == {
            self.best_of(scores, *earlier)
        }

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
        assert again["best_threshold_source"] == "evaluations"

    @pytest.mark.long
    def test_are_of_no_outcome_that_ends_after_the_week_begins(self, shop_of, scores):
        """Weeks that overlap: what comes of the first is not known at the second."""
        later = MONDAY + 3 * DAY
        place = shop_of(self.bought(scores, MONDAY, later))
        for week in (MONDAY, later):
            published(place, week, scores)
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
        }
        place.warehouse.append(
            tables.TRAINING_METADATA,
            record(row, tables.TRAINING_METADATA),
            job_id=f"trained-{uuid.uuid4().hex}",
        )
        unsure = place.with_settings(PROPENSITY_MINIMUM_CONVERSIONS="1000")
        for week in self.WEEKS[:2]:
            unsure.run("model_evaluation", week + WEEK)
        rows = evaluations(place)

        assert [
            (row["best_threshold"], row["best_threshold_source"]) for row in rows
        ] == [(0.25, "training")] * 2
        assert rows[0]["f1_at_best"] is not None

    @pytest.mark.long
    @pytest.mark.parametrize("status", ["final", "provisional"])
    def test_do_without_rows_from_before_them(self, place, scores, status):
        """Rows of an older release have no counts by threshold: final ones are passed
        over, and provisional ones get them as they are evaluated again."""
        place.run("model_evaluation", self.WEEKS[0] + WEEK)
        [old] = evaluations(place)
        place.warehouse.execute("DELETE FROM ma_model_evaluation WHERE TRUE")
        place.warehouse.append(
            tables.EVALUATION,
            record({**old, "thresholds": [], "status": status}, tables.EVALUATION),
            job_id=f"old-{uuid.uuid4().hex}",
        )
        row = place.run("model_evaluation", self.WEEKS[1] + WEEK)["weeks"][-1]
        again = self.best_of(scores, self.WEEKS[0])

        assert row["week"] == str(self.WEEKS[1])
        assert row["best_threshold"] == (again if status == "provisional" else None)
        assert row["precision_at_budget"] is not None

    @pytest.mark.long
    def test_and_the_budget_are_in_the_answer(self, place, scores):
        """All figures; counts by threshold are in the table alone."""
        place.run("model_evaluation", self.WEEKS[0] + WEEK)
        budgeted = place.with_settings(PROPENSITY_BUDGET="20")
        [_, answered] = budgeted.run("model_evaluation", self.WEEKS[1] + WEEK)["weeks"]
        [_, row] = evaluations(place)
        probability = np.array(list(scores.values()))
        label = np.isin(list(scores), self.buyers(scores, self.WEEKS[1]))

        assert {*row} - {*answered} == {
            "thresholds",
            "is_shadow",
            "bytes_billed",
            "unknown_outcomes",
            "conflicting_outcomes",
            *(column.name for column in (*tables.COST, *tables.VALUE)),
        }
        assert (answered["budget"], answered["users_at_budget"]) == ("20", 20)
        hits = answered["true_positives_at_budget"]
        above = probability > np.sort(probability)[-20]
        assert label[above].sum() <= hits <= label[above].sum() + 20 - above.sum()
        assert answered["precision_at_budget"] == pytest.approx(hits / 20)
        assert answered["recall_at_budget"] == pytest.approx(hits / label.sum())
        assert answered["lift_at_budget"] == pytest.approx(hits / 20 / label.mean())
        for entry in row["thresholds"]:
            called = probability >= entry["threshold"]
            assert entry["users"] == called.sum()
            assert entry["conversions"] == (called & label).sum()

    @pytest.mark.long
    def test_of_one_class_are_figures_where_they_exist(self, shop_of, scores):
        """Where nobody bought, precision is 0 and there is no recall."""
        place = shop_of([*self.bought(scores, MONDAY), event("u1", MONDAY + WEEK)])
        for week in self.WEEKS[:2]:
            published(place, week, scores)
            place.run("model_evaluation", week + WEEK)
        row = evaluations(place)[-1]

        assert row["outcome"] == "one_class"
        assert row["best_threshold_source"] == "evaluations"
        assert (row["precision_at_best"], row["recall_at_best"]) == (0, None)
        assert (row["precision_at_budget"], row["lift_at_budget"]) == (0, None)


class TestMaturity:
    def test_is_provisional_then_final(self, shop_of, scores):
        """Defect: labels closed before GA4 did. Late rows still change the figures."""
        some = [purchase("u1", MONDAY + 2 * DAY)]
        place = shop_of([event("u1", MONDAY - DAY), *some])
        published(place, MONDAY, scores)

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

    def test_is_caught_up_with(self, shop_of, scores):
        """Weeks that were missed while 03 did not run are evaluated with the newest."""
        weeks = [MONDAY + n * WEEK for n in range(3)]
        place = shop_of([purchase("u1", week + DAY) for week in weeks])
        for week in weeks:
            published(place, week, scores)

        answer = place.run("model_evaluation", weeks[-1] + WEEK)

        assert [(row["week"], row["status"]) for row in answer["weeks"]] == [
            (str(weeks[0]), "final"),
            (str(weeks[1]), "final"),
            (str(weeks[2]), "provisional"),
        ]


class TestWeeksWithout:
    def test_predictions_get_a_row_that_says_so(self, shop_of, scores):
        """And once there are some, the row is replaced by theirs."""
        place = shop_of([purchase("u1", MONDAY + DAY)])

        answer = place.run("model_evaluation", MONDAY + WEEK)
        [row] = evaluations(place)
        published(place, MONDAY, scores)
        place.run("model_evaluation", MONDAY + WEEK)
        [later] = evaluations(place)

        assert answer["weeks"][0]["outcome"] == "no_predictions"
        assert (row["outcome"], row["model_version"]) == ("no_predictions", -1)
        assert row["roc_auc"] is None
        assert (later["outcome"], later["model_version"]) == ("evaluated", 0)

    @pytest.mark.parametrize(
        "buying",
        [False, pytest.param(True, marks=pytest.mark.long)],
        ids=["nobody", "everybody"],
    )
    def test_two_classes_get_a_row_that_says_so(self, shop_of, scores, buying):
        """Where nobody bought, or everybody, there is no ROC curve, and no crash."""
        rows = [event("u1", MONDAY - DAY)]
        rows += [purchase(user, MONDAY + DAY) for user in scores if buying]
        place = shop_of(rows)
        published(place, MONDAY, scores)

        place.run("model_evaluation", MONDAY + WEEK)
        [row] = evaluations(place)

        assert row["outcome"] == "one_class"
        assert row["roc_auc"] is None
        assert row["conversions"] == (USERS if buying else 0)
        assert row["brier"] is not None


class TestFailures:
    def test_of_missing_tables_say_so_and_can_be_tried_again(self, shop_of, scores):
        """424 names what is missing; the lease is free for the next try."""
        place = shop_of([purchase("u1", MONDAY + DAY)])
        published(place, MONDAY, scores)
        gone = replace(
            place.workplace,
            environment={
                **place.workplace.environment,
                "PROPENSITY_DATASET": "nobody_made_this",
            },
        )

        answer = Place(gone).post("model_evaluation", {"as_of": MONDAY + WEEK})

        assert answer.status_code == 424
        assert answer.json["error"] == "missing_table"
        assert answer.json["retryable"] is False
        assert "nobody_made_this" in answer.json["message"]
        place.run("model_evaluation", MONDAY + WEEK)
