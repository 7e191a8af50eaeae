"""Whole pages and reports as files, in place of many asserts of their words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.propensity.learning.report_pages import parse

FOLDER = Path(__file__).parent.parent / "golden"


def visible(page: str) -> str:
    """Return the words of an HTML page, a block on a line."""
    lines = " ".join(parse(page).words).split("\f")
    return "\n".join(" ".join(line.split()) for line in lines if line.strip())


def same_as_golden(name: str, parts: Mapping[str, str]) -> None:
    """Compare texts, by their titles, with the file that `make golden` writes."""
    text = "\n\n".join(f"== {title}\n{part}" for title, part in parts.items()) + "\n"
    file = FOLDER / f"{name}.txt"
    if os.environ.get("GOLDEN"):
        file.write_text(text, "utf-8")

    assert text == file.read_text("utf-8"), "run `make golden` if that is meant"
