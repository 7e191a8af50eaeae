"""The pages, and the blocks that are in them."""

from __future__ import annotations

import json
import re
from functools import cache

from local.stack.state import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "[!.]*/**/*.md", "docs/*.ipynb")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@cache
def text(name: str) -> str:
    """Return a page's text: of a notebook, that of its cells without code."""
    written = (ROOT / name).read_text("utf-8")
    if not name.endswith(".ipynb"):
        return written
    cells = json.loads(written)["cells"]
    words = [cell["source"] for cell in cells if cell["cell_type"] == "markdown"]
    return "\n\n".join("".join(source) for source in words)


def blocks(page: str, language: str = "") -> list[str]:
    return [body for kind, body in FENCE.findall(text(page)) if kind == language]


def worded(printed: str) -> list[list[str]]:
    """Return the words of each line, with figures and gaps of numbers left out."""
    number = re.compile(r"^[+-]?[\d,]+(\.\d+)?$|^[\d-]{10}$|^nan$", re.IGNORECASE)
    return [
        ["#" if number.match(word.strip(",")) else word for word in line.split()]
        for line in printed.splitlines()
    ]
