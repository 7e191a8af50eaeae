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

import pytest

from propensity.runs import report
from propensity.tables.audiences import AUDIENCE_LIFT
from propensity.tables.models import DRIFT, TRAINING_METADATA
from tests.functions.conftest import MONDAY, USERS
from tests.propensity.learning.report_pages import ALARM, UPLIFT
from tests.support import shop
from tests.support.deployment import Deployment
from tests.support.golden import same_as_golden, visible
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
        """
        With what each paid in it, beside what was promised: nobody else's amounts
        count, and none twice. Purchases without a user id are why the shop's total is
        higher.

        The join is an outer one, with the history and not the present.
        """
        deployment, answer = week
        [row] = deployment.evaluations()
        shown = answer["weeks"][0]

        assert (row["outcome"], row["status"]) == ("evaluated", "provisional")
        assert (row["week"], row["week_end"]) == (MONDAY, MONDAY + WEEK)
        assert (row["prediction_as_of"], row["model_version"]) == (MONDAY, 0)
        assert (row["users"], row["conversions"]) == (USERS, len(converters))
        assert row["unscored_converters"] == 2
        mean = sum(scores.values()) / USERS
        assert row["mean_probability"] == pytest.approx(mean)
        called = {user for user, probability in scores.items() if probability >= 0.5}
        assert row["true_positives"] == len(called & {*converters})
        assert row["false_positives"] == len(called - {*converters})
        assert row["value_observed"] == Decimal(10 * len(converters))
        assert row["value_promised"] == sum(1 + n % 7 for n in range(USERS))
        assert row["purchases"] == len(converters) + 3 + 1
        assert row["revenue"] == 10.0 * len(converters) + 3_000.0 + 30.0
        assert (row["purchases_without_id"], row["revenue_without_id"]) == (1, 30.0)
        assert shown["roc_auc"] == row["roc_auc"] > 0.5
        assert "thresholds" not in shown

    def test_a_week_is_compared_by_declared_categories(self, week, scores, converters):
        """What was expected of each value and what came; the rest are others. Active
        users and those who were away are measured apart."""
        _, answer = week
        rows = answer["weeks"][0]["categories"]
        by_value = {row["value"]: row for row in rows}
        sources = [row["value"] for row in rows if row["category"] == "source"]
        away = [user for n, user in enumerate(scores) if n % 3]

        assert by_value["away"]["users"] == len(away)
        assert by_value["away"]["conversions"] == len({*away} & {*converters})
        assert sources == ["s0", "s1", "s2", "s3", "s4", "others"]
        assert sum(row["users"] for row in rows) == 3 * USERS

    def test_a_week_has_a_page_that_says_what_the_row_says(self, week):
        """Beside the use case's objects, and named in the answer, with alarms and
        audiences as the tables have them when it is written. No id is on it."""
        deployment, answer = week
        page = deployment.read(PAGE).decode()

        assert answer["reports"] == [PAGE]
        assert re.findall(r"\bu\d+\b", page) == []
        at = f"{deployment.evaluations()[0]['evaluated_at']:%-d %b %Y, %H:%M} UTC"
        same_as_golden("week", {"users": visible(page).replace(at, "just now")})

    def test_a_week_is_evaluated_though_its_page_fails(
        self, week, log_lines, monkeypatch
    ):
        """The log says what was not written."""
        deployment, _ = week
        monkeypatch.setattr(report, "week_page", lambda *_, **__: 1 / 0)
        again = deployment.run("model_evaluation", MONDAY + WEEK)

        assert "reports" not in again
        assert "reports not written: ZeroDivisionError" in str(log_lines())


def publish_range(deployment: Deployment) -> None:
    """Give all publications a range."""
    deployment.warehouse.execute(
        "UPDATE ma_publications_runs SET spread = 0.15, value_spread = 0.25, "
        "freedom = 4 WHERE TRUE"
    )


