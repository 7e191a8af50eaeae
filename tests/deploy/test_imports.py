"""
What functions import, specified: all of it is in their locks.

Whatever a module imports at its top is imported when a function starts, through any
other module; an import within a function waits until that function is called. A package
that a lock lacks ends the container, or the call.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from deploy import stage
from deploy.functions import ROOT
from local import venvs
from local.stack.state import FUNCTIONS
from tests.support import shared

# By target: a folder, the file that is started, and the requirements.
DOORS = {one.target: (one.folder, "main", one.requirements) for one in FUNCTIONS}
DOORS["operate"] = ("00-ModelTraining", "operate", "requirements.txt")
DOORS["job"] = ("00-ModelTraining", "job", "requirements.txt")

# What some of them never come to: a function, or all those of a module. A lock need not
# have what is imported there.
EVALUATES = {"model_evaluation", "audiences", "overview"}
NEVER = {
    # These store no model, and read cards of versions alone.
    "propensity.registry.versions.pickled": EVALUATES | {"compact_features"},
    "propensity.registry.versions.unpickled": EVALUATES | {"compact_features"},
    # Models alone take frames, and only the gate of a training compares versions.
    "propensity.models.encoding.to_frame": {"model_evaluation"},
    "propensity.measures.metric_intervals.difference": {"model_evaluation"},
    # Rows of a lookup are few, and come by HTTP; it asks about single users.
    "propensity.gcp.queries.open_reader": {"get_proba"},
    "propensity.gcp.queries.Queries._streamed": {"get_proba"},
    "propensity.suppression.Suppressed.without": {"get_proba"},
    # The operators' command alone prints a list.
    "propensity.spreadsheet.workbook_of": {
        "audiences",
        "overview",
    },
    # operate.py refuses these commands and --local, and no emulator is named there.
    "commands.machine": {"operate"},
    "commands.options.state": {"operate"},
    "commands.deployment.new": {"operate"},
}


@cache
def imports(file: Path, target: str) -> list[tuple[str, str, str]]:
    """Return what a module imports: the function that does, "" for its top; and ``a.b``
    and ``c`` of *from a.b import c*."""
    found: list[tuple[str, str, str]] = []

    def visit(nodes: Iterable[ast.AST], scope: str, function: str) -> None:
        for node in nodes:
            inner = [scope, function]
            match node:
                case ast.ClassDef(name=name):
                    inner = [f"{scope}{name}.", function]
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    inner = [f"{scope}{name}.", f"{scope}{name}"]
                case ast.Import(names=aliases):
                    found.extend((function, alias.name, "") for alias in aliases)
                case ast.ImportFrom(module=str(module), names=aliases):
                    found.extend((function, module, alias.name) for alias in aliases)
            visit(run_by(node, target), *inner)

    visit([ast.parse(file.read_text("utf-8"))], "", "")
    return found


def run_by(node: ast.AST, target: str) -> Iterable[ast.AST]:
    """Return what is within a node, but for what only type checkers or other functions
    of the folder run."""
    if not isinstance(node, ast.If):
        return ast.iter_child_nodes(node)
    condition = ast.unparse(node.test)
    if condition == f"target_here() == {target!r}":
        return node.body
    if condition.startswith(("TYPE_CHECKING", "target_here()")):
        return node.orelse
    return ast.iter_child_nodes(node)


def has(packages: Path, module: str, name: str) -> bool:
    """Return whether an environment's packages have a module, or a name of it."""
    path = packages.joinpath(*module.split("."))
    if name and path.is_dir() and not (path / "__init__.py").exists():
        # Several distributions share it, such as google.cloud.
        return has(packages, f"{module}.{name}", "")
    files = [
        *path.parent.glob(f"{path.name}.py"),
        *path.parent.glob(f"{path.name}.*.so"),
    ]
    return path.is_dir() or bool(files)


class Door:
    """What is started, from its staged folder, in the environment of its lock."""

    def __init__(self, target: str) -> None:
        folder, self.started, requirements = DOORS[target]
        self.target = target
        python = venvs.python_of(venvs.LOCKS / folder / requirements)
        [self.packages] = python.parents[1].glob("lib/python*/site-packages")

        def stage_it(into: Path) -> None:
            stage.stage(ROOT / folder, into / "staged", locked=True)

        self.staged = shared.once(f"staged-{folder}", stage_it) / "staged"
        self.unused = {place for place in NEVER if target in NEVER[place]}

    def file_of(self, module: str) -> Path | None:
        """Return the file of a staged module, or None."""
        path = self.staged.joinpath(*module.split("."))
        files = [path.with_suffix(".py"), path / "__init__.py"]
        return next((file for file in files if file.is_file()), None)

    def modules(self, module: str, name: str) -> list[str]:
        """Return the staged modules that an import runs, those around it first."""
        parts = [*module.split("."), name]
        names = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
        return [one for one in names if self.file_of(one)]

    def lacks(self) -> Iterator[str]:
        """Yield each import that would fail, with the way to it."""
        way = {self.started: self.started}
        todo = [self.started]
        while todo:
            here = todo.pop()
            for function, module, name in imports(self.file_of(here), self.target):
                if function and not self.comes_to(here, function):
                    continue
                ours = self.modules(module, name)
                for other in ours:
                    if other not in way:
                        way[other] = f"{way[here]} > {other}"
                        todo.append(other)
                top = module.partition(".")[0]
                is_there = module in ours or has(self.packages, module, name)
                if top not in sys.stdlib_module_names and not is_there:
                    place = function if function else "its top"
                    yield f"{way[here]}: {place} imports {module} {name}"

    def comes_to(self, module: str, function: str) -> bool:
        """Return whether it may call a function, and note what says that it never does:
        the function, its class or its module."""
        place = f"{module}.{function}"
        places = {module, place, place.rpartition(".")[0]} & NEVER.keys()
        never = {place for place in places if self.target in NEVER[place]}
        self.unused -= never
        return not never


@pytest.mark.parametrize("target", DOORS)
def test_a_lock_has_what_is_imported_at_the_start_and_later(target):
    """But for what ``NEVER`` names; and that is needed."""
    door = Door(target)

    assert [*door.lacks()] == []
    assert door.unused == set()
