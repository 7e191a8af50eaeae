"""Every page, specified: its links, blocks, tables and pictures are what they say."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
import sqlglot

from local.stack.state import ROOT
from offline.audience.destinations import data_manager, ga4, google_ads, http
from propensity import usecases
from tests.docs.pages import FENCE, blocks, pages, text

LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


class TestPages:
    @pytest.mark.parametrize("page", pages())
    def test_links_lead_somewhere(self, page):
        """Every relative link of a page is a file of the project, or a heading."""
        missing = []
        for link in LINK.findall(FENCE.sub("", text(page))):
            target = urlsplit(link)
            if target.scheme:
                assert target.scheme == "https"
                continue
            file = (ROOT / page).parent / target.path if target.path else ROOT / page
            if not file.exists() or (target.fragment and not _has(file, target)):
                missing.append(link)

        assert missing == []

    @pytest.mark.parametrize("page", pages())
    def test_nothing_is_left_open_or_of_one_machine(self, page):
        """No page has a placeholder, or a path of the machine it was written on."""
        found = re.findall(
            r"\b(?:TODO|FIXME|XXX|TBD|DEMO_\w+)\b|/(?:home|root|work|Users|tmp)/\S*",
            text(page),
        )

        assert found == []

    @pytest.mark.parametrize("page", pages())
    def test_json_and_code_blocks_are_what_they_say(self, page):
        """JSON parses, TOML is a use case or a destination, SQL is BigQuery's."""
        for block in blocks(page, "json"):
            json.loads(block)
        for block in blocks(page, "toml"):
            if block.startswith("kind"):
                check_destination(block)
            else:
                usecases.parse("documented", block)
        for block in blocks(page, "sql"):
            sqlglot.parse_one(block, dialect="bigquery")

    @pytest.mark.parametrize("page", pages())
    def test_tables_are_tables(self, page):
        """Each has its line of dashes, and as many cells in every row."""
        prose = FENCE.sub("", text(page))
        for table in re.findall(r"(?:^\|.*\n)+", prose + "\n", re.MULTILINE):
            rows = table.splitlines()
            cells = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]

            assert re.fullmatch(r"(\|[ :-]+)+\|", rows[1]), rows[0]
            assert set(cells) == {cells[0]}, rows[0]

    def test_the_licence_is_apache_2(self):
        """LICENSE holds the whole standard text."""
        licence = text("LICENSE")

        assert "Version 2.0, January 2004" in licence
        assert "END OF TERMS AND CONDITIONS" in licence
        assert "Copyright [yyyy] [name of copyright owner]" in licence


def check_destination(block: str) -> None:
    """Read the file of a destination as ``propensity audience`` does."""
    template = tomllib.loads(block)
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", block), "set")
    given = {"poster": lambda rate, at_once: None, "variables": variables}
    if template["kind"] == "http":
        http.Http(template, **given)
    elif template["kind"] == "ga4":
        ga4.MeasurementProtocol(template, audience="winback", now=None, **given)
    elif template["kind"] == "google-ads":
        google_ads.CustomerMatch(template, contacts=None, **given)
    else:
        assert template["kind"] == "google-data-manager"
        data_manager.DataManager(template, contacts=None, **given)


def _has(file: Path, target) -> bool:
    headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
    anchors = [
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    ]
    return target.fragment in anchors


class TestReadme:
    def test_is_read_in_a_few_minutes(self):
        """150 lines at most; the rest is in docs/."""
        assert len(text("README.md").splitlines()) <= 150

    def test_opens_with_a_picture_and_two_commands(self):
        """Before the first heading: what it is, what comes out, and how to try it."""
        first = text("README.md").partition("\n## ")[0]

        assert "![" in first
        assert [line.partition("#")[0].strip() for line in _typed(first)] == [
            "make demo",
            "make test",
        ]

    def test_leads_to_every_page(self):
        """Every page of docs/ is one link away."""
        links = LINK.findall(text("README.md"))
        pages_ = {page for page in pages() if page.startswith("docs/")}

        assert pages_ <= {*links}


class TestPicture:
    def test_says_in_words_what_it_shows(self):
        """Title and description are there for whoever does not see it."""
        picture = ElementTree.fromstring(text("docs/picture.svg"))
        names = [child.tag.rpartition("}")[2] for child in picture]

        assert names[:2] == ["title", "desc"]

    def test_is_for_light_and_dark_pages(self):
        """Every colour has another one for dark pages."""
        style = text("docs/picture.svg").partition("</style>")[0]
        light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
        selectors = [
            {name.strip() for name in re.findall(r"([.\w, ]+) \{[^}]*#\w{6}", part)}
            for part in (light, dark)
        ]

        assert selectors[0]
        assert selectors[0] == selectors[1]

    def test_has_the_figures_of_a_week_of_the_tour(self):
        """Users, ROC AUC, calibration error and lift of its week are those printed."""
        drawn = text("docs/picture.svg")
        tour = "".join(blocks("docs/tour.md", "text"))
        week, chosen = (
            re.split(r"\s{2,}", line)
            for line in tour.splitlines()
            if re.match(r"2025-06-17  +[\d.]+  ", line)
        )
        _, _, users, rate, mean, _, roc_auc, error, _ = week
        *_, lift = chosen

        assert "Week of 17 June 2025" in drawn
        for shown in (
            f"{users} users",
            f"ROC AUC {roc_auc}",
            f"calibration error {error}",
            f"mean probability {float(mean):.1%}",
            f"{float(rate):.1%} bought",
            f"{float(lift):.1f} times",
        ):
            assert shown in drawn, shown


def _typed(prose: str) -> list[str]:
    return [line for _, body in FENCE.findall(prose) for line in body.splitlines()]
