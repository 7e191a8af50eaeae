"""The pages, specified: complete, small, escaped, and clear where there is nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offline.dashboard.cases import Known
from offline.dashboard.reading import SOURCES
from offline.dashboard.site import PAGES, site
from tests.offline.dashboard.rows import (
    AS_OF,
    KNOWN,
    WEEK,
    WINDOW,
    alarm,
    delivered,
    evaluation,
    fraud_day,
    full,
    hour_of,
    letters,
    lift,
    members,
    readings,
    scores,
    version,
)

LARGEST = 500_000
CARDS = {"card_fraud": Known(title="Card fraud", is_of_events=True, champion=3)}


class Read(HTMLParser):
    """A page as a browser reads it: its tags, anchors, links and words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.outside: list[str] = []
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

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def pages(rows, known=KNOWN, **missing) -> dict[str, str]:
    return site(readings(rows, **missing), known, WINDOW, place="p.propensity")


def words(page: str) -> str:
    return Read(page).text


@pytest.fixture(scope="module")
def whole():
    """The pages of a deployment with something in every table."""
    return pages(full(), {**KNOWN, **CARDS})


class TestPages:
    def test_are_those_of_the_list_and_one_a_use_case(self, whole):
        """Each by its name."""
        assert {*whole} == {
            *(file for _, file in PAGES),
            "use-case-ga4_purchase.html",
            "use-case-card_fraud.html",
        }

    def test_lead_to_nothing_outside_and_to_no_dead_end(self, whole):
        """Every link is one of these pages, and its anchor is there."""
        anchors = {name: Read(page).ids for name, page in whole.items()}
        for name, page in whole.items():
            for link in Read(page).links:
                if link == "data:,":
                    continue
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

    def test_lead_from_every_part_with_figures_to_its_sql(self, whole):
        """A tile, a chart, a table and a sentence each have the link."""
        for name, page in whole.items():
            if name == "sql.html":
                continue
            for part in ("figure", r'li class="tile"', r"p class=\"note\""):
                for html in re.findall(rf"<{part}>.*?</{part.split()[0]}>", page, re.S):
                    if re.search(r"\d", words(html)) and "Written" not in html:
                        assert "sql.html#" in html, (name, html[:300])
            tables = page.count("<table>")
            assert (
                len(
                    re.findall(
                        r"</table></div>\s*<p class=\"note\">.*?sql\.html#", page
                    )
                )
                == tables
            )

    def test_show_the_sql_as_it_ran(self, whole):
        """Every statement has its anchor and its text, and so has each column of its
        result."""
        read = Read(whole["sql.html"])

        assert {source.name for source in SOURCES} <= read.ids
        shown = "".join(read.text.split())
        for source in SOURCES:
            assert "".join(source.text.split()) in shown
        for name, rows in full().items():
            assert {f"{name}.{column}" for column in rows[0]} <= read.ids

    def test_lead_from_a_number_to_its_column(self, whole):
        """The statement has many: a click marks the one that the number is of."""
        for name, number in (
            ("index", "ROC AUC"),
            ("use-case-ga4_purchase", "ROC AUC"),
        ):
            link = re.search(
                rf"<span>{number}.*?href=\"([^\"]*)", whole[f"{name}.html"]
            )
            assert link
            assert link[1] == "sql.html#evaluations.roc_auc"

    def test_say_what_they_are_about(self, whole):
        """Of what the demo shows too: figures of every table arrive on its page."""
        assert "3 use cases" not in words(whole["index.html"])
        assert "2 use cases. 1 needs your attention." in words(whole["index.html"])
        assert (
            "15 messages became dead letters in the last 7 days, 10 of them for "
            "malformed_json" in words(whole["index.html"])
        )
        assert "2,900 messages in the last 7 days" in words(whole["stream.html"])
        assert "Alerts saved 5,600.00 over 7 days" in words(whole["fraud.html"])
        assert "880" in words(whole["audiences.html"])
        assert "1 audience; acting is not shown to help yet." in words(
            whole["audiences.html"]
        )
        assert "61 s" in words(whole["runs.html"])

    def test_put_who_needs_somebody_first(self, whole):
        """Use cases are by name, but those with something to do are on top."""
        page = words(whole["index.html"])

        assert page.index("Purchase within") < page.index("Card fraud")


