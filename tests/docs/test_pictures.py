"""Pictures: each carries the words of its page, so that an old one is found."""

from __future__ import annotations

import struct
import zlib

import pytest

from docs import pictures

PAGE = """<!DOCTYPE html><style>b {{ color: red }}</style>
<h1>{0} users scored on 3 Nov</h1><p>{1}</p><table><td>drawn</td></table>"""


@pytest.fixture
def shown(tmp_path):
    """A page, and a picture of it."""
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(417, "Nothing to do."))
    picture = b"\x89PNG\r\n\x1a\n"
    for name in (b"IHDR", b"IEND"):
        picture += struct.pack(">I", 0) + name + struct.pack(">I", zlib.crc32(name))
    return page, pictures.with_words(picture, pictures.words_of(page))


def test_a_picture_carries_the_words_of_its_page(shown):
    """Without numbers, days and cells, which another run draws anew."""
    page, picture = shown
    page.write_text(PAGE.format(422, "Nothing to do.").replace("Nov", "Dec"))
    same = pictures.words_of(page)
    page.write_text(PAGE.format(417, "Train again."))

    assert pictures.carried_words(picture) == same
    assert pictures.words_of(page) != same
    assert "drawn" not in same
    assert "color" not in same


def test_a_picture_that_is_older_than_its_page_is_named(shown, tmp_path, monkeypatch):
    page, picture = shown
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "one.png").write_bytes(picture)
    monkeypatch.setattr(pictures, "ROOT", tmp_path)
    monkeypatch.setattr(pictures, "write_list", lambda _: None)
    monkeypatch.setattr(pictures, "PICTURES", {"one.png": ("page.html", 1, 1, 1)})

    assert [*pictures.outdated_pictures(tmp_path)] == []
    page.write_text(PAGE.format(417, "Train again."))
    [said] = pictures.outdated_pictures(tmp_path)
    assert "docs/one.png" in said
    assert "Train again" in said
