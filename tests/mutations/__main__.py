"""
Break rules of the code one after another, and see a test go red for each.

    make mutations                 all of them, in a copy of the work tree
    make mutations ONLY=identity   those whose clause or file has this word

The tests that hold them run once on the whole copy first: one that is red there would
prove nothing. Where no quick test goes red the long ones of the same names are tried,
which must be green on the whole file. Exit codes: 0 every rule was seen red, 1 one was
not.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.mutations.rules import ROOT, Rule, rules

TIMEOUT_S = 300
# pytest's own exit codes: tests failed; all passed, or none was chosen. Others are no
# proof.
TESTS_FAILED, GREEN = 1, (0, 5)
# A file that no longer can be read at all breaks its tests as they are collected.
FAILED = re.compile(r"^(?:FAILED|ERROR) \S*?::(\S+)", re.MULTILINE)


def copy_of_the_tree(folder: Path) -> None:
    """Copy what git knows, and link the environments, which nothing here changes."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    (folder / ".local").mkdir()
    for name in (".venv", ".local/venvs"):
        (folder / name).symlink_to(ROOT / name)


def pytest(
    tree: Path, tests: Sequence[str], *, options: Sequence[str], timeout_s: float | None
) -> subprocess.CompletedProcess[str]:
    """Run tests in a copy of the tree."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=line", *options, *tests],
        cwd=tree,
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        # A file that is mended within the second is as old as its bytecode.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def outcome(rule: Rule, tree: Path) -> tuple[bool, str]:
    """Break a rule, run its tests and mend it; return whether, and by which, red."""
    try:
        process = _one_by_one(rule, tree, text=rule.broken)
        if process.returncode in GREEN:
            process = _one_by_one(rule, tree, text=rule.broken, is_long=True)
            if process.returncode == TESTS_FAILED:
                sound = _one_by_one(rule, tree, text=rule.rule, is_long=True)
                if sound.returncode:
                    return False, f"red before it is broken  {rule.clause}"
    except subprocess.TimeoutExpired:
        return False, f"no answer within {TIMEOUT_S} s  {rule.clause}"
    if process.returncode == TESTS_FAILED and (match := FAILED.search(process.stdout)):
        return True, f"red    {rule.clause}  [{match[1]}]"
    is_green = process.returncode in GREEN
    result = "GREEN" if is_green else f"pytest ended with {process.returncode}"
    return False, f"{result}  {rule.clause}"


def _one_by_one(
    rule: Rule, tree: Path, *, text: str, is_long: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a rule's tests until one fails, with a text in its place."""
    file = tree / rule.file
    before = file.read_text("utf-8")
    file.write_text(before.replace(rule.rule, text), "utf-8")
    options = ["-x", "-n", "0", "--timeout", "120"]
    if is_long:
        options += ["-m", "(long or hypothesis) and not installs"]
        options += ["--hypothesis-profile", "deep"]
    try:
        return pytest(tree, rule.tests, options=options, timeout_s=TIMEOUT_S)
    finally:
        file.write_text(before, "utf-8")


def main() -> int:
    """Break every rule that is chosen, and say what became of its test."""
    parser = argparse.ArgumentParser(description="Break rules; see tests go red.")
    parser.add_argument("--only", default="", help="a word of the clause or the file")
    only = parser.parse_args().only.lower()
    selected = [
        rule for rule in rules() if only in f"{rule.clause} {rule.file}".lower()
    ]
    if stale := [rule for rule in selected if rule.places != 1]:
        for rule in stale:
            print(f"{rule.file} has it {rule.places} times: {rule.rule!r}")
        return 1
    failed = 0
    with tempfile.TemporaryDirectory(prefix="mutations-") as name:
        tree = Path(name) / "tree"
        tree.mkdir()
        copy_of_the_tree(tree)
        tests = sorted({test for rule in selected for test in rule.tests})
        sound = pytest(
            tree, tests, options=["-n", "3", "--dist", "loadfile"], timeout_s=None
        )
        if sound.returncode not in GREEN:
            print(f"{sound.stdout}\nRed before any rule is broken: mend that first.")
            return 1
        for number, rule in enumerate(selected, 1):
            is_red, message = outcome(rule, tree)
            failed += not is_red
            print(f"{number:3}/{len(selected)}  {message}", flush=True)
    print(f"{len(selected) - failed} of {len(selected)} rules were seen red")
    return 1 if failed or not selected else 0


if __name__ == "__main__":
    sys.exit(main())
