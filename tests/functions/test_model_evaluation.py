"""
03-ModelEvaluation, specified: probabilities and purchases of some weeks.

No model is needed: tests write the history that 01 would have written.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from propensity.runs import report
from propensity.tables.audiences import AUDIENCE_LIFT
from propensity.tables.models import DRIFT, TRAINING_METADATA
from tests.functions.conftest import MONDAY, USERS
from tests.propensity.learning.report_pages import ALARM, UPLIFT
from tests.support import shop
from tests.support.deployment import Deployment
from tests.support.rows import CARD, append_rows, publish
from tests.support.shop import DAY, WEEK, event, purchase

NAME = "ga4_purchase"
PAGE = f"reports/{NAME}/{MONDAY}.html"


@pytest.fixture(scope="module")
def week(borrow_deployment, scores, converters) -> tuple[Deployment, dict[str, Any]]:
    """A week with its outcomes, and what must not count for it; the run's answer."""
    rows = [
        purchase(user, MONDAY + DAY, 10.0, transaction=f"T-{user}")
        for user in converters
    ]
    rows += [
        # The thank-you page once more, and users whom nobody had scored.
        purchase(
            converters[0], MONDAY + 2 * DAY, 10.0, transaction=f"T-{converters[0]}"
        ),
        purchase("stranger 1", MONDAY + 3 * DAY, 1_000.0),
        purchase("stranger 2", MONDAY + 4 * DAY, 1_000.0, transaction="again"),
        purchase("stranger 2", MONDAY + 4 * DAY, 1_000.0),
        # Someone who refused cookies, whose thank-you page was opened twice.
        purchase(None, MONDAY + DAY, 30.0, transaction="of nobody"),
        purchase(None, MONDAY + 2 * DAY, 30.0, transaction="of nobody"),
        # These are not of the week.
        *(purchase(user, MONDAY - DAY, 1_000.0) for user in scores),
        *(purchase(user, MONDAY + WEEK, 1_000.0) for user in scores),
        *(event("u1", MONDAY + n * DAY) for n in range(-1, 8)),
    ]
    deployment = borrow_deployment(rows)
    values = {user: 1.0 + n % 7 for n, user in enumerate(scores)}
    categories = {}
    for n, user in enumerate(scores):
        country = "DE" if n % 4 else "FR"
        presence = "away" if n % 3 else "active"
        values_of_user = {"country": country, "source": f"s{n % 8}"}
        categories[user] = json.dumps({**values_of_user, "presence": presence})
    publish(deployment.warehouse, MONDAY, scores, values=values, categories=categories)
    # A later publication is not the one that was in force for the week.
    publish(deployment.warehouse, MONDAY + WEEK, dict.fromkeys(scores, 0.99), version=1)
    publish(deployment.warehouse, MONDAY, {"u0": 1.0}, use_case="first_day_churn")
    same = {"use_case": NAME}
    alarm = {**ALARM, **same, "as_of": MONDAY, "bins": []}
    append_rows(deployment.warehouse, DRIFT, [alarm])
    uplift = {**UPLIFT, **same, "week": MONDAY, "sums": []}
    append_rows(deployment.warehouse, AUDIENCE_LIFT, [uplift])
    return deployment, deployment.run("model_evaluation", MONDAY + WEEK)


