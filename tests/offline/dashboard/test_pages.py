"""The pages, specified: complete, escaped, and clear where there is nothing."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from offline.dashboard.cases import Facts
from offline.dashboard.pages import PAGES, cases
from offline.dashboard.reading import TITLES
from propensity.findings import meanings
from tests.offline.dashboard.conftest import (
    CARDS,
    DAY,
    KNOWN,
    USE_CASE,
    WEEK,
    WINDOW,
    Row,
    ago,
    case,
    everything,
    given,
    one,
    pages,
    readings,
    words,
)
from tests.propensity.learning.report_pages import parse

SHOP = f"use-case-{USE_CASE}.html"
FRAUD = f"use-case-{CARDS}.html"
NONE = re.compile(r"\b(None|nan|Undefined)\b")


def attributes(page: str, *names: str) -> set[str]:
    """The values of attributes of a page's elements."""
    tags = parse(page).tags
    return {of[name] for _, of in tags for name in names if name in of}


def with_texts(row: Row, word: str) -> Row:
    """Return a row of the use case whose texts are all a word."""
    changed = {key: word for key, value in row.items() if isinstance(value, str)}
    return row | changed | {"use_case": USE_CASE}


@pytest.fixture(scope="module")
def whole(deployment):
    """The pages of a deployment with something in every table."""
    return pages(everything(deployment))


