"""
Pictures of what the demo has left, in the pages that show it.

    python -m docs.pictures

It follows ``python -m docs.outputs``, and needs the browser Chromium. Each picture
carries the words of its page, which ``docs.outputs --check`` compares with a demo's.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from pathlib import Path

from docs.outputs import ROOT, STATE, shape
from propensity.spreadsheet import rows_of_csv

FOLDER = ROOT / ".local" / "states" / STATE
# Pictures: the file of a state that they show, their size, and a browser's number of
# the colours: 0 is dark.
REPORT = "storage/propensity-local/models/ga4_purchase/1/report.html"
OVERVIEW = "dashboard/index.html"
LIST = "list.html"
LIST_ROWS = 9
LIST_STYLE = """<meta charset="utf-8"><style>
body { margin: 0; font: 15px/1.2 Carlito, Calibri, sans-serif; }
table { border-collapse: collapse; }
td, th { border: 1px solid #d4d4d4; padding: 5px 12px; white-space: nowrap; }
th { background: #f1f1f1; font-weight: 600; text-align: left; }
tr > :first-child, tr > :nth-child(3), tr > :nth-child(4) { text-align: right; }
</style>"""
PICTURES = {
    "list.png": (LIST, 820, 261, 1),
    "dashboard.png": (OVERVIEW, 1180, 716, 1),
    "dashboard-dark.png": (OVERVIEW, 1180, 716, 0),
    "report.png": (REPORT, 1000, 560, 1),
}


# The chunk of a PNG's text, compressed. Source: PNG specification, 11.3.3.4.
TEXT = b"iTXt"
KEYWORD = b"Page"
HEAD = KEYWORD + b"\0\1\0\0\0"
# Cells and charts hold what each run draws anew; cells of a heading are words.
WITHOUT_WORDS = {"style", "td", "svg"}
DAY = re.compile(
    r"\d{4}-\d\d-\d\d|\b(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b"
    r"|\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b"
)

# What contacting brought depends on who is drawn into the control group.
FEW = 0.2
DRAWN = re.compile(r"contact|brought|chance|attention|warning|control", re.IGNORECASE)


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = 0
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.hidden += tag in WITHOUT_WORDS

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in WITHOUT_WORDS

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.words.append(data)


def words_of(page: Path) -> str:
    """Return the words of a page, with a sign for each number and each day's name."""
    parser = _Words()
    parser.feed(page.read_text("utf-8"))
    return DAY.sub("#", shape(" ".join(parser.words)))


def with_words(picture: bytes, words: str) -> bytes:
    """Return a PNG that carries words in a chunk before its last one."""
    body = TEXT + HEAD + zlib.compress(words.encode())
    size = struct.pack(">I", len(body) - len(TEXT))
    chunk = size + body + struct.pack(">I", zlib.crc32(body))
    return picture[:-12] + chunk + picture[-12:]


def carried_words(picture: bytes) -> str:
    """Return the words that a PNG carries; none if it has no such chunk."""
    _, found, rest = picture.partition(TEXT + HEAD)
    return zlib.decompressobj().decompress(rest).decode() if found else ""


def parts_of(words: str) -> set[str]:
    """Return the parts of a page's words that each demo has."""
    parts = set()
    for part in re.split("[.:;] ", words):
        if not DRAWN.search(part):
            parts.add(part)
    return parts


def outdated_pictures(state: Path) -> Iterator[str]:
    """Yield what a picture shows otherwise than the page of a state that was played."""
    write_list(state)
    for name, (file, *_) in PICTURES.items():
        carried = parts_of(carried_words((ROOT / "docs" / name).read_bytes()))
        new = parts_of(words_of(state / file)) - carried
        # A few say what is so on that day alone.
        if len(new) > FEW * len(carried):
            said = "; ".join(sorted(new))
            yield f"docs/{name} is older than its page, which says: {said}"


def take_pictures() -> None:
    """Take the pictures of the state that was played."""
    for name, (file, width, height, colours) in PICTURES.items():
        page = (FOLDER / file).resolve(strict=True)
        chromium(
            "--hide-scrollbars",
            f"--window-size={width},{height}",
            f"--blink-settings=preferredColorScheme={colours}",
            f"--screenshot={ROOT}/docs/{name}",
            page.as_uri(),
        )
        picture = ROOT / "docs" / name
        picture.write_bytes(with_words(picture.read_bytes(), words_of(page)))
        print(f"wrote docs/{name}")


def chromium(*words: str) -> None:
    """Run the browser."""
    browser = shutil.which("chromium")
    if browser is None:
        browser = shutil.which("google-chrome")
    if browser is None:
        sys.exit("no pictures are taken: install Chromium, such as by its package")
    command = [browser, "--headless", "--no-sandbox", "--log-level=3"] + list(words)
    subprocess.run(command, check=True, capture_output=True)


def write_list(state: Path) -> None:
    """Write the best of the mailing's last list as a page, for its picture."""
    folder = state / "storage/propensity-local/audiences/ga4_purchase/mailing"
    [*_, newest] = sorted(folder.glob("*/*.csv"))
    lines = ""
    kind = "th"
    for row in rows_of_csv(newest.read_bytes())[:LIST_ROWS]:
        cells = "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in row)
        lines += f"<tr>{cells}</tr>"
        kind = "td"
    (state / LIST).write_text(f"<!DOCTYPE html>{LIST_STYLE}<table>{lines}</table>")


if __name__ == "__main__":
    if not FOLDER.is_dir():
        sys.exit("there is nothing to take pictures of: run `make outputs` first")
    write_list(FOLDER)
    take_pictures()