class TestWeek:
    def test_a_week_is_of_all_who_were_scored(self, week, scores, converters):
        """Defect: the join is an outer one, with the history and not the present."""
        deployment, answer = week
        [row] = deployment.evaluations()
        probability = np.array(list(scores.values()))
        label = np.array([user in converters for user in scores]).astype(int)

        assert (row["outcome"], row["status"]) == ("evaluated", "provisional")
        assert (row["week"], row["week_end"]) == (MONDAY, MONDAY + WEEK)
        assert (row["prediction_as_of"], row["model_version"]) == (MONDAY, 0)
        assert (row["users"], row["conversions"]) == (USERS, label.sum())
        assert row["unscored_converters"] == 2
        assert row["mean_probability"] == pytest.approx(probability.mean())
        roc_auc = metrics.roc_auc_score(label, probability)
        assert row["roc_auc"] == pytest.approx(roc_auc)
        counts = (row["true_positives"], row["false_positives"])
        called = probability >= 0.5
        assert counts == (label[called].sum(), (1 - label[called]).sum())
        assert [part["decile"] for part in row["lift"]] == list(range(1, 11))
        assert answer["weeks"][0]["roc_auc"] == pytest.approx(roc_auc)
        assert "thresholds" not in answer["weeks"][0]

    def test_a_week_has_what_each_user_paid_in_it(self, week, converters):
        """Beside what was promised; nobody else's amounts count, and none twice. Money
        is ranked as users are: all pay the same."""
        deployment, answer = week
        [row] = deployment.evaluations()
        shown = answer["weeks"][0]

        assert row["value_observed"] == Decimal(10 * len(converters))
        assert row["value_promised"] == sum(1 + n % 7 for n in range(USERS))
        assert shown["value_observed"] == float(row["value_observed"])
        assert shown["revenue_at_budget_by_probability"] == pytest.approx(
            shown["recall_at_budget"]
        )

    def test_a_week_says_how_many_purchases_have_no_user_id(self, week, converters):
        """And what they brought, of all purchases: why the shop's total is higher."""
        deployment, answer = week
        [row] = deployment.evaluations()
        strangers = 3

        assert row["purchases"] == len(converters) + strangers + 1
        assert row["purchases_without_id"] == 1
        assert row["revenue"] == 10.0 * len(converters) + 3_000.0 + 30.0
        assert row["revenue_without_id"] == 30.0
        assert answer["weeks"][0]["purchases_without_id"] == 1

    def test_a_week_is_compared_by_declared_categories(self, week, scores, converters):
        """What was expected of each value and what came; the rest are others. Active
        users and those who were away are measured apart."""
        _, answer = week
        rows = answer["weeks"][0]["categories"]
        by_value = {row["value"]: row for row in rows}
        sources = [row["value"] for row in rows if row["category"] == "source"]

        for value, is_so in (("FR", lambda n: n % 4 == 0), ("away", lambda n: n % 3)):
            users = [user for n, user in enumerate(scores) if is_so(n)]
            mean = sum(scores[user] for user in users) / len(users)
            assert by_value[value]["users"] == len(users)
            assert by_value[value]["conversions"] == len({*users} & {*converters})
            assert by_value[value]["mean_probability"] == pytest.approx(mean)
        assert sources == ["s0", "s1", "s2", "s3", "s4", "others"]
        assert sum(row["users"] for row in rows) == 3 * USERS

    def test_a_week_has_a_page_that_says_what_the_row_says(self, week):
        """Beside the use case's objects, and named in the answer, with alarms and
        audiences as the tables have them when it is written. Its figures are of groups
        alone: no id of anybody is on it."""
        deployment, answer = week
        [row] = deployment.evaluations()
        page = deployment.page(PAGE)
        low = row["roc_auc_low"]
        high = row["roc_auc_high"]

        assert answer["reports"] == [PAGE]
        assert "· provisional" in page
        assert f"{100 * row['mean_probability']:.1f}% of {USERS} users to buy" in page
        assert f"(ROC AUC) {row['roc_auc']:.3f} {low:.3f} to {high:.3f}" in page
        assert "Expected and actual by category" in page
        assert "purchases has no user id" in page
        assert ALARM["message"] in page
        assert "winback 150 of 900" in page
        assert re.findall(r"\bu\d+\b", deployment.read(PAGE).decode()) == []

    def test_a_week_is_logged_with_what_alerts_read(self, week, log_lines):
        """Nobody is named."""
        deployment, answer = week
        log_lines()
        deployment.run("model_evaluation", MONDAY + WEEK)
        lines = log_lines()
        [evaluated] = [one for one in lines if one["message"] == "evaluated"]

        assert len(deployment.evaluations()) == 1
        assert evaluated["function"] == "modelEvaluation"
        assert evaluated["roc_auc"] == answer["weeks"][0]["roc_auc"]
        assert (evaluated["model_version"], evaluated["users"]) == (0, USERS)
        assert "u0" not in str(lines)

    def test_a_week_is_evaluated_though_its_page_fails(
        self, week, log_lines, monkeypatch
    ):
        """The log says what was not written."""
        deployment, _ = week

        def broken(*_: object, **__: object) -> str:
            raise ZeroDivisionError("no such figure")

        monkeypatch.setattr(report, "week_page", broken)
        log_lines()
        again = deployment.run("model_evaluation", MONDAY + WEEK)
        [warning] = [one for one in log_lines() if "reports" in one["message"]]

        assert len(deployment.evaluations()) == 1
        assert "reports" not in again
        assert warning["severity"] == "WARNING"
        assert warning["message"] == (
            "reports not written: ZeroDivisionError: no such figure"
        )

    def test_a_week_has_an_alarm_where_outcomes_are_beyond_the_season(self, monday):
        """Nobody was promised to buy so much less often than they did. Once the next
        week says nothing, as nobody was scored for it, this is over."""
        monday.warehouse.execute(
            "UPDATE ma_predictions_runs SET probability = probability / 100 WHERE TRUE"
        )
        answer = monday.run("model_evaluation", MONDAY + WEEK)
        later = monday.run("model_evaluation", MONDAY + 2 * WEEK)

        [alarm] = answer["drift"]["alarms"]
        assert (alarm["cause"], alarm["name"]) == ("season", "calibration")
        assert later["drift"] == {"alarms": []}