class TestPages:
    def test_pages_lead_to_no_dead_end(self, whole):
        """Every link is one of these pages, and its anchor is there."""
        anchors = {name: attributes(page, "id") for name, page in whole.items()}
        assert {*whole} == {*(file for _, file in PAGES), SHOP, FRAUD}
        for name, page in whole.items():
            for link in attributes(page, "href", "src") - {"data:,"}:
                file, _, anchor = link.partition("#")
                assert (file or name) in whole, link
                assert not anchor or anchor in anchors[file or name], link

    def test_pages_load_nothing(self, whole):
        """So that they work from a file, and tell nobody who reads them."""
        for page in whole.values():
            tags = parse(page).tags
            assert not {"script", "iframe", "img", "object"} & {tag for tag, _ in tags}
            assert not any(name.startswith("on") for _, of in tags for name in of)
            assert not re.search(r"url\(|@import|https?://", page)

    def test_two_exports_have_sums_of_both(self, deployment):
        known = {
            name: replace(facts, export=f"export_of_{name}", unit="USD")
            for name, facts in KNOWN.items()
        }
        index = pages(everything(deployment), known)["index.html"]
        alone = pages(everything(deployment), {USE_CASE: known[USE_CASE]})["index.html"]

        assert "All in USD" in words(index)
        assert "All in USD" not in words(alone)

    def test_pages_lead_from_numbers_to_their_sql(self, whole):
        for name in {*whole} - {"sql.html"}:
            for part in ("figure", 'li class="tile"'):
                end = part.split()[0]
                for found in re.findall(rf"<{part}>.*?</{end}>", whole[name], re.S):
                    assert "sql.html#" in found, (name, found[:300])
            linked = r"</table></div>\s*<p class=\"note\">.*?sql\.html#"
            assert len(re.findall(linked, whole[name])) == whole[name].count("<table>")
        assert {*TITLES} <= attributes(whole["sql.html"], "id")
        assert "COUNTIF(is_control) AS held_out" in words(whole["sql.html"])

    def test_pages_show_what_every_table_has(self, whole):
        for file, text in (
            ("index.html", "We expected 8.0% of 2,000 users to buy; actual: 8.5%."),
            ("index.html", "1 of 2 use cases needs your attention."),
            ("index.html", "attention. 2 messages could not be processed."),
            ("index.html", "2 of 2 models live · 1 drift warning · 2 dead letters"),
            ("index.html", "up to 3 Mar 2026: bad_value 1, malformed_json 1."),
            ("index.html", "To contact, 17 Feb 1 user audience winback; control"),
            ("index.html", "13,100 USD 12,000 USD expected (actual +8.7%)"),
            (SHOP, "Model version 3 is live."),
            (SHOP, "1 drift warning: source is 'google' for 2% of users. Your list"),
            (SHOP, "went live: not worse"),
            (SHOP, "47.0% of the users who buy"),
            (SHOP, "Expected revenue in the 7 days from then on: 14,000 USD"),
            (SHOP, "12,001 13,051 1.09"),
            (SHOP, "16 of 200 purchases have no user id"),
            (SHOP, "brought 1,050 USD of 14,100 USD"),
            ("fraud.html", "Alerts of card_fraud saved 800 EUR over 1 day"),
            ("audiences.html", "winback: too early to say."),
            ("audiences.html", f"winback {USE_CASE} crm add 17 Feb 2026 1 0 1 0"),
            ("audiences.html", "Top 10% 20 9.5 3,810 38.00 2.0%"),
            ("audiences.html", "1 2 47.0%"),
        ):
            assert text.lower() in words(whole[file]).lower(), text

    def test_the_first_page_begins_with_failed_messages(self):
        """Nobody is told that all is well meanwhile."""
        letters = [{"reason": "bad_value", "messages": 1}]
        page = words(pages({"dead_letters": letters})["index.html"])

        assert "1 message could not be processed." in page
        assert str(meanings()["events_refused"]) in page
        assert "Nothing needs your attention" not in page

    def test_the_owners_use_case_comes_first(self):
        """Defect: a shop's dashboard opened with card fraud, by the alphabet."""
        named = {name: replace(KNOWN[CARDS], is_of_events=False) for name in "ab"}
        listed = []
        for facts, first in ((KNOWN, ""), (KNOWN | named, "b")):
            rows = [{"use_case": name} for name in facts]
            read = readings({"versions": rows})
            found = cases(read, facts, WINDOW, first=first)
            listed.append([case.name for case in found])

        assert listed == [[USE_CASE, CARDS], ["b", "a", USE_CASE, CARDS]]

    def test_reports_lead_to_the_model(self, deployment):
        """A model's report that is missing leads to the use case."""
        link = (
            f'<body><a href="../../models/{USE_CASE}/{{}}/report.html">model</a></body>'
        )
        reports = {DAY: link.format(3), DAY - WEEK: link.format(1)}
        facts = replace(KNOWN[USE_CASE], reports=reports, model_reports={3: "<body>"})
        files = pages({"versions": given(deployment, "versions")}, {USE_CASE: facts})
        newest = files[f"report-{USE_CASE}-{DAY}.html"]
        older = files[f"report-{USE_CASE}-{DAY - WEEK}.html"]
        model = f"model-{USE_CASE}-3.html"

        assert f'<a href="{SHOP}">← Purchase' in newest
        assert f'<a href="{model}">model' in newest
        assert f'<a href="{SHOP}">model' in older
        assert f'<a href="{SHOP}">← Purchase' in files[model]

    def test_pages_say_what_contacting_brought(self, deployment):
        """With the newest plan."""
        money = {"revenue_difference": 10.0, "revenue_difference_low": 5.0}
        row = one(deployment, "lift", **money, revenue_difference_high=15.0)
        plan = one(deployment, "plans", cost_per_contact=0.5, margin=0.4)
        files = pages({"lift": [row], "plans": [plan]})

        brought = "Contacting 900 users brought 9,000 USD more than not contacting"
        assert brought in words(files["index.html"])
        assert "that is a profit of 3,150 USD" in words(files["audiences.html"])

    def test_tiles_say_what_changed_since_the_week_before(self, deployment):
        """Of revenue, of users with the outcome, of the list and of what it brought."""
        newest = one(deployment, "evaluations")
        older = ago(newest, 1, value_observed=10_000.0, base_rate=0.1)
        lift = one(deployment, "lift", revenue_difference=10.0)
        lifts = [lift, ago(lift, 1, revenue_difference=6.0)]
        members = one(deployment, "audiences")
        lists = [{**members, "members": 120}, ago({**members, "members": 100}, 1)]
        rows = {"evaluations": [newest, older], "lift": lifts, "audiences": lists}
        first = words(pages(rows)["index.html"])

        assert "+30.5% on the week before" in first
        assert "−15.0% on the week before" in first
        assert "+20.0% on the week before" in first
        assert "+3,600 since" in first
        assert first.index("Revenue,") < first.index("To contact,")

    def test_the_first_line_is_of_all_audiences_of_a_control_group(self, deployment):
        """Not of the first of them, and not the sum of theirs."""
        rows = given(deployment, "programme")
        for row in rows:
            row["audiences"] = ["mailing", "winback"]
        lift = one(deployment, "lift", revenue_difference=10.0)
        files = pages({"lift": [lift], "programme": rows})

        first = words(files["index.html"])
        assert "Contacting 1,800 users brought 5,400 USD more than not" in first
        assert "9,000 USD" not in first
        audiences = words(files["audiences.html"])
        assert "All audiences of control group winback (mailing, winback)" in audiences
        assert "2026-Q1 final 1,800" in audiences

    def test_the_pages_say_where_audiences_cannot_be_judged_together(self, deployment):
        facts = replace(KNOWN[USE_CASE], apart="has two control groups")
        files = pages({"plans": given(deployment, "plans")}, {USE_CASE: facts})

        page = words(files["audiences.html"])
        assert f"has two control groups. {meanings()['apart']}" in page

    def test_the_first_page_says_what_a_figure_beyond_chance_means(self, deployment):
        off = one(deployment, "evaluations", mean_probability=0.5)
        page = words(pages({"evaluations": [off]})["index.html"])

        assert f"That is beyond chance. {meanings()['beyond_chance']}" in page

    def test_pages_of_an_empty_deployment_say_that_there_is_nothing(self):
        """Only what is there has a page: a use case without a row, a shipped model for
        example, has none, and neither have fraud and audiences.

        Defect: a shop had a tab of fraud."""
        empty = pages({})

        assert {*empty} == {"index.html", "sql.html"}
        assert "Nothing was trained" in words(empty["index.html"])
        assert "fraud.html" not in empty["index.html"]
        assert not NONE.search(words(empty["index.html"]))

    def test_a_lift_has_its_interval(self, whole):
        assert "5.29 (4.50 to 6.11)" in words(whole[SHOP])

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
    def test_pages_of_a_week_that_lacks_metrics_have_a_dash(self, deployment, changed):
        week = one(deployment, "evaluations", **changed)
        for rows in ([week], [week, ago(one(deployment, "evaluations"), 1)]):
            assert not NONE.search(words(pages({"evaluations": rows})[SHOP]))

    @pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x>'])
    def test_pages_take_texts_for_words(self, deployment, name):
        """The tags of the pages are those of an ordinary text."""

        def tags(word: str) -> list[list[str]]:
            rows = {}
            for of, found in everything(deployment).items():
                rows[of] = [with_texts(row, word) for row in found]
            known = {USE_CASE: Facts(title=word, outcome=word, champion=3)}
            files = pages(rows, known, plans=word)
            return [
                [tag for tag, _ in parse(files[name]).tags] for name in sorted(files)
            ]

        assert tags(name) == tags("Ordinary text")

    @pytest.mark.parametrize(
        ("saved", "text"),
        [(800.0, "saved 1,600 EUR"), (-100.0, "cost 200 EUR more than they saved")],
    )
    def test_pages_count_what_alerts_saved_with_all_versions(
        self, deployment, saved, text
    ):
        """Two versions may serve on one day; a negative saving is none."""
        rows = given(deployment, "evaluations")
        day = next(row for row in rows if row["use_case"] == CARDS)
        days = [{**day, "saved": saved}, {**day, "saved": saved, "model_version": 2}]
        files = pages({"evaluations": days})

        assert f"Alerts {text}" in words(files[FRAUD])
        assert f"of card_fraud {text} over 1 day" in words(files["fraud.html"])

    def test_the_first_page_shows_all_properties_and_a_sum_for_each_currency(
        self, deployment
    ):
        """A sum of euros and dollars would be of nothing. A deployment with one
        property has none."""
        shop = KNOWN[USE_CASE]
        known = {
            "shop_de": replace(shop, title="de", unit="EUR", export="analytics_1"),
            "shop_uk": replace(shop, title="uk", unit="GBP", export="analytics_2"),
            "shop_fr": replace(shop, title="fr", unit="EUR", export="analytics_3"),
        }
        row = one(deployment, "lift", revenue_difference=2.0, treated_users=100)
        rows = [{**row, "use_case": name} for name in known]
        page = words(pages({"lift": rows}, known)["index.html"])

        assert "de analytics_1 100 200 EUR — fr analytics_3 100 200 EUR" in page
        assert "uk analytics_2 100 200 GBP" in page
        assert "All in EUR 200 400 EUR — All in GBP 100 200 GBP" in page
        ends = {"revenue_difference_low": -1.0, "revenue_difference_high": 6.0}
        certain = [{**each, **ends} for each in rows]
        page = words(pages({"lift": certain}, known)["index.html"])
        assert "All in EUR 200 400 (−24 to 966) EUR" in page
        alone = pages({"lift": rows[:1]}, {"shop_de": known["shop_de"]})
        assert "All in EUR" not in words(alone["index.html"])


