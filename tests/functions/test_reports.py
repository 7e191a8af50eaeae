"""
Reports of 03-ModelEvaluation, specified on emulators: a page beside each week's row.
"""

from __future__ import annotations

import re

from propensity.runs import report
from propensity.runs.report import report_name
from propensity.tables import every as tables
from tests.functions.conftest import Place
from tests.functions.evaluated import MONDAY, evaluations
from tests.functions.evaluated import USERS as N_USERS
from tests.functions.test_card_evaluation import (
    FIRST,
    drawn,
    evaluate,
    place,
    scored,
    store,
    truths,
)
from tests.propensity.learning.report_pages import parse
from tests.propensity.learning.weeks import ALARM, LIFT
from tests.published import publish
from tests.rows import append_rows
from tests.shop import DAY, WEEK, purchase

# Fixtures.
__all__ = ["drawn", "place"]


NAME = "ga4_purchase"


def page_of(where: Place, name: str) -> str:
    """Read a report as it lies in the bucket."""
    return where.registry.artifacts.read(name).data.decode()


def text_of(page: str) -> str:
    """Return the text of a page, its spaces as one."""
    return " ".join(" ".join(parse(page).words).split())


class TestReport:
    def test_says_what_the_row_says(self, monday, scores):
        """Beside the use case's objects, and named in the answer, with alarms and
        audiences as the tables have them when it is written. Its figures are of groups
        alone: no id of anybody is on it. A later run writes it again, as final."""
        for table, row in (
            (tables.DRIFT, {**ALARM, "as_of": MONDAY, "use_case": NAME, "bins": []}),
            (
                tables.AUDIENCE_LIFT,
                {**LIFT, "week": MONDAY, "use_case": NAME, "sums": []},
            ),
        ):
            append_rows(monday.warehouse, table, [row])
        answer = monday.run("model_evaluation", MONDAY + WEEK)
        [row] = evaluations(monday)
        [name] = answer["reports"]
        page = text_of(page_of(monday, name))

        assert name == report_name(NAME, MONDAY) == f"reports/{NAME}/2026-03-02.html"
        assert row["status"] == "provisional"
        assert "· provisional" in page
        assert (
            f"{100 * row['mean_probability']:.1f}% of {row['users']} users buy; "
            f"{100 * row['base_rate']:.1f}% did." in page
        )
        low, high = row["roc_auc_low"], row["roc_auc_high"]
        assert f"ROC AUC {row['roc_auc']:.3f} {low:.3f} to {high:.3f}" in page
        assert row["budget"] in page
        assert ALARM["message"] in page
        assert "winback 150 of 900" in page
        assert len(scores) == N_USERS
        assert re.findall(r"\bu\d+\b", page_of(monday, name)) == []

        settled = MONDAY + WEEK + 3 * DAY
        later = monday.run("model_evaluation", settled, force=True)["reports"]

        assert name in later
        assert "· final" in text_of(page_of(monday, name))

    def test_compares_with_the_week_before(self, shop_of, scores, converters):
        """Both weeks are in the table of the later one, and only in that."""
        place_of_two = shop_of(
            [
                purchase(user, day + DAY)
                for user in converters
                for day in (MONDAY, MONDAY + WEEK)
            ]
        )
        for day in (MONDAY, MONDAY + WEEK):
            publish(place_of_two.warehouse, day, scores)
        names = place_of_two.run("model_evaluation", MONDAY + 2 * WEEK)["reports"]
        rows = [
            re.findall(r'<th scope="row"[^>]*>(2026-\S+?)</th>', page)
            for page in (page_of(place_of_two, name) for name in names)
        ]

        assert rows == [["2026-03-02"], ["2026-03-09", "2026-03-02"]]

    def test_that_fails_does_not_fail_the_evaluation(
        self, monday, log_lines, monkeypatch
    ):
        """The row is published, and the log says what was not written."""

        def broken(*_: object, **__: object) -> str:
            raise ZeroDivisionError("no such figure")

        monkeypatch.setattr(report, "week_page", broken)
        answer = monday.run("model_evaluation", MONDAY + WEEK)
        _, warning, line = log_lines()

        assert "reports" not in answer
        assert evaluations(monday)[0]["outcome"] == "evaluated"
        assert line["outcome"] == "ok"
        assert warning["severity"] == "WARNING"
        assert warning["message"] == (
            "reports not written: ZeroDivisionError: no such figure"
        )
        assert warning["weeks"] == ["2026-03-02"]


class TestDays:
    def test_of_events_have_a_report_each(self, place, drawn):
        """Of the day's versions, with the nouns of the use case."""
        score, label = drawn
        store(place.warehouse, scored(score), truths(label))
        evaluate(place, FIRST + 3 * DAY)
        page = text_of(page_of(place, report_name("card_fraud", FIRST)))

        assert f"of {len(score)} transactions are fraud;" in page
        assert "user" not in page.lower()
        assert re.findall(r"0-t\d+", page) == []

    def test_without_truths_has_none_and_keeps_no_other_away(
        self, place, drawn, log_lines
    ):
        """Of the newest day none is known yet, and of a day before none may ever come:
        that is no failure to warn of."""
        score, label = drawn
        log = [row for day in range(3) for row in scored(score, day=day)]
        store(place.warehouse, log, truths(label, day=1, after=1))
        evaluate(place, FIRST + 3 * DAY)
        *_, line = lines = log_lines()

        assert line["outcome"] == "ok"
        assert {line["severity"] for line in lines} == {"INFO"}
        assert place.registry.artifacts.names("reports/") == [
            report_name("card_fraud", FIRST + DAY)
        ]
