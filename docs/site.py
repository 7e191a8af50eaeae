"""
The pages as a site with a search, and in it the pages of a demo.

    python -m docs.site    writes .local/site, with the demo of STATE, if it was played

Zensical builds it, in an environment of its own, from copies of the pages. It asks
nothing outside: no font, no repository's figures.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from docs.outputs import ROOT
from local.venvs import FOLDER as ENVIRONMENTS
from local.venvs import uv

# Nothing else is there for people who only read.
PAGES = (
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "AGENTS.md",
    "0*/README.md", "tests/README.md", "docs/*.md", "docs/*.png", "docs/*.svg",
)  # fmt: skip
LINK = re.compile(r"\]\(([^)\s#]+)")
# What the demo's pages show, and their files in its dashboard.
DEMO = {
    "The dashboard": "index.html",
    "The audiences": "audiences.html",
    "How each number was made": "sql.html",
    "A model version": "model-ga4_purchase-1.html",
    "A week, predicted and actual": "report-ga4_purchase-2025-06-02.html",
}
# Follows the README's first sentence.
PLAYED = "Look around in a demo, of a generated shop, without an installation:"
MISSING = (
    "The demo's pages are missing here. Run `make demo` in a clone, then `make site`."
)
SETTINGS = """\
[project]
site_name = "Propensity"
docs_dir = "{staged}"
site_dir = "{site}"
nav = {nav}

[project.theme]
font = false
features = ["navigation.indexes", "navigation.top", "search.highlight"]

[project.markdown_extensions]
attr_list = {{}}
md_in_html = {{}}
sane_lists = {{}}
tables = {{}}
toc.permalink = true
"pymdownx.highlight" = {{}}
"pymdownx.superfences" = {{}}
"""


def stage_pages(folder: Path, demo: Path) -> bool:
    """
    Copy the pages and the files that they link into an empty folder.

    Args:
        demo: The dashboard of a demo.

    Returns:
        Whether the demo's pages are there.
    """
    for pattern in PAGES:
        for page in sorted(ROOT.glob(pattern)):
            _copy(page, folder / page.relative_to(ROOT))
            if page.suffix == ".md":
                _copy_linked_files(page, folder)
    is_played = all((demo / file).is_file() for file in DEMO.values())
    lines = [MISSING]
    if is_played:
        shutil.copytree(demo, folder / "demo")
        lines = [PLAYED, ""]
        for title, file in DEMO.items():
            lines.append(f"- [{title}](demo/{file})")
    index = folder / "README.md"
    parts = index.read_text("utf-8").split("\n\n")
    parts.insert(2, "\n".join(lines))
    index.write_text("\n\n".join(parts), "utf-8")
    return is_played


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)


def _copy_linked_files(page: Path, folder: Path) -> None:
    for link in LINK.findall(page.read_text("utf-8")):
        file = (page.parent / link).resolve()
        if file.is_file() and file.suffix != ".md":
            _copy(file, folder / file.relative_to(ROOT))


def menu() -> list[str | dict[str, list[str]]]:
    """Return the pages by the sections of the list of all pages."""
    text = (ROOT / "docs" / "README.md").read_text("utf-8")
    nav: list[str | dict[str, list[str]]] = ["README.md"]
    for section in text.split("\n## ")[1:]:
        heading, _, listed = section.partition("\n")
        pages = []
        for link in LINK.findall(listed):
            page = (ROOT / "docs" / link).resolve().relative_to(ROOT).as_posix()
            if page.endswith(".md") and page not in nav:
                pages.append(page)
        nav.append({heading: pages})
    return nav


def build_site(demo: Path, work: Path) -> Path:
    """
    Build the site; exit if a link leads nowhere.

    Args:
        demo: The dashboard of a demo.
        work: The folder that the site's own is made in.

    Returns:
        The site's folder.
    """
    staged = work / "site-pages"
    site = work / "site"
    for folder in (staged, site):
        shutil.rmtree(folder, ignore_errors=True)
    is_played = stage_pages(staged, demo)
    nav = json.dumps(menu()).replace('": [', '" = [')
    settings = SETTINGS.format(staged=staged.name, site=site.name, nav=nav)
    file = work / "zensical.toml"
    file.write_text(settings, "utf-8")
    environment = ENVIRONMENTS / "site"
    uv("venv", "--allow-existing", "--python", sys.executable, str(environment))
    python = str(environment / "bin" / "python")
    group = f"{ROOT / 'pyproject.toml'}:site"
    uv("pip", "install", "--python", python, "--group", group)
    command = [environment / "bin" / "zensical", "build", "--strict"]
    built = subprocess.run(command + ["--config-file", file], check=False)
    if built.returncode:
        sys.exit("the site is not built: see above")
    if not is_played:
        print(f"{demo} is not there. {MISSING}", file=sys.stderr)
    return site


if __name__ == "__main__":
    state = os.environ.get("STATE", "")
    if not state:
        state = "demo"
    local = ROOT / ".local"
    built = build_site(local / "states" / state / "dashboard", local)
    print(f"python3 -m http.server --bind 127.0.0.1 --directory {built}   # serves it")