class TestActions:
    """What needs attention: nothing where all is well."""

    @pytest.fixture
    def week(self, deployment):
        return one(deployment, "evaluations")

    def texts(self, known=KNOWN[USE_CASE], **rows) -> list[str]:
        return [action.text for action in case(known, **rows).actions]

    def test_an_action_counts_all_alarms(self, deployment, week):
        """Forty broken features are not forty lines; an old alarm is past."""
        said = {"is_alarm": True, "message": "revenue is 0 for all users"}
        alarm = one(deployment, "drift", **said)
        calm = alarm | {"is_alarm": False}

        past = alarm | {"as_of": DAY - WEEK}
        assert self.texts(evaluations=[week], drift=[calm, past]) == []
        assert self.texts(evaluations=[week], drift=[alarm] * 40) == [
            "40 drift warnings: revenue is 0 for all users."
        ]

    def test_actions_name_the_day_since_which_runs_are_late(self, deployment, week):
        """As late as for an alert and the doctor: after the days between two runs."""
        assert self.texts(evaluations=[ago(week, 1)]) == []
        (text,) = self.texts(evaluations=[ago(week, 2)])
        assert text.startswith("No evaluation since 17\u00a0Feb\u00a02026")
        published = one(deployment, "publications")
        assert self.texts(evaluations=[week], publications=[ago(published, 1)]) == []
        (text,) = self.texts(evaluations=[week], publications=[ago(published, 2)])
        assert text.startswith("No predictions since 17\u00a0Feb\u00a02026")

    def test_actions_are_to_train_where_nothing_serves(self, deployment, week):
        """The first time, and with the verdict where a version was refused."""
        known = replace(KNOWN[USE_CASE], champion=None)
        refused = one(deployment, "versions", promoted=False, verdict="no better")

        (text,) = self.texts(known, evaluations=[week])
        assert text == "No model is live yet."
        (text,) = self.texts(known, versions=[refused])
        assert text == "No model is live yet. Version 0 was rejected: no better."

    @pytest.mark.parametrize("verdict", ["harms", "sample_ratio"])
    def test_actions_stop_an_audience_that_harms_or_lost_users(
        self, deployment, week, verdict
    ):
        """One that had no new members for weeks was stopped."""
        row = one(deployment, "lift", verdict=verdict)
        (text,) = self.texts(evaluations=[week], lift=[row])

        assert "winback" in text
        assert self.texts(evaluations=[week], lift=[ago(row, 4)]) == []