class TestRange:
    def test_a_week_is_judged_by_the_range_that_was_published(self, monday, scores):
        """For the users who are still there, since those who were suppressed don't
        come either; another date's predictions have no range for it."""
        publish_range(monday)
        answer = monday.run("model_evaluation", MONDAY + WEEK)
        [before] = monday.evaluations()
        half = sorted(scores)[: len(scores) // 2]
        monday.warehouse.execute(
            "DELETE FROM ma_predictions_runs WHERE as_of = @as_of "
            "AND user_id IN UNNEST(@users)",
            {"as_of": MONDAY, "users": half},
        )
        monday.run("model_evaluation", MONDAY + WEEK)
        [after] = monday.evaluations()
        monday.run("model_evaluation", MONDAY + WEEK + 3 * DAY)
        other = [row for row in monday.evaluations() if row["week"] != MONDAY]

        expected = before["users"] * before["mean_probability"]
        assert before["conversions_low"] < expected < before["conversions_high"]
        assert "in 19 weeks of 20" in monday.page(PAGE)
        assert answer["weeks"][0]["spread"] == 0.15
        low = before["conversions_low"] * after["users"] / before["users"]
        assert after["conversions_low"] == pytest.approx(low, rel=0.2)
        assert [row["conversions_low"] for row in other] == [None]

    def test_a_week_without_most_of_its_buyers_is_an_alarm(self, monday, converters):
        """Also if nobody bought, as with a tag that broke, whose log-odds are none."""
        publish_range(monday)
        for kept in (len(converters) // 2, 0):
            rows = [purchase(user, MONDAY + DAY) for user in converters[:kept]]
            shop.load(monday, [event("u1", MONDAY + DAY), *rows])
            answer = monday.run("model_evaluation", MONDAY + WEEK)

            [alarm] = answer["drift"]["alarms"]
            assert alarm["cause"] == "season"
            assert f"actual: {kept}" in alarm["message"]
        assert monday.evaluations()[0]["residual_log_odds"] is None

    def test_a_week_that_lacks_a_day_is_not_judged(self, borrow_deployment, scores):
        """Its buyers may have bought on that day."""
        days = [event("u1", MONDAY + days * DAY) for days in range(-29, 8)]
        lacked = MONDAY + 2 * DAY
        rows = [row for row in days if row["event_date"] != f"{lacked:%Y%m%d}"]
        deployment = borrow_deployment(rows)
        publish(deployment.warehouse, MONDAY, scores)
        publish_range(deployment)
        answer = deployment.run("model_evaluation", MONDAY + WEEK)
        [row] = deployment.evaluations()

        assert row["lacked"] == [lacked]
        assert answer["drift"]["alarms"] == []
        assert "Not judged: the export lacks 4 Mar 2026" in deployment.page(PAGE)


class TestMaturity:
    def test_a_week_is_provisional_then_final(self, borrow_deployment, scores):
        """GA4 changes its tables for days, and late rows change the figures. What 01
        reads of both, with the shift, is in ``test_predictions.py``."""
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
        """
        A week that was repaired and published again is evaluated again, once, and
        nothing stays of the probabilities that were replaced.

        Also where 03 made it final while a run of 01 was still to replace the
        publication.
        """
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

    def test_a_week_is_of_what_stands_where_01_was_missed(self, monday, scores):
        """A final week without a publication of its own, whose figures are of one that
        was replaced, is evaluated again, once, and is of the newest before it alone; so
        is one that had no probabilities at all."""
        monday.warehouse.execute("DELETE FROM ma_publications_runs WHERE TRUE")
        late = MONDAY + 2 * WEEK
        for as_of in (MONDAY + WEEK, late):
            monday.run("model_evaluation", as_of)
        versions = [monday.evaluations()[0]["model_version"]]
        for days, version in ((-WEEK, 0), (-3 * DAY, 1)):
            publish(
                monday.warehouse,
                MONDAY + days,
                scores,
                version=version,
                scored_at=datetime.now(UTC),
            )
            monday.run("model_evaluation", late)
            [row] = [row for row in monday.evaluations() if row["week"] == MONDAY]
            versions.append(row["model_version"])
        once_more = monday.run("model_evaluation", late)

        assert versions == [-1, 0, 1]
        assert str(MONDAY) not in [row["week"] for row in once_more["weeks"]]


class TestWeeksWithout:
    def test_two_classes_or_predictions_get_a_row_that_says_so(
        self, borrow_deployment, scores
    ):
        """Where nobody bought there is no ROC curve, and no crash. Once there are
        predictions, the row that says there were none is replaced."""
        deployment = borrow_deployment([event("u1", MONDAY - DAY)])
        answer = deployment.run("model_evaluation", MONDAY + WEEK)
        publish(deployment.warehouse, MONDAY, scores)
        deployment.run("model_evaluation", MONDAY + WEEK)
        [row] = deployment.evaluations()

        assert answer["weeks"][0]["outcome"] == "no_predictions"
        assert "reports" not in answer
        assert (row["outcome"], row["model_version"]) == ("one_class", 0)
        assert row["roc_auc"] is row["residual_log_odds"] is None
        assert (row["conversions"], row["brier"] > 0) == (0, True)

    def test_labels_that_nobody_foretold_are_not_read(self, monday, log_lines):
        """Purchases were foretold, and signing up is what is set since: the labels say
        nothing of these probabilities, and figures of purchases stay."""
        monday.run("model_evaluation", MONDAY + WEEK)
        before = monday.evaluations()
        labels = {"user_column": "user_pseudo_id", "label_event": "purchase"}
        record = {
            "use_case": NAME,
            "model_version": 0,
            "training_date": MONDAY,
            "as_of": MONDAY,
            "card": json.dumps({**CARD, "statement_parameters": labels}),
        }
        append_rows(monday.warehouse, TRAINING_METADATA, [record])
        log_lines()
        other = monday.with_settings(PROPENSITY_LABEL_EVENT="sign_up")

        assert other.run("model_evaluation", MONDAY + WEEK)["weeks"] == []
        assert monday.evaluations() == before
        assert "version 0 was trained with" in str(log_lines())


def test_weeks_are_caught_up_with_by_the_budget_that_is_set(borrow_deployment, scores):
    """Those that no run evaluated; a week's page has no later one."""
    weeks = [MONDAY + n * WEEK for n in range(3)]
    buyers = [user for user, score in scores.items() if score > 0.3]
    rows = [purchase(user, week + DAY) for week in weeks for user in buyers]
    deployment = borrow_deployment(rows, PROPENSITY_BUDGET="20")
    for week in weeks:
        publish(deployment.warehouse, week, scores)
    deployment.run("model_evaluation", weeks[-1] + WEEK)
    evaluated = deployment.evaluations()
    page = deployment.page(f"reports/{NAME}/{weeks[1]}.html")

    assert [row["week"] for row in evaluated] == weeks
    for row in evaluated:
        assert (row["budget"], row["users_at_budget"]) == ("20", 20)
        assert row["precision_at_budget"] == 1
        assert row["recall_at_budget"] == pytest.approx(20 / len(buyers))
    assert "2 Mar 2026" in page
    assert "16 Mar 2026" not in page


def test_predictions_of_each_day_are_evaluated_a_week_apart(borrow_deployment):
    """Each when its quarter is over; final when that has settled."""
    users = [f"u{n}" for n in range(200)]
    # The shop is open on Sundays alone, which spares a table for each other day.
    rows = [event("u1", MONDAY + n * WEEK - DAY) for n in range(16)]
    # Buyers come once, when all quarters have begun and none is over.
    for n, user in enumerate(users[:40]):
        rows.append(purchase(user, MONDAY + (3 + n % 5) * WEEK - DAY, 10.0 + n % 5))
    deployment = borrow_deployment(rows)
    values = {user: round(30.0 - n / 10, 1) for n, user in enumerate(users)}
    scores = {user: (200 - n) / 201 for n, user in enumerate(users)}
    for n in range(14):
        day = MONDAY + n * DAY
        publish(deployment.warehouse, day, scores, values=values, use_case="ga4_value")
    answers = []
    for as_of in (MONDAY + 91 * DAY, MONDAY + 91 * DAY + WEEK):
        answers.append(deployment.run("model_evaluation", as_of, use_case="ga4_value"))
    weeks = []
    for answer in answers:
        weeks.append([(row["week"], row["status"]) for row in answer["weeks"]])
    row = answers[1]["weeks"][0]

    assert weeks[0] == [(str(MONDAY), "provisional")]
    assert weeks[1] == [(str(MONDAY), "final"), (str(MONDAY + WEEK), "provisional")]
    assert row["value_observed"] == pytest.approx(40 * 12.0)
    assert row["value_error"] == pytest.approx(row["value_promised"] / 480 - 1)
