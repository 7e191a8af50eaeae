"""The pages, specified: complete, escaped, and clear where there is nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from offline.dashboard.facts import Facts
from offline.dashboard.pages import PAGES
from offline.dashboard.reading import TITLES
from tests.offline.dashboard.rows import (
    KNOWN,
    USE_CASE,
    VALUE,
    alarm,
    delivered,
    evaluation,
    fraud_day,
    full,
    hour_of,
    letters,
    lift,
    members,
    pages,
    publication,
    version,
)

SHOP, CARDS = "use-case-ga4_purchase.html", "use-case-card_fraud.html"


class Read(HTMLParser):
    """A page as a browser reads it: its tags, anchors, links and words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.add(value)
            if name in ("href", "src"):
                self.links.append(value)
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, data):
        self.words.append(data)


def words(page: str) -> str:
    return " ".join(" ".join(Read(page).words).split())


@pytest.fixture(scope="module")
def whole():
    """The pages of a deployment with something in every table."""
    return pages(full())


class TestPages:
    def test_are_those_of_the_list_and_one_a_use_case(self, whole):
        assert {*whole} == {*(file for _, file in PAGES), SHOP, CARDS}

    def test_lead_to_nothing_outside_and_to_no_dead_end(self, whole):
        """Every link is one of these pages, and its anchor is there."""
        anchors = {name: Read(page).ids for name, page in whole.items()}
        for name, page in whole.items():
            for link in {*Read(page).links} - {"data:,"}:
                file, _, anchor = link.partition("#")
                assert (file or name) in whole, link
                assert not anchor or anchor in anchors[file or name], link

    def test_have_no_script_and_load_nothing(self, whole):
        """So that they work from a file, and tell nobody who reads them."""
        for page in whole.values():
            read = Read(page)
            assert not {"script", "iframe", "img", "object"} & {*read.tags}
            assert read.handlers == []
            assert not re.search(r"url\(|@import|https?://", page)

    @pytest.mark.parametrize("part", ["figure", 'li class="tile"', 'p class="note"'])
    def test_lead_from_every_part_with_numbers_to_its_sql(self, whole, part):
        for name in {*whole} - {"sql.html"}:
            html = whole[name]
            for found in re.findall(rf"<{part}>.*?</{part.split()[0]}>", html, re.S):
                assert "sql.html#" in found, (name, found[:300])
            tables = html.count("<table>")
            linked = r"</table></div>\s*<p class=\"note\">.*?sql\.html#"
            assert len(re.findall(linked, html)) == tables

    def test_show_the_sql_as_it_ran(self, whole):
        """Every statement has its anchor and its text."""
        assert {*TITLES} <= Read(whole["sql.html"]).ids
        assert "COUNTIF(is_control) AS held_out" in words(whole["sql.html"])

    def test_show_what_every_table_has(self, whole):
        for file, text in (
            ("index.html", "2 use cases. 1 needs your attention."),
            ("index.html", "15 messages could not be processed"),
            (SHOP, "Look at drift, 1 alarm: source is 'google' for 2% of users."),
            (SHOP, "On the holdout"),
            (SHOP, "47.0% outside the best 10%"),
            ("stream.html", "2,915 messages: 290 had come before"),
            ("fraud.html", "Alerts of Card fraud saved 5,600.00 over 7 days"),
            ("audiences.html", "1 audience with outcomes; acting on none is shown to"),
            ("audiences.html", "winback ga4_purchase crm add 2026-02-17 900 880 20 0"),
            ("runs.html", "2 runs in this time, 40 MiB billed."),
            ("runs.html", "2026-03-03 08:30 training ga4_purchase version 3, promoted"),
        ):
            assert text.lower() in words(whole[file]).lower(), text

    def test_put_what_needs_attention_first(self, whole):
        page = words(whole["index.html"])
        assert page.index("Purchase within") < page.index("Card fraud")


