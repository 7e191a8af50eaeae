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


if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), "utf-8")
        print(f"wrote docs/{name}")
