"""
Pictures of what the demo has left, in the pages that show it.

    python -m docs.pictures

It follows ``python -m docs.outputs``, and needs the browser Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from html import escape

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


def chromium(*words: str) -> None:
    """Run the browser."""
    browser = shutil.which("chromium")
    if browser is None:
        browser = shutil.which("google-chrome")
    if browser is None:
        sys.exit("no pictures are taken: install Chromium, such as by its package")
    command = [browser, "--headless", "--no-sandbox", "--log-level=3"] + list(words)
    subprocess.run(command, check=True, capture_output=True)


def write_list() -> None:
    """Write the best of the mailing's last list as a page, for its picture."""
    folder = FOLDER / "storage/propensity-local/audiences/ga4_purchase/mailing"
    [*_, newest] = sorted(folder.glob("*/*.csv"))
    lines = ""
    for row in rows_of_csv(newest.read_bytes())[:LIST_ROWS]:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        lines += f"<tr>{cells}</tr>"
    (FOLDER / LIST).write_text(f"<!DOCTYPE html>{LIST_STYLE}<table>{lines}</table>")


if __name__ == "__main__":
    if not FOLDER.is_dir():
        sys.exit("there is nothing to take pictures of: run `make outputs` first")
    write_list()
    take_pictures()