class TestNothing:
    def test_of_an_empty_deployment_is_said_on_every_page(self):
        empty = pages({}, {})

        assert {*empty} == {file for _, file in PAGES}
        for file, text in {
            "index.html": "Nothing was trained",
            "stream.html": "No event came in the last 7 days",
            "fraud.html": "No day of a use case that scores events",
            "audiences.html": "No audience was chosen",
            "runs.html": "No run left a row",
        }.items():
            assert text in words(empty[file])
            assert not re.search(r"\b(None|nan|Undefined)\b", words(empty[file]))

    @pytest.mark.parametrize("name", TITLES)
    def test_of_a_missing_table_is_said_where_it_is_missed(self, name):
        """The other pages are as they were, and no page fails."""
        there = pages({**full(), name: ()}, **{name: "there is no such table"})

        assert "there is no such table" in words(there["index.html"])
        assert "there is no such table" in words(there["sql.html"])

    @pytest.mark.parametrize(
        "changed",
        [
            {"outcome": "one_class", "roc_auc": None, "lift": []},
            {"outcome": "no_predictions", "model_version": -1, "users": 0},
            {"lift": None, "budget": None, "recall_at_budget": None},
            {"users": 0, "conversions": 0, "base_rate": None},
            {"mean_probability": None, "lift_at_budget": None},
        ],
    )
    def test_of_single_metrics_is_a_dash(self, changed):
        """A week may lack any of its metrics."""
        for rows in ([evaluation(**changed)], [evaluation(**changed), evaluation(2)]):
            assert not re.search(
                r"\b(None|nan)\b", words(pages({"evaluations": rows})[SHOP])
            )


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}"],
)
def test_texts_from_data_are_words_and_nothing_else(name):
    """The tags of the pages are those of an ordinary text."""

    def tags(word: str) -> list[list[str]]:
        rows = {
            "evaluations": [evaluation(budget=word), evaluation(use_case=word)],
            "versions": [version(verdict=word, algorithm=word)],
            "drift": [alarm(name=word, message=word, cause=word)],
            "stream": [hour_of(use_case=word)],
            "dead_letters": [letters(word)],
            "audiences": [members(audience=word, selection=word)],
            "deliveries": [delivered(destination=word)],
            "lift": [lift(audience=word, verdict=word)],
        }
        known = {USE_CASE: Facts(title=word, outcome=word, champion=3)}
        files = pages(rows, known, runs=word)
        assert {*files} == {*(file for _, file in PAGES), SHOP}
        return [Read(page).tags for _, page in sorted(files.items())]

    assert tags(name) == tags("Ordinary text")


class TestUseCase:
    def test_says_what_serves(self):
        known = {USE_CASE: Facts(champion=3, is_pinned=True)}
        rows = {"versions": [version(3), version(2, promoted=False)]}
        page = words(pages(rows, known)[SHOP])

        assert "Version 3 serves, pinned." in page
        assert "2 not promoted: not worse" in page

    def test_links_and_copies_the_reports_of_weeks(self):
        """A day of fraud leads to its report from both of its pages."""
        days = [fraud_day(n) for n in range(1, 12)]
        reports = {row["week"]: "<p>a report" for row in days}
        files = pages(
            {"evaluations": [*days, evaluation()]},
            {**KNOWN, "card_fraud": replace(KNOWN["card_fraud"], reports=reports)},
        )

        names = [f"report-card_fraud-{row['week']}.html" for row in days]
        assert [link for link in Read(files[CARDS]).links if "report" in link] == names
        newest = [link for link in Read(files["fraud.html"]).links if "report" in link]
        assert newest == names[:7]
        assert files[names[0]] == "<p>a report"
        assert "report-" not in files[SHOP]

    def test_compares_payments_with_what_was_expected(self):
        """Of the newest week, and what the newest publication expects."""
        rows = {
            "evaluations": [evaluation(1, **VALUE), evaluation(2)],
            "publications": [publication(value_promised=14000.25), publication(1)],
        }
        page = words(pages(rows)[SHOP])

        assert (
            "from 2026-02-24 on users were expected to pay 12,000.50 in all, and"
            in page
        )
        assert "paid 13,050.50" in page
        assert "from 2026-03-03 on users are expected to pay 14,000.25 in all" in page
        assert "Expected from 2026-03-03 on 14k" in page
        assert "12,000.50 13,050.50 1.09" in page


class TestWorth:
    @pytest.mark.parametrize(
        ("saved", "text"),
        [
            (800.0, "saved 1,600.00 EUR"),
            (-100.0, "cost 200.00 EUR more than they saved"),
        ],
    )
    def test_of_alerts_is_what_they_saved_with_all_versions(self, saved, text):
        """Two versions may serve on one day; a negative saving is none."""
        days = [fraud_day(saved=saved), fraud_day(model_version=2, saved=saved)]
        known = {"card_fraud": replace(KNOWN["card_fraud"], currency="EUR")}
        files = pages({"evaluations": days}, known)

        assert f"Alerts {text}" in words(files[CARDS])
        assert f"Alerts of Card fraud {text} over 1 day" in words(files["fraud.html"])

    def test_of_an_audience_is_its_newest_final_row(self):
        rows = {
            "evaluations": [evaluation()],
            "lift": [
                lift(1, status="provisional", conversion_difference=0.7),
                lift(2, conversion_difference_low=0.01, verdict="helps"),
                lift(3, conversion_difference=0.9),
            ],
        }
        page = words(pages(rows)[SHOP])

        assert "Audience winback: acting helps." in page
        assert "2.0 (1.0 to 5.0) percentage points" in page
        assert "70.0" not in page
