"""``llms.txt``, the list of pages for programs, from the one for people."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# In docs/README.md, where a link begins that leads to a file.
LINK = re.compile(r"\]\((?!\w+:)")


def page() -> str:
    """Return the README's first sentence, and each section of the list of pages."""
    start = (FOLDER.parent / "README.md").read_text("utf-8").split("\n\n")[1]
    _, _, sections = (FOLDER / "README.md").read_text("utf-8").partition("\n## ")
    linked = LINK.sub("](docs/", sections).replace("](docs/../", "](")
    return f"# Propensity\n\n> {start}\n\n## {linked}"
