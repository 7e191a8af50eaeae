"""
Which tests see a break: the product is broken in drawn places, one at a time.

    python -m benchmarks.mutations draw 30 --seed 1 > breaks.json
    python -m benchmarks.mutations play breaks.json

A place is a comparison, a bound, a condition, a call, a column or a connective, in
Python or SQL; a file is drawn by its size. The nearest tests are asked first, those of
the folder that mirrors the broken file's, and then all others until one fails. What no
test sees is printed last: it wants a test, or is no break.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PRODUCT = ("propensity", "offline", "commands", "0*", "deploy")
OTHER = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "=": "!=",
    "AND": "OR",
    "OR": "AND",
    " DESC": "",
}
OPERATORS = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
IN_SQL = re.compile(r"(?<![<>!=])(?:<=|>=|!=|[<>=])(?![<>=])|\b(?:AND|OR)\b| DESC\b")
COLUMN = re.compile(r"\b[a-z]\w*\.([a-z_]+)\b")
LIMIT_S = 1500


def of_python(text: str) -> Iterator[tuple[str, int, int, str]]:
    """Yield the breaks of a program: kind, begin, end, and what stands there then."""
    lines = text.encode().splitlines(keepends=True)
    begins = [0]
    for line in lines:
        begins.append(begins[-1] + len(line))

    def place(node: Any) -> tuple[int, int]:
        return (
            begins[node.lineno - 1] + node.col_offset,
            begins[node.end_lineno - 1] + node.end_col_offset,
        )

    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                begin = place(left)[1]
                end = place(right)[0]
                sign = OPERATORS.get(type(operator))
                if sign:
                    yield "comparison", begin, end, f" {OTHER[sign]} "
            case ast.If(test=test) | ast.IfExp(test=test):
                begin, end = place(test)
                asked = text.encode()[begin:end].decode()
                yield "condition", begin, end, f"not ({asked})"
            case ast.Constant(value=bool()):
                continue
            case ast.Constant(value=int(value)) if value < 10_000:
                begin, end = place(node)
                yield "bound", begin, end, str(value + 1)
            case ast.Expr(value=ast.Call()):
                begin, end = place(node)
                yield "call", begin, end, "pass"


def of_sql(text: str) -> Iterator[tuple[str, int, int, str]]:
    """Yield the breaks of a statement, its comments left alone."""
    bare = re.sub(
        r"--[^\n]*|/\*.*?\*/", lambda got: " " * len(got[0]), text, flags=re.S
    )
    columns = sorted({got[1] for got in COLUMN.finditer(bare)})
    for got in IN_SQL.finditer(bare):
        begin = len(text[: got.start()].encode())
        kind = "connective" if got[0].isalpha() else "comparison"
        yield kind, begin, begin + len(got[0]), OTHER[got[0]]
    for got in COLUMN.finditer(bare):
        begin = len(text[: got.start(1)].encode())
        at = columns.index(got[1])
        other = columns[(at + 1) % len(columns)]
        if other != got[1]:
            yield "column", begin, begin + len(got[1]), other


def draw(count: int, seed: int) -> list[dict[str, Any]]:
    """Return breaks in files that are drawn by their size."""
    drawn = random.Random(seed)
    files = [
        path
        for room in PRODUCT
        for folder in sorted(ROOT.glob(room))
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".py", ".sql") and path.stat().st_size
    ]
    sizes = [path.read_text().count("\n") for path in files]
    breaks: list[dict[str, Any]] = []
    while len(breaks) < count:
        [path] = drawn.choices(files, sizes)
        text = path.read_text()
        every = list((of_python if path.suffix == ".py" else of_sql)(text))
        if not every:
            continue
        # A kind is drawn first: comparisons are many, and calls that stand alone few.
        kind = drawn.choice(sorted({one[0] for one in every}))
        _, begin, end, there = drawn.choice([one for one in every if one[0] == kind])
        data = text.encode()
        line = data.rfind(b"\n", 0, begin) + 1
        until = data.find(b"\n", end)
        broken = {
            "file": str(path.relative_to(ROOT)),
            "kind": kind,
            "before": data[line:until].decode(),
            "after": (data[line:begin] + there.encode() + data[end:until]).decode(),
            "nth": data[:line].count(data[line:until]),
        }
        if broken not in breaks:
            breaks.append(broken)
    return breaks


def nearest(file: str) -> list[str]:
    """Return the tests beside a file: of its folder, and those that name its module."""
    path = Path(file)
    folder = ROOT / "tests" / path.parent
    while not folder.is_dir():
        folder = folder.parent
    beside = [folder] if folder != ROOT / "tests" else []
    module = str(path.with_suffix("")).replace("/", ".")
    name = path.stem if path.suffix == ".sql" else module
    naming = [
        one
        for one in sorted((ROOT / "tests").rglob("test_*.py"))
        if name in one.read_text() and folder not in one.parents
    ]
    return [str(one.relative_to(ROOT)) for one in beside + naming]


def failed(tests: list[str], leaving_out: list[str]) -> str:
    """Run tests until one fails; return its name, or nothing."""
    ignored = [f"--ignore={one}" for one in leaving_out]
    words = "-x -q -n 2 --dist loadfile --no-loadscope-reorder -p no:cacheprovider"
    command = [sys.executable, "-m", "pytest", "-m", "not long and not installs"]
    command += words.split() + ignored + tests
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            check=False,
            text=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return "(does not end)"
    # Nothing was collected: status 5.
    if done.returncode in (0, 5):
        return ""
    named = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
    return named[1] if named else done.stdout[-300:]


def play(file: Path, first: int) -> None:
    """Break the product in each place, and say which test sees it after how long."""
    unseen = []
    for number, one in enumerate(json.loads(file.read_text()), 1):
        if number < first:
            continue
        path = ROOT / one["file"]
        place = f"{number:2} {one['file']} ({one['kind']}): {one['after'].strip()}"
        original = path.read_text() if path.exists() else ""
        parts = original.split(one["before"])
        if len(parts) < 2:
            print(f"{place}\n   gone", flush=True)
            continue
        at = min(one["nth"], len(parts) - 2)
        left = one["before"].join(parts[: at + 1])
        right = one["before"].join(parts[at + 1 :])
        began = time.monotonic()
        try:
            path.write_text(left + one["after"] + right)
            beside = nearest(one["file"])
            seen = failed(beside, []) if beside else ""
            where = "nearest"
            if not seen:
                seen = failed(["tests"], beside)
                where = "rest"
        finally:
            path.write_text(original)
        took = time.monotonic() - began
        if not seen:
            unseen.append(place)
            where = "UNSEEN"
        print(f"{place}\n   {where} {seen} {took:.0f} s", flush=True)
    print(f"\nunseen: {len(unseen)}", *unseen, sep="\n")


def main() -> None:
    """Draw breaks, or play them."""
    parser = argparse.ArgumentParser(prog="benchmarks.mutations")
    actions = parser.add_subparsers(dest="action", required=True)
    drawing = actions.add_parser("draw")
    drawing.add_argument("count", type=int)
    drawing.add_argument("--seed", type=int, default=1)
    playing = actions.add_parser("play")
    playing.add_argument("file", type=Path)
    playing.add_argument("--first", type=int, default=1)
    asked = parser.parse_args()
    if asked.action == "draw":
        print(json.dumps(draw(asked.count, asked.seed), indent=1))
    else:
        play(asked.file, asked.first)


if __name__ == "__main__":
    main()
