"""
Pictures of what the demo has left, in the pages that show it.

    python -m docs.pictures

It follows ``python -m docs.outputs``, and needs the browser Chromium, which also
measures that tiles hold large sums.

Exit code 1 if a tile doesn't.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html import escape, unescape

from docs.outputs import ROOT, STATE
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
    "dashboard.png": (OVERVIEW, 1180, 716, 1),
    "dashboard-dark.png": (OVERVIEW, 1180, 716, 0),
    "report.png": (REPORT, 1000, 560, 1),
}


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
    folder = FOLDER / "storage/propensity-local/audiences/ga4_purchase/mailing"
    [*_, newest] = sorted(folder.glob("*/*.csv"))
    lines = ""
    for row in rows_of_csv(newest.read_bytes())[:LIST_ROWS]:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        lines += f"<tr>{cells}</tr>"
    (FOLDER / LIST).write_text(f"<!DOCTYPE html>{LIST_STYLE}<table>{lines}</table>")


def crowded() -> list[str]:
    """
    Return where a tile of the dashboard does not hold a sum of ten digits.

    The browser measures each page in frames as wide as a telephone, a tablet and a
    desk's screen, with the sum as four languages write it.
    """
    dashboard = FOLDER / "dashboard"
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


if __name__ == "__main__":
    if not FOLDER.is_dir():
        sys.exit("there is nothing to take pictures of: run `make outputs` first")
    write_list()
    take_pictures()
    wrong = crowded()
    print(*wrong, sep="\n")
    sys.exit(bool(wrong))
