"""The architecture, specified: imports go down, and the core is pure."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from deploy.stage import LAPTOP
from propensity.statements import FOLDERS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "propensity"
MODULES = sorted(PACKAGE.rglob("*.py"))
STATEMENTS = sorted(PACKAGE.rglob("*.sql"))

# The floors of the house, by room or module: an import goes down only, or stays in its
# room. Rooms on one floor do not know each other.
FLOORS = (
    {
        "budget",
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
        "timeframe",
        "watching",
        "whole_files",
    },
    {"settings", "models", "pages", "tables"},
    {"measures"},
    {"learning"},
    {"usecases"},
    {"gcp", "table_files"},
    {"ga4", "suppression"},
    {"registry"},
    {"online", "weeks"},
    {"audience"},
    {"runs"},
    {"cli", "dashboard", "streaming"},
    {"kinds"},
    {"trying"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# These rooms stand around the package, the top first.
HOUSE_FLOORS = ("benchmarks", "commands", "local", "offline", "deploy")

# These statements have the name of something else, too: a column, a view, a key.
HOMONYMS = {"export_day", "ga_events", "sampled_by", "scored"}

# What runs for users; ``score``, 04 and a training on events are the others.
ENTRIES_OF_USERS = (
    "00-ModelTraining/main.py",
    "01-Predictions/main.py",
    "02-GetProba/main.py",
    "03-ModelEvaluation/main.py",
    "05-Audiences/main.py",
    "05-Audiences/overview.py",
)

# Only gcp reaches Google, and audience the receivers of users; what answers requests
# knows its web framework.
ANSWERING = {"gcp", "online", "runs", "streaming"}
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


def at_start(path: Path) -> set[Path]:
    """The modules of the house that run when a module is imported, and itself."""
    reached = {path}
    todo = [path]
    while todo:
        here = todo.pop()
        for node in ast.parse(here.read_text("utf-8")).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                names.append(node.module)
            for name in names:
                for folder in (ROOT, here.parent):
                    module = folder.joinpath(*name.split(".")).with_suffix(".py")
                    package = module.with_suffix("") / "__init__.py"
                    for file in (module, package):
                        if file.is_file() and file not in reached:
                            reached.add(file)
                            todo.append(file)
    return reached


def named(path: Path) -> set[str]:
    """The texts of a module, or the statements that a statement includes."""
    text = path.read_text("utf-8")
    if path.suffix == ".sql":
        return set(re.findall(r"-- include: (\w+)\.sql", text))
    constants = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant)]
    return {each.value for each in constants if isinstance(each.value, str)}


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

    def test_a_statement_does_not_stand_above_who_reads_it(self):
        """What a folder of a use case has is a customer's, and may include any."""
        rooms = {}
        for folder in FOLDERS:
            for path in (PACKAGE / folder).glob("*.sql"):
                rooms[path.stem] = room_of(path)
        above = [
            (str(reader.relative_to(PACKAGE)), name)
            for reader in MODULES + STATEMENTS
            for name in named(reader) & rooms.keys() - HOMONYMS
            if rooms[name] != room_of(reader)
            if FLOOR.get(room_of(reader), 0) <= FLOOR[rooms[name]]
            if not (room_of(reader) == "usecases" and reader.parent.parent != PACKAGE)
        ]

        assert above == []

    @pytest.mark.parametrize("folder", HOUSE_FLOORS)
    def test_imports_of_what_stands_around_it_go_down(self, folder):
        """Nothing knows who starts it."""
        above = {*HOUSE_FLOORS[: HOUSE_FLOORS.index(folder)], "tests"}
        modules = sorted((ROOT / folder).rglob("*.py"))

        assert modules
        assert [path for path in modules if imports(path) & above] == []

    def test_the_package_knows_no_other_folder_of_the_house(self):
        """So that it runs from a wheel, which has nothing else."""
        assert [path for path in MODULES if imports(path) & {*HOUSE_FLOORS}] == []

    def test_nothing_that_is_deployed_imports_what_a_laptop_runs(self):
        """Neither functions nor the operators' job; nor does a deploy itself."""
        folders = [*ROOT.glob("0*/"), *map(ROOT.joinpath, ("commands", "offline"))]
        deployed = [path for folder in folders for path in sorted(folder.glob("*.py"))]
        deployed += [path for path in MODULES if room_of(path) != "trying"]
        deployed += [
            *(ROOT / "offline").rglob("*.py"),
            *(ROOT / "deploy").rglob("*.py"),
        ]
        on_laptops = {ROOT / name for name in LAPTOP}
        reading = [
            path
            for path in deployed
            if path not in on_laptops
            if ["propensity", "trying"] in [names[:2] for names in imported(path)]
        ]

        assert len(deployed) > 200
        assert reading == []

    @pytest.mark.parametrize("entry", ENTRIES_OF_USERS)
    def test_users_runs_import_no_streaming_at_their_start(self, entry):
        """Who deploys a shop need not read what knows of single events."""
        reached = at_start(ROOT / entry)

        assert len(reached) > 10
        assert [path for path in reached if "streaming" in path.parts] == []

    def test_learning_knows_no_use_case_and_no_deployment(self):
        """A task and its limits are all that a training is told."""
        known = {
            names[1]
            for path in MODULES
            if room_of(path) == "learning"
            for names in imported(path)
            if names[0] == "propensity"
        }

        assert (
            known & {"usecases", "settings", "registry", "gcp", "statements"} == set()
        )

    def test_imports_of_clients_are_in_gcp(self):
        """What answers requests knows its web framework, and nothing else any."""
        for path in MODULES:
            room = room_of(path)
            assert room == "gcp" or not imports(path) & CLIENTS, path
            assert room in {"audience", "gcp"} or not imports(path) & RECEIVERS, path
            assert room in ANSWERING or not imports(path) & FRAMEWORKS, path


@pytest.mark.parametrize(
    ("reading", "rooms"),
    # Time is an argument, or comes from the clock that an entry point gives.
    [
        (CLOCK, {"clock", "cli"}),
        (ENVIRONMENT, {"cli", "folders", "gcp", "settings", "trying"}),
    ],
    ids=["clock", "environment"],
)
def test_the_core_reads_neither_clock_nor_environment(reading, rooms):
    assert {room_of(path) for path in MODULES if reading.search(code(path))} <= rooms


def test_each_package_lists_its_modules():
    """As architecture.md says: so a reader finds a module by its package's page."""
    lacking = []
    for package in sorted((ROOT / "propensity").rglob("__init__.py")):
        listed = set(re.findall(r"``(\w+)``", package.read_text("utf-8")))
        for module in sorted(package.parent.glob("*.py")):
            if not module.stem.startswith("__") and module.stem not in listed:
                lacking.append(str(module.relative_to(ROOT)))

    assert lacking == []


@pytest.mark.parametrize("room", sorted(PACKAGE.glob("*/__init__.py")))
def test_each_room_says_where_its_tests_are(room):
    """And what it may import, in words; the floors above are the rule."""
    page = room.read_text("utf-8").partition("from __future__")[0]
    places = re.findall(r"``(tests/[\w/.]+)``", page)

    assert "It may import" in page
    assert places
    assert [place for place in places if not (ROOT / place).exists()] == []
