"""
Break each promise of promises.toml in a copy of the tree, and see its test fail.

    python -m tests.promises [--only WORDS] [--breaks FILE]

A break is a text that is in its file once, and what replaces it. The promise is proved
if an assertion of its test fails then: a test that can't be imported or set up says
nothing. FILE has other breaks of the same promises: file, text and replacement of each.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
FILE = ROOT / "tests" / "promises.toml"
ASSERTED = ("assert", "AssertionError", "Failed: DID NOT")
# Of one test, also where its emulators and processes have to start.
LONGEST_S = 900
OPTIONS = ("-n", "0", "-x", "-q", "-m", "", "-p", "no:cacheprovider", "--timeout=600")
GIT = ("git", "-c", "user.name=promises", "-c", "user.email=promises@localhost")


def main() -> int:
    """Prove promises, and print what became of each; return 1 if one is not proved."""
    parser = argparse.ArgumentParser(prog="python -m tests.promises")
    parser.add_argument("--only", default="", help="words that a promise has")
    parser.add_argument("--breaks", type=Path, help="a file of other breaks")
    options = parser.parse_args()
    promises = read(FILE)
    broken = read(options.breaks) if options.breaks else promises
    unproved = 0
    with tempfile.TemporaryDirectory(prefix="promises-") as folder:
        tree = copied(Path(folder) / "tree")
        for promise, entry in broken.items():
            if options.only not in promise:
                continue
            began = time.monotonic()
            outcome = outcome_of({**promises[promise], **entry}, tree)
            unproved += outcome != "red"
            seconds = time.monotonic() - began
            print(f"{outcome:6} {seconds:4.0f} s  {promise}", flush=True)
    print(f"{unproved} not proved")
    return min(unproved, 1)


def read(file: Path) -> dict[str, dict[str, str]]:
    """Return the tables of a file, by promise."""
    return tomllib.loads(file.read_text("utf-8"))


def copied(tree: Path) -> Path:
    """Copy what git knows and does not ignore; tests ask git for it there, too."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        text=True,
    )
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            # A function's folder has links to the packages that it needs.
            shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
    (tree / ".venv").symlink_to(sys.prefix)
    for words in (["init", "-q"], ["add", "--all"], ["commit", "-q", "-m", "copy"]):
        subprocess.run([*GIT, *words], cwd=tree, check=True)
    return tree


def outcome_of(entry: dict[str, str], tree: Path) -> str:
    """Break a file, run the test, and mend the file."""
    file = tree / entry["file"]
    whole = file.read_text("utf-8")
    if whole.count(entry["text"]) != 1:
        return f"{entry['file']} has the text {whole.count(entry['text'])} times"
    report = tree.parent / "report.xml"
    report.unlink(missing_ok=True)
    python = tree / ".venv" / "bin" / "python"
    path, _, name = entry["test"].partition("::")
    command = [python, "-m", "pytest", *OPTIONS, path, "-k", name]
    command.append(f"--junitxml={report}")
    run = {"cwd": tree, "env": {**os.environ, "PYTHONPATH": str(tree)}}
    file.write_text(whole.replace(entry["text"], entry["replacement"]), "utf-8")
    try:
        subprocess.run(
            command, check=False, capture_output=True, timeout=LONGEST_S, **run
        )
    except subprocess.TimeoutExpired:
        return f"ran for {LONGEST_S} s"
    finally:
        file.write_text(whole, "utf-8")
    return said(report)


def said(report: Path) -> str:
    """Return red if an assertion failed, green if all passed, else what went wrong."""
    if not report.exists():
        return "nothing was run"
    tests = ElementTree.parse(report)
    for failure in tests.iter("failure"):
        message = failure.get("message", "")
        return "red" if message.startswith(ASSERTED) else f"raised {message[:300]}"
    for error in tests.iter("error"):
        return f"not begun: {error.get('message', '')[:300]}"
    return "green" if any(tests.iter("testcase")) else "no test"


if __name__ == "__main__":
    sys.exit(main())
