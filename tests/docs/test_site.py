"""
The documentation as a site, specified: all pages, every link, nothing from elsewhere.
"""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from docs import site
from local.errors import LocalError
from local.stack.state import ROOT
from tests.docs.pages import pages, text


class Page(HTMLParser):
    """What a page of the site loads, links to, and can be linked to by."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember what a tag names."""
        named = {name: value for name, value in attrs if value}
        self.anchors.add(named.get("id", ""))
        if tag == "a" and "href" in named:
            self.links.append(named["href"])
        loads = tag == "link" and named.get("rel") in {"stylesheet", "icon", "preload"}
        if loads and "href" in named:
            self.loads.append(named["href"])
        if tag in {"script", "img", "iframe"} and "src" in named:
            self.loads.append(named["src"])


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder of the site, built anew."""
    return site.build(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def built_pages(built) -> dict[Path, Page]:
    """Its pages, by their files."""
    return {path: Page(path) for path in built.rglob("*.html")}


class TestNavigation:
    def test_has_every_page(self):
        """A page that is missing is to be added to docs/zensical.toml."""
        missing = {*pages()} - {*site.navigation()}

        assert missing == set(), "add a line to the navigation in docs/zensical.toml"

    def test_has_nothing_twice_and_nothing_that_is_not_there(self):
        """Each entry is a file of the project."""
        named = site.navigation()

        assert len(named) == len({*named})
        assert [name for name in named if not (ROOT / name).is_file()] == []

    def test_pages_bring_along_what_they_show(self):
        """Pictures and other files, of which a link leads out of the pages."""
        assert "docs/picture.svg" in site.linked("README.md")
        assert "LICENSE" in site.linked("README.md")
        assert "docs/tour.md" not in site.linked("README.md")


class TestQuestions:
    def test_are_answered_with_a_page_to_read_on(self):
        """Twenty or more, each with a link."""
        answers = re.split(r"^### .*\?$", text("docs/faq.md"), flags=re.MULTILINE)[1:]

        assert len(answers) >= 20
        assert [answer for answer in answers if "](" not in answer] == []


class TestPictures:
    def test_are_small(self):
        """Under 200 kB each, as they are part of the source."""
        sizes = {
            path.name: path.stat().st_size
            for kind in ("*.png", "*.svg")
            for path in (ROOT / "docs").glob(kind)
        }

        assert {name for name, size in sizes.items() if size > 200_000} == set()

    def test_say_in_words_what_they_show(self):
        """Each has a text for whoever does not see it."""
        for page in pages():
            for words in re.findall(r"!\[([^\]]*)\]\(", text(page)):
                assert len(words) > 20, page


@pytest.mark.installs
@pytest.mark.timeout(600)
class TestSite:
    def test_has_every_page_of_the_navigation(self, built):
        """Where its Markdown is, as a page of its own."""
        for page in site.navigation():
            if page.endswith(".md"):
                made = (built / page).with_suffix(".html")
                assert made.is_file() or made.with_name("index.html").is_file(), page

    def test_every_link_leads_somewhere(self, built, built_pages):
        """Files and anchors, of each page as it was built."""
        broken = []
        for path, page in built_pages.items():
            # The page for addresses that do not exist is served at any of them.
            for link in page.links if path.name != "404.html" else ():
                target = urlsplit(link)
                if target.scheme or link.startswith("javascript"):
                    continue
                file = (path.parent / unquote(target.path)).resolve()
                file = path if not target.path else file
                file = file / "index.html" if file.is_dir() else file
                anchors = built_pages[file].anchors if file in built_pages else set()
                has_anchor = not target.fragment or target.fragment in anchors
                if not file.is_file() or not has_anchor:
                    broken.append((path.relative_to(built).as_posix(), link))

        assert broken == []

    def test_loads_nothing_from_elsewhere(self, built, built_pages):
        """Neither fonts nor scripts nor styles: a site of a closed network works."""
        for path, page in built_pages.items():
            assert page.loads
            for load in page.loads:
                target = urlsplit(load)
                assert not target.netloc, (path, load)
                if path.name != "404.html":
                    assert (path.parent / target.path).is_file(), (path, load)
        styles = "".join(path.read_text("utf-8") for path in built.rglob("*.css"))
        assert re.findall(r"(?:url\(|@import )['\"]?https?:", styles) == []

    def test_a_link_that_leads_nowhere_fails_the_build(self, tmp_path):
        """And the message has the page and the line."""
        root = tmp_path / "project"
        for name in [*site.navigation(), "docs/zensical.toml", "docs/site.css"]:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
        with (root / "docs" / "tour.md").open("a") as page:
            page.write("\n[nowhere](nothing.md)\n")

        with pytest.raises(LocalError, match=r"(?s)page does not exist.*docs/tour\.md"):
            site.build(tmp_path / "made", root=root)
