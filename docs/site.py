"""
Build the documentation as a site, with the Markdown pages as they are.

    python -m docs.site            into .local/site
    python -m docs.site --serve    and serve it, with its search, on 127.0.0.1:8000

``docs/zensical.toml`` has the navigation. Its pages, and the files that they link to,
are copied to the same places below a folder of their own, so that a link means in the
site what it means on GitHub. A link that leads nowhere fails the build.
"""

from __future__ import annotations

import argparse
import functools
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from local import venvs
from local.errors import LocalError

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = ROOT / "docs" / "zensical.toml"
REQUIREMENTS = ROOT / "docs" / "requirements.txt"
LOCAL = ROOT / ".local"
HOST, PORT = "127.0.0.1", 8000

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the site; return the exit status."""
    parser = argparse.ArgumentParser(
        "python -m docs.site", description="Build the documentation as a site."
    )
    parser.add_argument("--serve", action="store_true", help="serve it afterwards")
    options = parser.parse_args(arguments)
    try:
        site = build(LOCAL)
    except LocalError as error:
        print(f"docs: {error}", file=sys.stderr)
        return 1
    print(f"open {(site / 'index.html').relative_to(ROOT)}")
    if options.serve:
        serve(site)
    return 0


def navigation(configuration: Path = CONFIGURATION) -> list[str]:
    """Return the pages of the navigation, in its order."""
    return [*_pages(tomllib.loads(configuration.read_text("utf-8"))["project"]["nav"])]


def _pages(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for entry in entries:
        for below in entry.values():
            if isinstance(below, str):
                yield below
            else:
                yield from _pages(below)


def linked(page: str, *, root: Path = ROOT) -> list[str]:
    """Return the files of the project, and no pages, that a page shows or links to."""
    files = []
    for link in LINK.findall(FENCE.sub("", (root / page).read_text("utf-8"))):
        target = urlsplit(link)
        file = ((root / page).parent / target.path).resolve()
        is_ours = not target.scheme and target.path and file.is_relative_to(root)
        if is_ours and file.is_file() and file.suffix != ".md":
            files.append(file.relative_to(root).as_posix())
    return files


def build(folder: Path, *, root: Path = ROOT) -> Path:
    """
    Build the site into ``site`` below a folder, and return where it is.

    Args:
        folder: Gets the pages and the configuration, too.
        root: Of the project; its navigation counts.

    Raises:
        LocalError: A page is missing, a link leads nowhere, or the tool could not be
            installed.
    """
    configuration = root / "docs" / "zensical.toml"
    pages = folder / "site-pages"
    for made in (pages, folder / "site"):
        shutil.rmtree(made, ignore_errors=True)
    named = navigation(configuration)
    if missing := [page for page in named if not (root / page).is_file()]:
        raise LocalError(f"docs/zensical.toml names {', '.join(missing)}: no such file")
    files = {*named, "docs/site.css"}
    for page in named:
        if page.endswith(".md"):
            files.update(linked(page, root=root))
    for name in sorted(files):
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, pages / name)
    shutil.copyfile(configuration, folder / configuration.name)
    python = venvs.python_of(REQUIREMENTS, folder=LOCAL / "venvs", say=print)
    done = subprocess.run(
        [
            *(python.with_name("zensical"), "build", "--strict", "--clean"),
            *("--config-file", str(folder / configuration.name)),
        ],
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    # What follows is where in the tool it noticed.
    answer = done.stdout.partition("Traceback (most recent call last)")[0]
    if done.returncode:
        raise LocalError(f"the site was not built:\n{answer}")
    return folder / "site"


def serve(site: Path) -> None:
    """Serve the site until somebody interrupts."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(site))
    with ThreadingHTTPServer((HOST, PORT), handler) as server:
        print(f"serving it on http://{HOST}:{PORT}; stop it with Ctrl-C")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    sys.exit(main())
