"""The project's source as its tests read it: modules, their imports, names and code."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, cast

from tests.programs import execute

Check = Callable[[Any, Path], None]
ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "propensity"
FUNCTIONS = sorted(path for path in ROOT.glob("0*") if (path / "main.py").is_file())
MODULES = sorted(PACKAGE.rglob("*.py"))
STATEMENTS = sorted(PACKAGE.rglob("*.sql"))


def named(path: Path) -> str:
    """A path as a test's name."""
    return path.relative_to(ROOT).as_posix()


def each(paths: Iterable[Path]) -> Callable[[Check], Callable[[Any], None]]:
    """Have a test look at every path, and name each that it fails at."""

    def decorate(check: Check) -> Callable[[Any], None]:
        def test(self: Any) -> None:
            failed = {}
            for path in paths:
                try:
                    check(self, path)
                except AssertionError as error:
                    failed[named(path)] = str(error)
            assert not failed, "\n".join(
                f"{name}: {why}" for name, why in failed.items()
            )

        test.__doc__ = check.__doc__
        return test

    return decorate


def room_of(path: Path) -> str:
    """The room of a module: its folder's name, or its own on the ground floor."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@cache
def tree(path: Path) -> ast.Module:
    """A module's syntax tree, which no test changes."""
    return ast.parse(path.read_text("utf-8"))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a module's tree: many tests look at them."""
    return tuple(ast.walk(tree(path)))


@cache
def imports(path: Path) -> set[str]:
    """The top-level names of what a module imports when it runs."""
    # What only a type checker reads is not run.
    unread = {
        inner
        for node in nodes(path)
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names = set()
    for node in nodes(path):
        if isinstance(node, ast.Import) and node not in unread:
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node not in unread:
            names.add(node.module.split(".")[0])
    return names


def docstring(node: ast.AST) -> ast.Constant | None:
    """The text that a module, class or function opens with."""
    body = getattr(node, "body", None)
    if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
        value = body[0].value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value
    return None


@cache
def code(path: Path) -> str:
    """A module's source without comments and docstrings."""
    module = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(module):
        if docstring(node):
            cast(ast.FunctionDef, node).body[0] = ast.Pass()
    return ast.unparse(module)


def strings(path: Path) -> list[str]:
    """The texts in a module's code, and those put together by f"" as a whole."""
    docstrings = {docstring(node) for node in nodes(path)}
    texts = [
        node.value
        for node in nodes(path)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node not in docstrings
    ]
    texts += [
        ast.unparse(node) for node in nodes(path) if isinstance(node, ast.JoinedStr)
    ]
    return texts


@cache
def programs() -> str:
    """All code that runs statements, and all statements, as one text."""
    files = [*MODULES, *ROOT.glob("offline/**/*.py"), *ROOT.glob("local/**/*.py")]
    texts = [code(path) for path in files]
    return "".join(texts + [path.read_text("utf-8") for path in STATEMENTS])


def pins(path: Path) -> dict[str, str]:
    """The requirements of a file: version by name, each pinned by ``==``."""
    versions = {}
    for line in path.read_text("utf-8").splitlines():
        requirement = line.partition("#")[0].strip()
        if requirement:
            name, is_pinned, version = requirement.partition("==")
            assert is_pinned, f"{requirement} in {named(path)} is not pinned"
            versions[name.strip().lower().replace("_", "-")] = version.strip()
    return versions


def runs_without(folder: Path, *absent: str) -> subprocess.CompletedProcess[str]:
    """Load a function in a fresh interpreter that has not got some libraries."""
    load = (
        "import runpy, sys; "
        f"sys.modules.update(dict.fromkeys({absent!r})); "
        f"runpy.run_path({str(folder / 'main.py')!r})"
    )
    return execute([sys.executable, "-W", "ignore", "-c", load], status=None)


@cache
def rooms_imported(path: Path) -> set[str]:
    """The rooms, or ground floor modules, that a module imports; types as well."""
    rooms = set()
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.module == "propensity":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            rooms |= {parts[1]} if parts[0] == "propensity" else set()
        elif isinstance(node, ast.Import):
            parts_of = [alias.name.split(".") for alias in node.names]
            rooms |= {parts[1] for parts in parts_of if parts[0] == "propensity"}
    return rooms
