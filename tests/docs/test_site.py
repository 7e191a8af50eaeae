"""The site: all pages, what they link, and the demo that was played.

Those that install Zensical also need Chromium."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from commands.cli import main
from docs import site
from docs.outputs import ROOT
from tests.docs.pages import FENCE
from tests.docs.test_pages import LINK
from tests.propensity.dashboard import test_dashboard
from tests.support.browser import Browser
from tests.support.deployment import Deployment, entered


@pytest.fixture
def demo(tmp_path):
    """The pages of a demo."""
    folder = tmp_path / "dashboard"
    folder.mkdir()
    for file in site.DEMO.values():
        (folder / file).write_text(f"<!DOCTYPE html><title>{file}</title>")
    return folder


def _links(folder):
    for page in sorted(folder.rglob("*.md")):
        for link in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
            if not urlsplit(link).scheme:
                yield page.parent / urlsplit(link).path


def test_each_link_of_the_site_leads_to_a_page_or_a_file(tmp_path, demo):
    """Also to files that a page shows, and from the first page to the demo's."""
    pages = tmp_path / "pages"
    assert site.stage_pages(pages, demo)
    links = {*_links(pages)}

    assert [file for file in links if not file.exists()] == []
    assert {pages / "demo" / file for file in site.DEMO.values()} <= links


def test_without_a_demo_the_site_says_what_is_missing(tmp_path):
    pages = tmp_path / "pages"

    assert not site.stage_pages(pages, tmp_path)
    assert site.MISSING in (pages / "README.md").read_text("utf-8")
    assert not (pages / "demo").exists()


def test_every_page_is_in_the_menu():
    listed = []
    for entry in site.menu():
        listed += [entry] if isinstance(entry, str) else [*entry.values()][0]
    pages = {page.relative_to(ROOT).as_posix() for page in ROOT.glob("docs/*.md")}

    assert pages - {*listed} == {"docs/README.md"}
    assert len(listed) == len({*listed})


@pytest.fixture(scope="module")
def shop():
    """A deployment whose audiences were measured."""
    deployment = Deployment(PROPENSITY_GA4_DATASET="")
    deployment.prepare()
    test_dashboard.fill_models(deployment)
    test_dashboard.fill_audiences(deployment)
    return deployment


@pytest.fixture(scope="module")
def built(shop, tmp_path_factory):
    """The site with that deployment's dashboard in it."""
    work = tmp_path_factory.mktemp("site")
    dashboard = work / "dashboard"
    with entered(shop.environment):
        assert main(["dashboard", f"--out={dashboard}", "--as-of=2026-03-03"]) == 0
    for file in site.DEMO.values():
        (dashboard / file).touch()
    return site.build_site(dashboard, work)


@pytest.fixture
def browser(tmp_path):
    opened = Browser(tmp_path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def address(built):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=built)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Links(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.links = []
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in {"href", "src"}]


@pytest.mark.installs
def test_every_link_of_the_built_site_leads_to_a_file_of_it(built):
    missing = []
    for page in built.rglob("*.html"):
        for link in _Links(page).links:
            parts = urlsplit(link)
            to = page.parent / unquote(parts.path)
            # The page for what is not found is served at any address.
            if page.name != "404.html" and not parts.scheme and not to.exists():
                missing.append((page.name, link))

    assert missing == []


SEARCHED = (
    "lookalikes", "LTV", "CLV", "lead", "holdout", "Looker", "dbt", "reverse",
    "incremental", "attribution", "remarketing", "gclid", "Shopify", "Mailchimp",
    "Snowflake", "GitHub", "GeoLift", "tills", "uplift", "cold",
)  # fmt: skip
DIALOG = """[...document.querySelectorAll("*")].find(
  e => e.shadowRoot?.querySelector("[role=listbox]"))?.shadowRoot"""
TYPE = """(input => { input.value = %s;
  input.dispatchEvent(new Event("input", {bubbles: true})) })(%s.querySelector("input"))
"""
FOUND = """[...%s.querySelectorAll("[role=listbox] a")].map(a => a.href).filter(
  link => link.includes("docs/words/?h=%s")).length"""


@pytest.mark.installs
def test_the_search_finds_what_people_type_and_asks_nothing_outside(browser, address):
    """In a browser without a network."""
    browser.open(f"{address}/")
    browser.value("document.querySelector('.md-search__button').click()")
    browser.until(f"!!({DIALOG})")
    for word in SEARCHED:
        browser.value(TYPE % (json.dumps(word), DIALOG))
        browser.until(FOUND % (DIALOG, word))

    outside = [
        url
        for url in browser.asked
        if not url.startswith((address, "data:", "blob:", "about:"))
    ]
    assert outside == []


@pytest.mark.installs
def test_the_demo_in_the_site_shows_the_numbers_of_the_commands(
    browser, address, shop, capsys
):
    with entered(shop.environment):
        assert main(["audience", "programme", "--json"]) == 0
    [programme] = json.loads(capsys.readouterr().out)["programmes"]
    browser.open(f"{address}/demo/audiences.html")
    shown = browser.value("document.body.innerText")

    assert f"{programme['brought']:,.0f} USD more" in shown
    assert [says for says in programme["says"] if says not in shown] == []
