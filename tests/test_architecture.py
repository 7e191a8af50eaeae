"""
The architecture, specified: imports go down, the core is pure, no statement is spare.
"""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path

import pytest

from propensity import statements

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "propensity"
MODULES = sorted(PACKAGE.rglob("*.py"))

# The floors of the house, by room or module: an import goes down only, or stays in its
# room. Rooms on one floor do not know each other.
FLOORS = (
    {
        "addresses",
        "clock",
        "concurrency",
        "entries",
        "errors",
        "folders",
        "ids",
        "schema",
        "spreadsheet",
        "statements",
        "suggestions",
        "texts",
        "timeframe",
        "watching",
    },
    {"settings", "models", "pages", "tables"},
    {"drift", "measures", "usecases"},
    {"gcp"},
    {"ga4", "suppression"},
    {"events"},
    {"registry"},
    {"learning", "online", "stream"},
    {"audience", "first_look", "fraud"},
    {"runs"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# These rooms stand around the package, the top first.
HOUSE_FLOORS = ("benchmarks", "commands", "local", "offline", "deploy")
HOUSE = [
    path
    for folder in (*HOUSE_FLOORS, "propensity")
    for path in sorted((ROOT / folder).rglob("*.py"))
]

# Only gcp reaches Google, and audience the receivers of users; what answers requests
# knows its web framework.
ANSWERING = {"gcp", "online", "runs", "stream"}
FRAMEWORKS = {"flask", "functions_framework", "starlette"}
RECEIVERS = {"requests", "urllib3"}
CLIENTS = {"google", "grpc", "httpx", "socket", "subprocess"}
# These calls read the time of day, and do not measure how long something takes.
CLOCK = re.compile(
    r"\b(datetime|date)\.(now|today|utcnow)\b"
    r"|\btime\.(time|time_ns|localtime|gmtime|monotonic|sleep)\b"
)
ENVIRONMENT = re.compile(r"\bos\.(environ|getenv|putenv)\b")


def room_of(path: Path) -> str:
    """A module's room: its folder, or itself on the ground floor."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def name_of(path: Path) -> str:
    """A module's full name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def known(parts: list[str], names: Collection[str]) -> str:
    """The module that an import is of; empty where it is not the project's."""
    whole = ".".join(parts)
    outer = ".".join(parts[:-1])
    return whole if whole in names else outer if outer in names else ""


@cache
def imported(path: Path) -> list[list[str]]:
    """The parts of the full names of what a module imports, types as well."""
    names = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name.split(".") for name in names]


def imports(path: Path) -> set[str]:
    return {first for first, *_ in imported(path)}


@cache
def code(path: Path) -> str:
    """A module's source without comments and docstrings."""
    module = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(module):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            body[0] = ast.Pass()
    return ast.unparse(module)


STARTING_COMMANDS = ("__main__", "operate")


class TestImports:
    def test_imports_of_the_package_go_down(self):
        """A room imports from the floors below it, or from itself."""
        upward = [
            (room_of(path), names[1])
            for path in MODULES
            if path.parent != PACKAGE
            for names in imported(path)
            if names[0] == "propensity" and names[1] != room_of(path)
            if FLOOR[names[1]] >= FLOOR[room_of(path)]
        ]

        assert upward == []

    @pytest.mark.parametrize("folder", HOUSE_FLOORS)
    def test_imports_of_what_stands_around_it_go_down(self, folder):
        """Nothing knows who starts it."""
        above = {*HOUSE_FLOORS[: HOUSE_FLOORS.index(folder)], "tests"}
        modules = sorted((ROOT / folder).rglob("*.py"))

        assert modules
        assert [path for path in modules if imports(path) & above] == []

    def test_no_module_is_imported_in_a_circle(self):
        """A module can be read, and tested, before those that import it. An import for
        types alone counts."""
        places = {name_of(path): path for path in HOUSE}
        edges = {
            name: {known(parts, places) for parts in imported(path)} - {name, ""}
            for name, path in places.items()
        }

        graphlib.TopologicalSorter(edges).prepare()

    def test_imports_between_rooms_are_the_arrows_of_the_picture(self):
        """In docs/architecture.md, and what follows from them."""
        page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
        drawn: dict[str, set[str]] = {}
        for room, others in re.findall(r"^  (\w+) --> (.+)$", page, re.MULTILINE):
            drawn[room] = {*others.split(" & ")}
        rooms = {*drawn, *(other for others in drawn.values() for other in others)}
        imported_by: dict[str, set[str]] = {room: set() for room in rooms}
        for path in MODULES:
            if room_of(path) in rooms:
                own = {n[1] for n in imported(path) if n[0] == "propensity"}
                imported_by[room_of(path)] |= own & rooms - {room_of(path)}
        order = graphlib.TopologicalSorter(drawn).static_order()
        followed: dict[str, set[str]] = {}
        for room in order:
            direct = drawn.get(room, set())
            followed[room] = direct.union(*(followed[other] for other in direct))

        assert {room: imported_by[room] - followed[room] for room in rooms} == {
            room: set() for room in rooms
        }
        assert all(drawn[room] <= imported_by[room] for room in drawn)

    def test_imports_do_not_know_that_they_are_local(self):
        """No function and no module of the package asks where it runs. The dashboard
        is deployed with the function that writes it."""
        deployed = [*MODULES, *ROOT.glob("0*/*.py")]
        # These two start the commands: one is not deployed, the other is no function.
        deployed = [path for path in deployed if path.stem not in STARTING_COMMANDS]
        local = {*HOUSE_FLOORS, "tests", "click"}

        for path in deployed:
            rooms = [names[:2] for names in imported(path)]
            others = {names[0] for names in rooms if names != ["offline", "dashboard"]}
            assert not others & local, path

    def test_imports_of_clients_are_in_gcp(self):
        """What answers requests knows its web framework, and nothing else any."""
        for path in MODULES:
            room = room_of(path)
            assert room == "gcp" or not imports(path) & CLIENTS, path
            assert room in {"audience", "gcp"} or not imports(path) & RECEIVERS, path
            assert room in ANSWERING or not imports(path) & FRAMEWORKS, path


def test_each_package_lists_its_modules():
    """Whoever opens a folder reads in its ``__init__.py`` what is in there."""
    missing = []
    for path in MODULES:
        package = path.with_name("__init__.py")
        module = "" if path == package else path.stem
        is_listed = f"``{module}``" in package.read_text("utf-8")
        if module not in ("", "__main__") and not is_listed:
            missing.append(name_of(path))

    assert missing == []


@pytest.mark.parametrize(
    ("reading", "rooms"),
    # Time is an argument, or comes from the clock that an entry point gives.
    [(CLOCK, {"clock"}), (ENVIRONMENT, {"folders", "gcp", "settings"})],
    ids=["clock", "environment"],
)
def test_the_core_reads_neither_clock_nor_environment(reading, rooms):
    assert {room_of(path) for path in MODULES if reading.search(code(path))} <= rooms


def is_crowded(node: ast.AST) -> bool:
    """Return whether values that have nothing to do with each other are assigned in one
    line, a star joins lists, or ``or`` gives a default value."""
    match node:
        case ast.Assign(targets=[ast.Tuple()], value=ast.Tuple()):
            return True
        case ast.List(elts=parts) | ast.Set(elts=parts) | ast.Tuple(elts=parts):
            is_read = not isinstance(getattr(node, "ctx", None), ast.Store)
            return is_read and any(isinstance(part, ast.Starred) for part in parts)
        case ast.BoolOp(values=values):
            plain = ast.Constant | ast.List | ast.Tuple | ast.Dict | ast.JoinedStr
            return any(isinstance(value, plain) for value in values)
    return False


def test_a_line_of_code_has_one_idea():
    crowded = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in HOUSE
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if is_crowded(node)
    ]

    assert crowded == []


def test_every_statement_is_used():
    """No statement lies there that nothing runs or includes."""
    folders = ("propensity", "offline", "local")
    texts = [path for of in folders for path in (ROOT / of).rglob("*.sql")]
    written = {name for path in texts for name in statements.names(path.parent)}
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    programs = "".join([*map(code, files), *(one.read_text() for one in texts)])
    unused = {
        name
        for name in written
        if f"'{name}'" not in programs
        and f"'{name}.sql'" not in programs
        and f"include: {name}.sql" not in programs
    }

    assert unused == set()
