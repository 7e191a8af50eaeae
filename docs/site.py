"""
Build the documentation as a site, with the Markdown pages as they are.

    python -m docs.site            into .local/site
    python -m docs.site --serve    and serve it on http://127.0.0.1:8000

``zensical.toml`` has the navigation. Pages and what they show are copied to the same
places below a folder of their own, so that a link means in the site what it means on
GitHub. A link that leads nowhere fails the build.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from local import venvs

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs"
LOCAL = ROOT / ".local"
SHOWN = re.compile(r"\]\(([^)\s:#]+)\)")


def build() -> Path:
    """
    Build the site, and return where it is.

    Raises:
        CalledProcessError: A link leads nowhere; the output says which.
    """
    pages = LOCAL / "site-pages"
    shutil.rmtree(pages, ignore_errors=True)
    named = [*ROOT.glob("*.md"), *ROOT.glob("0*/README.md"), *FOLDER.glob("*.md")]
    linked = {
        (page.parent / link).resolve()
        for page in named
        for link in SHOWN.findall(page.read_text("utf-8"))
    }
    for file in {*named, FOLDER / "site.css", *linked}:
        if file.is_file() and file.is_relative_to(ROOT):
            copy = pages / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    configuration = shutil.copy(FOLDER / "zensical.toml", LOCAL)
    requirements = FOLDER / "requirements.txt"
    python = venvs.python_of(requirements, folder=LOCAL / "venvs", say=print)
    command = [python.with_name("zensical"), "build", "--strict", "--clean"]
    subprocess.run([*command, "--config-file", configuration], check=True)
    return LOCAL / "site"


if __name__ == "__main__":
    site = build()
    print(f"open {(site / 'index.html').relative_to(ROOT)}")
    if "--serve" in sys.argv:
        handler = functools.partial(SimpleHTTPRequestHandler, directory=str(site))
        with ThreadingHTTPServer(("127.0.0.1", 8000), handler) as server:
            print("serving it on http://127.0.0.1:8000; stop it with Ctrl-C")
            server.serve_forever()
