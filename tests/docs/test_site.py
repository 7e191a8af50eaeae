"""The site: all pages, what they link, and the demo that was played."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from docs import site
from docs.outputs import ROOT
from tests.docs.pages import FENCE
from tests.docs.test_pages import LINK


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
