"""
Write the pages that are made from the code.

    python -m docs
"""

from __future__ import annotations

from pathlib import Path

from docs import openapi, reference

FOLDER = Path(__file__).resolve().parent
PAGES = {
    "commands.md": reference.commands,
    "tables.md": reference.tables,
    "openapi.yaml": openapi.page,
}


# What stands between two comments of a page.
PARTS = {("operate.md", "costs"): reference.costs}


def with_part(text: str, name: str, part: str) -> str:
    """Return a page's text with another part between the comments of its name."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, after = text.split(begin, maxsplit=1)[0], text.split(end)[1]
    return f"{before}{begin}{part}{end}{after}"


if __name__ == "__main__":
    for (name, part), write in PARTS.items():
        path = FOLDER / name
        path.write_text(with_part(path.read_text("utf-8"), part, write()), "utf-8")
        print(f"wrote {part} in docs/{name}")
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), "utf-8")
        print(f"wrote docs/{name}")
