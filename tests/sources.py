"""The project's source as its tests read it: modules, their imports and code."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "propensity"
FUNCTIONS = sorted(path for path in ROOT.glob("0*") if (path / "main.py").is_file())
MODULES = sorted(PACKAGE.rglob("*.py"))
STATEMENTS = sorted(PACKAGE.rglob("*.sql"))


def named(path: Path) -> str:
    """Return a path as a failure names it."""
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    """Return a module's room: its folder, or itself on the ground floor."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return all nodes of a module's syntax tree."""
    return tuple(ast.walk(ast.parse(path.read_text("utf-8"))))


@cache
def imported(path: Path) -> set[str]:
    """Return the full names of what a module imports, types as well."""
    names = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imports(path: Path) -> set[str]:
    """Return the top-level names of what a module imports."""
    return {name.split(".")[0] for name in imported(path)}


def rooms_imported(path: Path) -> set[str]:
    """Return the rooms, or ground floor modules, that a module imports."""
    parts = [name.split(".") for name in imported(path)]
    return {name[1] for name in parts if name[0] == "propensity" and len(name) > 1}


@cache
def code(path: Path) -> str:
    """Return a module's source without comments and docstrings."""
    module = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(module):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            body[0] = ast.Pass()
    return ast.unparse(module)
