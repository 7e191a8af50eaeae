"""
Write the pages that are made from the code.

    python -m docs
"""

from __future__ import annotations

from pathlib import Path

from docs import llms, measured, openapi, reference, resources

FOLDER = Path(__file__).resolve().parent
# These functions write what stands between two comments of a page.
PARTS = {
    ("commands.md", "exit codes"): reference.exit_codes,
    ("commands.md", "commands"): reference.commands,
    ("measured.md", "sets"): measured.measured,
    ("resources.md", "summary"): resources.summary,
    ("resources.md", "resources"): resources.resources,
    ("resources.md", "by scripts"): resources.by_scripts,
    ("resources.md", "roles"): resources.roles,
    ("resources.md", "permissions"): resources.permissions,
    ("tables.md", "shared columns"): reference.shared_columns,
    ("tables.md", "tables"): reference.tables,
    ("tables.md", "events"): reference.events_columns,
}


def with_part(text: str, name: str, part: str) -> str:
    """Return a page's text with another part between the comments of its name."""
    begin = f"<!-- {name} -->\n"
    end = f"<!-- /{name} -->"
    before = text.split(begin, maxsplit=1)[0]
    after = text.split(end)[1]
    return f"{before}{begin}{part}{end}{after}"


if __name__ == "__main__":
    for (name, part), write in PARTS.items():
        path = FOLDER / name
        path.write_text(with_part(path.read_text("utf-8"), part, write()), "utf-8")
        print(f"wrote {part} in docs/{name}")
    (FOLDER / "openapi.yaml").write_text(openapi.page(), "utf-8")
    print("wrote docs/openapi.yaml")
    (FOLDER.parent / "llms.txt").write_text(llms.page(), "utf-8")
    print("wrote llms.txt")