class TestNothing:
    def test_of_an_empty_deployment_is_said_on_every_page(self):
        """A sentence for each part, and no figure that there is none of."""
        empty = pages({}, {})

        assert {*empty} == {file for _, file in PAGES}
        assert "Nothing to show" in words(empty["index.html"])
        assert "No event came in the last 7 days" in words(empty["stream.html"])
        assert "No use case scores events" in words(empty["fraud.html"])
        assert "No audience was chosen" in words(empty["audiences.html"])
        assert "No run left a row" in words(empty["runs.html"])
        for page in empty.values():
            assert not re.search(r"\b(None|nan|Undefined)\b", words(page))

    @pytest.mark.parametrize("name", [source.name for source in SOURCES])
    def test_of_a_missing_table_is_said_where_it_is_missed(self, name):
        """The other pages are as they were, and no page fails."""
        rows = {**full(), name: ()}
        there = pages(rows, {**KNOWN, **CARDS}, **{name: "no table of that name"})

        assert "no table of that name" in words(there["index.html"])
        assert "no table of that name" in words(there["sql.html"])

    def test_of_all_tables_is_no_failure_either(self):
        """A dataset that nobody set up."""
        there = pages({}, {}, **{source.name: "there is none" for source in SOURCES})

        for file in ("stream.html", "fraud.html", "audiences.html", "runs.html"):
            assert "there is none" in words(there[file])

    def test_of_a_use_case_that_only_serves_is_said_on_its_page(self):
        """Its first week has not come yet."""
        page = words(pages({})["use-case-ga4_purchase.html"])

        for sentence in (
            "No version was trained in this time",
            "No week was evaluated in this time",
            "No publication of these weeks has kept its probabilities",
            "Nothing can be compared yet",
            "No alarm in this time",
        ):
            assert sentence in page

    @pytest.mark.parametrize(
        "changed",
        [
            {"outcome": "one_class", "roc_auc": None, "lift": []},
            {"outcome": "no_predictions", "model_version": -1, "users": 0},
            {"lift": None, "budget": None, "true_positives_at_budget": None},
            {"users": 0, "conversions": 0, "base_rate": None},
            {"mean_probability": None, "lift_at_budget": None},
        ],
    )
    def test_of_single_figures_is_a_dash(self, changed):
        """A week may lack any of its figures."""
        for rows in ([evaluation(**changed)], [evaluation(**changed), evaluation(2)]):
            page = pages({"evaluations": rows})["use-case-ga4_purchase.html"]

            assert not re.search(r"\b(None|nan)\b", words(page))


HOSTILE = st.text(min_size=1, max_size=40) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</title><script>",
        "{{ 7 * 7 }}",
        "../../etc/passwd",
        "\u202egnp.exe",
        "\ud800",
        "' onmouseover='x",
    ]
)


class TestNames:
    @settings(suppress_health_check=[HealthCheck.too_slow])
    @given(name=HOSTILE)
    def test_from_data_are_words_and_nothing_else(self, name):
        """Whatever a use case, a feature, a reason or an audience is called, the tags
        of the pages are those of an ordinary name."""

        def named(word: str) -> dict[str, str]:
            rows = {
                "evaluations": [
                    evaluation(use_case=word),
                    evaluation(2, use_case=word),
                ],
                "versions": [version(use_case=word, verdict=word, algorithm=word)],
                "drift": [alarm(use_case=word, name=word, message=word, cause=word)],
                "scores": [scores(use_case=word)],
                "stream": [hour_of(use_case=word)],
                "dead_letters": [letters(word)],
                "audiences": [members(audience=word, selection=word)],
                "deliveries": [delivered(audience=word, destination=word)],
                "lift": [lift(use_case=word, audience=word, verdict=word)],
            }
            known = {word: Known(title=word, outcome=word, champion=3)}
            return pages(rows, known, alerts=word)

        def shape(files: dict[str, str]) -> list[tuple[list[str], list[str]]]:
            pages = [Read(page) for _, page in sorted(files.items())]
            return sorted((page.tags, page.handlers) for page in pages)

        files = named(name)
        assert shape(files) == shape(named("ordinary"))
        for file, page in files.items():
            assert re.fullmatch(r"[a-z0-9_-]+\.html", file)
            page.encode()


def many(use_cases: int, weeks: int, reasons: int) -> dict[str, list]:
    """A deployment of many of everything, with long names."""
    names = [f"use_case_{n}_{'x' * 40}" for n in range(use_cases)]
    long = "a value & <another> " * 40
    return {
        "evaluations": [
            evaluation(n, use_case=name) for name in names for n in range(1, weeks)
        ]
        + [
            fraud_day(n, model_version=v) for n in range(1, 7 * weeks) for v in range(3)
        ],
        "versions": [
            version(n, use_case=name, verdict=long) for name in names for n in range(60)
        ],
        "drift": [
            alarm(
                use_case=name, name=f"{long}{n}", message=long, as_of=AS_OF - w * WEEK
            )
            for name in names
            for n in range(12)
            for w in range(min(weeks, 6))
        ],
        "stream": [
            hour_of(n, use_case=name) for name in names[:20] for n in range(167)
        ],
        "dead_letters": [
            letters(f"{long}{n}", h) for n in range(reasons) for h in (1, 50, 160)
        ],
        "audiences": [members(audience=f"{long}{n}") for n in range(reasons)],
        "deliveries": [delivered(audience=f"{long}{n}") for n in range(reasons)],
        "lift": [
            lift(w, audience=f"{long}{n}") for n in range(reasons) for w in range(weeks)
        ],
    }


class TestSize:
    @pytest.mark.parametrize(
        ("use_cases", "weeks", "reasons"), [(150, 4, 400), (3, 104, 400)]
    )
    def test_is_at_most_500_kb_a_page(self, use_cases, weeks, reasons):
        """However many use cases, weeks, reasons and audiences there are, and however
        long their names: a hundred and fifty use cases, and two years of weeks, too."""
        rows = many(use_cases, weeks, reasons)

        sizes = {name: len(page.encode()) for name, page in pages(rows).items()}
        assert max(sizes.values()) <= LARGEST, sizes