class TestMaturity:
    def test_a_week_is_provisional_then_final(self, borrow_deployment, scores):
        """Defect: labels closed before GA4 did. Late rows still change the figures.
        What 01 reads of both, with the shift, is in ``test_season.py``."""
        some = [purchase("u1", MONDAY + 2 * DAY)]
        deployment = borrow_deployment([event("u1", MONDAY - DAY), *some])
        publish(deployment.warehouse, MONDAY, scores)
        deployment.warehouse.execute(
            "UPDATE ma_publications_runs SET log_odds_shift = 0.25 WHERE TRUE"
        )
        mature = MONDAY + WEEK + 3 * DAY

        early = deployment.run("model_evaluation", MONDAY + WEEK)
        shop.load(deployment, [*some, purchase("u2", MONDAY + 2 * DAY)])
        late = deployment.run("model_evaluation", mature)
        # A run of the earlier date makes nothing provisional again.
        deployment.run("model_evaluation", MONDAY + WEEK)
        page = deployment.page(PAGE)
        [row, *_] = deployment.evaluations()
        # The week between has its final row in time, though nothing was published then.
        last = deployment.run("model_evaluation", MONDAY + 2 * WEEK)

        [before] = early["weeks"]
        first = late["weeks"][0]
        assert (before["status"], before["conversions"]) == ("provisional", 1)
        assert (first["week"], first["status"]) == (str(MONDAY), "final")
        assert (row["status"], row["conversions"]) == ("final", 2)
        assert "· final" in page
        assert {row["week"]: row["status"] for row in last["weeks"]} == {
            str(MONDAY + 3 * DAY): "final",
            str(MONDAY + WEEK): "provisional",
        }
        assert row["log_odds_shift"] == 0.25

    def test_a_week_is_of_the_publication_that_stands(self, monday, scores):
        """A week that was repaired and published again is evaluated again, once, and
        nothing stays of the probabilities that were replaced.

        Defect: 03 made a week final while a run of 01 that had begun before it was
        still to replace the publication; no run looked again."""
        monday.run("model_evaluation", MONDAY + 2 * WEEK)
        [before, *_] = monday.evaluations()
        scored_at = before["evaluated_at"] - timedelta(minutes=1)
        halved = {user: probability / 2 for user, probability in scores.items()}
        publish(monday.warehouse, MONDAY, halved, scored_at=scored_at)
        again = monday.run("model_evaluation", MONDAY + 2 * WEEK)
        once_more = monday.run("model_evaluation", MONDAY + 2 * WEEK)
        [after] = [row for row in monday.evaluations() if row["week"] == MONDAY]

        assert before["status"] == after["status"] == "final"
        assert again["weeks"][0]["week"] == str(MONDAY)
        assert str(MONDAY) not in [row["week"] for row in once_more["weeks"]]
        assert after["mean_probability"] == before["mean_probability"] / 2
        assert after["prediction_scored_at"] == scored_at

    def test_a_week_is_of_what_stands_where_01_was_missed(
        self, borrow_deployment, scores, converters
    ):
        """Defect: a final week without a publication of its own kept the figures of an
        earlier one that was replaced. It is evaluated again, once, and is of the newest
        before it alone; so is one that had no probabilities at all."""
        bought = [purchase(user, MONDAY + DAY) for user in converters]
        deployment = borrow_deployment([event("u1", MONDAY - DAY)] + bought)
        late = MONDAY + 2 * WEEK
        deployment.run("model_evaluation", MONDAY + WEEK)
        versions = []
        for days, version in ((None, -1), (-WEEK, 0), (-3 * DAY, 1)):
            if days is not None:
                publish(
                    deployment.warehouse,
                    MONDAY + days,
                    scores,
                    version=version,
                    scored_at=datetime.now(UTC),
                )
            deployment.run("model_evaluation", late)
            [row] = [row for row in deployment.evaluations() if row["week"] == MONDAY]
            assert row["status"] == "final"
            versions.append(row["model_version"])
        once_more = deployment.run("model_evaluation", late)

        assert versions == [-1, 0, 1]
        assert str(MONDAY) not in [row["week"] for row in once_more["weeks"]]

    def test_a_week_waits_for_a_day_that_the_export_lacks(
        self, borrow_deployment, scores, converters
    ):
        """Defect: a table that came weeks late was in no figure, and none said so. As
        long as a run catches up the week is provisional, and its report names the day;
        once the day is there it is final, with all who bought."""
        wednesday = MONDAY + 2 * DAY
        others = [event("u0", wednesday + n * WEEK) for n in (-2, -1, *range(1, 10))]
        half = len(converters) // 2
        bought = [purchase(user, MONDAY + DAY) for user in converters[:half]]
        deployment = borrow_deployment([*others, *bought])
        publish(deployment.warehouse, MONDAY, scores)
        # Longer ago than features read.
        late = MONDAY + 10 * WEEK
        lacking = deployment.run("model_evaluation", late)
        page = deployment.page(PAGE)
        came = [purchase(user, wednesday) for user in converters[half:]]
        shop.load(deployment, came)
        whole = deployment.run("model_evaluation", late)

        assert lacking["missing_days"] == [str(wednesday)]
        first = lacking["weeks"][0]
        then = whole["weeks"][0]
        assert first["week"] == then["week"] == str(MONDAY)
        assert (first["status"], first["conversions"]) == ("provisional", half)
        assert "The export lacks 4 Mar 2026" in page
        assert (then["status"], then["conversions"]) == ("final", len(converters))
        assert "missing_days" not in whole


