"""
What the demo prints and shows, in the pages that quote it.

    python -m docs.outputs                 play the demo; write its numbers and pictures
    python -m docs.outputs --check FILE    compare the pages with what a demo printed

A line of a page quotes a line of the demo if both are the same but for their numbers.
Pictures need the browser Chromium, which also measures that tiles hold large sums.

Exit code 1 if a page quotes a line that the demo does not print, or another number.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import escape, unescape
from pathlib import Path

from propensity.spreadsheet import rows_of_csv

ROOT = Path(__file__).resolve().parents[1]
STATE = "pages"
PAGES = ("README.md", "docs/quickstart.md", "docs/tour.md")
BLOCK = re.compile(r"^```(text|json)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Numbers of two machines may differ by a share of themselves, or by so much.
SHARE = 0.01
LEAST = 0.002
# Texts and dates of a line stay as they are; times and other numbers may differ.
PARTS = re.compile(
    r'(?P<fixed>"[^"]*"|\d{4}-\d\d-\d\d)|(?P<time>\d+ ms)|[+-]?\d[\d,]*(?:\.\d+)?'
)
# Drawn anew by each run: who is in the control group, and what comes in real time.
REAL_TIME = r"^ *-?\d+ +(-|[A-Z]\w+) +[\d,]+ "
CHANCE = re.compile(rf" (audience|uplift|brought) |{REAL_TIME}")
RULES = re.compile(r"^-+$")
# Pictures: the file of a state that they show, their size, and a browser's number of
# the colours: 0 is dark.
REPORT = "storage/propensity-local/models/ga4_purchase/1/report.html"
OVERVIEW = "dashboard/index.html"
LIST = "list.html"
LIST_ROWS = 9
LIST_STYLE = """<meta charset="utf-8"><style>
body { margin: 0; font: 15px/1.2 Carlito, Calibri, sans-serif; }
table { border-collapse: collapse; }
td { border: 1px solid #d4d4d4; padding: 5px 12px; white-space: nowrap; }
tr:first-child td { background: #f1f1f1; font-weight: 600; }
td:first-child, td:nth-child(3), td:nth-child(4) { text-align: right; }
</style>"""
# Sums of ten digits as de, fr, en and hi write them; widths of screens.
SUMS = (
    "1.234.567.890 EUR",
    "1\u202f234\u202f567\u202f890 EUR",
    "1,234,567,890 USD",
    "1,23,45,67,890 INR",
)
WIDTHS = (390, 768, 1280)
MEASURED = ("index.html", "audiences.html", "fraud.html")
MEASURE = """<script>
addEventListener("load", () => {
  const wrong = [];
  for (const frame of document.querySelectorAll("iframe")) {
    const tiles = [...frame.contentDocument.querySelectorAll(".tile")];
    for (const tile of tiles)
      for (const sum of tile.querySelectorAll("strong a, strong"))
        if (!sum.querySelector("a")) sum.textContent = frame.title;
    const boxes = tiles.map((tile) => tile.getBoundingClientRect());
    const meets = (a, b) => a.left < b.right && b.left < a.right
      && a.top < b.bottom && b.top < a.bottom;
    tiles.forEach((tile, n) => {
      const others = boxes.slice(n + 1).some((box) => meets(boxes[n], box));
      if (tile.scrollWidth > tile.clientWidth || others)
        wrong.push([frame.width, frame.title, tile.textContent].join(" "));
    });
  }
  const output = document.createElement("output");
  output.textContent = wrong.join("|");
  document.body.replaceChildren(output);
});
</script>"""
PICTURES = {
    "list.png": (LIST, 820, 261, 1),
    "dashboard.png": (OVERVIEW, 1180, 692, 1),
    "dashboard-dark.png": (OVERVIEW, 1180, 692, 0),
    "report.png": (REPORT, 1000, 560, 1),
}


def shape(line: str) -> str:
    """Return a line without its numbers: lines of the same shape are compared."""

    def part(match: re.Match[str]) -> str:
        return match["fixed"] if match["fixed"] else "#"

    return PARTS.sub(part, " ".join(line.split()))


def numbers(line: str) -> list[str]:
    """Return the numbers of a line that are no times."""
    return [
        match[0]
        for match in PARTS.finditer(line)
        if not any(match.groupdict().values())
    ]


def renewed(line: str, printed: list[str]) -> str | None:
    """
    Return a line of a page as the demo printed it; None if there is none like it.

    The demo's line leaves the list: a page quotes each once.
    """
    for index, candidate in enumerate(printed):
        # The answer to a lookup is a part of its line.
        part = candidate[candidate.find("{") :] if line.startswith("{") else candidate
        if shape(part) == shape(line):
            del printed[index]
            return part.rstrip()
    return None


def is_close(text: str, other: str) -> bool:
    """Tell whether two numbers are the same but for rounding on another machine."""
    first, second = (float(value.replace(",", "")) for value in (text, other))
    return abs(first - second) <= max(LEAST, SHARE * abs(second))


def written(text: str, printed: list[str]) -> tuple[str, list[str]]:
    """Return a page with the numbers of a demo, and what is still wrong with it."""
    wrong: list[str] = []

    def block(match: re.Match[str]) -> str:
        left = list(printed)
        lines = []
        for line in match[2].splitlines():
            new = renewed(line, left) if line.strip() else line
            lines.append(line if new is None else new)
            may_differ = RULES.match(line) or re.search(REAL_TIME, line)
            if new is None and not may_differ:
                wrong.append(f"the demo prints no line like: {line.strip()}")
        return "\n".join([f"```{match[1]}"] + lines + ["```"])

    return BLOCK.sub(block, text), wrong


def problems(name: str, text: str, printed: list[str]) -> Iterator[str]:
    """Yield what a page quotes otherwise than a demo printed it."""
    new, wrong = written(text, printed)
    for problem in wrong:
        yield f"{name}: {problem}"
    for line, other in zip(text.splitlines(), new.splitlines(), strict=True):
        both = zip(numbers(line), numbers(other), strict=True)
        if not (CHANCE.search(line) or all(is_close(*pair) for pair in both)):
            yield f"{name}: {line.strip()}\n  the demo printed: {other.strip()}"


def played() -> str:
    """Play the demo in a state of its own, and return what it prints."""
    shutil.rmtree(ROOT / ".local" / "states" / STATE, ignore_errors=True)
    command = ["make", "demo", f"STATE={STATE}"]
    pipe = subprocess.PIPE
    run = subprocess.run(command, check=False, cwd=ROOT, stdout=pipe, text=True)
    print(run.stdout)
    if run.returncode:
        sys.exit("the demo failed: no page is written")
    return run.stdout


def pictures() -> None:
    """Take the pictures of the state that was played."""
    for name, (file, width, height, colours) in PICTURES.items():
        page = (ROOT / ".local" / "states" / STATE / file).resolve(strict=True)
        chromium(
            "--hide-scrollbars",
            f"--window-size={width},{height}",
            f"--blink-settings=preferredColorScheme={colours}",
            f"--screenshot={ROOT}/docs/{name}",
            page.as_uri(),
        )
        print(f"wrote docs/{name}")


def chromium(*words: str) -> str:
    """Run the browser, and return what it prints."""
    browser = shutil.which("chromium")
    if browser is None:
        browser = shutil.which("google-chrome")
    if browser is None:
        sys.exit("no pictures are taken: install Chromium, such as by its package")
    command = [browser, "--headless", "--no-sandbox", "--log-level=3"] + list(words)
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return run.stdout


def write_list() -> None:
    """Write the best of the mailing's last list as a page, for its picture."""
    state = ROOT / ".local" / "states" / STATE
    folder = state / "storage/propensity-local/audiences/ga4_purchase/mailing"
    [*_, newest] = sorted(folder.glob("*/*.csv"))
    lines = ""
    for row in rows_of_csv(newest.read_bytes())[:LIST_ROWS]:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        lines += f"<tr>{cells}</tr>"
    (state / LIST).write_text(f"<!DOCTYPE html>{LIST_STYLE}<table>{lines}</table>")


def crowded() -> list[str]:
    """
    Return where a tile of the dashboard does not hold a sum of ten digits.

    The browser measures each page in frames as wide as a telephone, a tablet and a
    desk's screen, with the sum as four languages write it.
    """
    dashboard = ROOT / ".local" / "states" / STATE / "dashboard"
    found = []
    for page in MEASURED:
        text = (dashboard / page).read_text("utf-8")
        frames = ""
        for width in WIDTHS:
            for total in SUMS:
                frames += (
                    f'<iframe width="{width}" height="3000" title="{total}" '
                    f'srcdoc="{escape(text)}"></iframe>'
                )
        file = dashboard / "measured.html"
        file.write_text(f"{frames}{MEASURE}", "utf-8")
        printed = chromium("--dump-dom", "--virtual-time-budget=5000", file.as_uri())
        file.unlink()
        result = re.search(r"<output>(.*)</output>", printed, re.DOTALL)
        assert result is not None, f"{page} could not be measured"
        for place in filter(None, unescape(result[1]).split("|")):
            found.append(f"{page}: {' '.join(place.split())}")
    return found


def main() -> int:
    """Write the pages, or compare them; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs.outputs")
    parser.add_argument("--check", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.check:
        printed = options.check.read_text("utf-8").splitlines()
        wrong = list[str]()
        for name in PAGES:
            wrong += problems(name, (ROOT / name).read_text("utf-8"), printed)
        print(*wrong, sep="\n")
        return int(bool(wrong))
    printed = played().splitlines()
    for name in PAGES:
        path = ROOT / name
        text, _ = written(path.read_text("utf-8"), printed)
        path.write_text(text, "utf-8")
        print(f"wrote {name}")
    write_list()
    pictures()
    wrong = crowded()
    print(*wrong, sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