class TestWeeksWithout:
    def test_two_classes_or_predictions_get_a_row_that_says_so(
        self, borrow_deployment, scores
    ):
        """Where nobody bought there is no ROC curve, and no crash. Once there are
        predictions, the row that says there were none is replaced."""
        deployment = borrow_deployment([event("u1", MONDAY - DAY)])
        answer = deployment.run("model_evaluation", MONDAY + WEEK)
        [before] = deployment.evaluations()
        publish(deployment.warehouse, MONDAY, scores)
        deployment.run("model_evaluation", MONDAY + WEEK)
        [row] = deployment.evaluations()

        assert answer["weeks"][0]["outcome"] == "no_predictions"
        assert (before["outcome"], before["model_version"]) == ("no_predictions", -1)
        assert before["roc_auc"] is None
        assert "reports" not in answer
        assert (row["outcome"], row["model_version"]) == ("one_class", 0)
        assert row["roc_auc"] is row["residual_log_odds"] is None
        assert row["conversions"] == 0
        assert row["brier"] is not None

    def test_labels_that_nobody_foretold_are_not_read(self, monday, log_lines):
        """Purchases were foretold, and signing up is what is set since: the labels say
        nothing of these probabilities, and figures of purchases stay. What only
        features read is no label."""
        monday.run("model_evaluation", MONDAY + WEEK)
        before = monday.evaluations()
        labels = {"user_column": "user_pseudo_id", "label_event": "purchase"}
        trained_with = {**labels, "minimum_views": 3}
        record = {
            "use_case": NAME,
            "model_version": 0,
            "training_date": MONDAY,
            "as_of": MONDAY,
            "card": json.dumps({**CARD, "statement_parameters": trained_with}),
        }
        append_rows(monday.warehouse, TRAINING_METADATA, [record])
        log_lines()
        other = monday.with_settings(PROPENSITY_LABEL_EVENT="sign_up")
        answer = other.run("model_evaluation", MONDAY + WEEK)
        messages = [line["message"] for line in log_lines()]

        assert answer["weeks"] == []
        assert monday.evaluations() == before
        assert any("version 0 was trained with" in message for message in messages)
        assert monday.run("model_evaluation", MONDAY + WEEK)["weeks"]


BUDGETED = [MONDAY + n * WEEK for n in range(4)]


def test_weeks_are_caught_up_with_by_the_budget_that_is_set(borrow_deployment, scores):
    """Those that no run evaluated; a week's page has no later one."""
    buyers = [user for user, score in scores.items() if score > 0.3]
    rows = [purchase(user, week + DAY) for week in BUDGETED for user in buyers]
    deployment = borrow_deployment(rows, PROPENSITY_BUDGET="20")
    for week in BUDGETED:
        publish(deployment.warehouse, week, scores)
    deployment.run("model_evaluation", BUDGETED[-1] + WEEK)
    evaluated = deployment.evaluations()
    page = deployment.read(f"reports/{NAME}/{BUDGETED[1]}.html").decode()
    shown = re.findall(r'<th scope="row"[^>]*>(\d+\s+Mar\s+2026)</th>', page)

    assert [row["week"] for row in evaluated] == BUDGETED
    for row in evaluated:
        assert (row["budget"], row["users_at_budget"]) == ("20", 20)
        assert row["precision_at_budget"] == 1
        assert row["recall_at_budget"] == pytest.approx(20 / len(buyers))
    assert [" ".join(name.split()) for name in shown] == ["9 Mar 2026", "2 Mar 2026"]
