"""
The architecture, specified: imports go down, the core is pure, no statement is spare.

What is checked is read from the source: imports and calls.
"""

from __future__ import annotations

import re

import pytest

from tests.sources import (
    FUNCTIONS,
    MODULES,
    PACKAGE,
    ROOT,
    STATEMENTS,
    code,
    imports,
    named,
    room_of,
    rooms_imported,
)

# The floors of the house, by room or module: an import goes down only, or stays in its
# room. Rooms on one floor do not know each other.
FLOORS = (
    {
        *("budget", "clock", "concurrency", "errors", "ids"),
        *("schema", "statements", "timeframe"),
    },
    {"settings", "models", "pages", "tables"},
    {"drift", "freshness", "topics", "usecases"},
    {"gcp"},
    {"privacy"},
    {"events"},
    {"registry"},
    {"learning", "online", "stream"},
    {"runs"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# What stands around the package, the top first.
HOUSE_FLOORS = ("benchmarks", "commands", "local", "offline", "deploy")
# Starts the one command where there is one, and is not deployed.
STARTS_COMMANDS = "__main__"

# Only gcp reaches a service; what answers requests knows its web framework.
ANSWERING = {"online", "runs", "stream"}
FRAMEWORKS = {"flask", "functions_framework", "starlette"}
CLIENTS = {
    *FRAMEWORKS,
    *("google", "grpc", "httpx", "requests", "socket", "subprocess"),
    "urllib3",
}
# What reads the time of day. Measuring how long something took is not among it.
CLOCK = re.compile(
    r"\b(datetime|date)\.(now|today|utcnow)\b"
    r"|\btime\.(time|time_ns|localtime|gmtime|monotonic|sleep)\b"
)
ENVIRONMENT = re.compile(r"\bos\.(environ|getenv|putenv)\b")


class TestImports:
    def test_of_the_package_go_down(self):
        """A room imports from the floors below it, or from itself."""
        upward = {
            named(path): others
            for path in MODULES
            if path.parent != PACKAGE
            if (
                others := {
                    other
                    for other in rooms_imported(path) - {room_of(path)}
                    if FLOOR[other] >= FLOOR[room_of(path)]
                }
            )
        }

        assert upward == {}

    @pytest.mark.parametrize("folder", HOUSE_FLOORS)
    def test_of_what_stands_around_it_go_down(self, folder):
        """Nothing knows who starts it."""
        above = {*HOUSE_FLOORS[: HOUSE_FLOORS.index(folder)], "tests"}
        modules = sorted((ROOT / folder).rglob("*.py"))

        assert modules
        assert {named(path) for path in modules if imports(path) & above} == set()

    def test_do_not_know_that_they_are_local(self):
        """No function and no module of the package asks where it runs."""
        deployed = [path for path in MODULES if path.stem != STARTS_COMMANDS]
        deployed += [file for folder in FUNCTIONS for file in folder.glob("*.py")]
        local = {*HOUSE_FLOORS, "tests", "click"}

        assert {named(path) for path in deployed if imports(path) & local} == set()

    def test_of_clients_are_in_the_edges(self):
        """What answers requests knows its web framework, and nothing else any."""
        reaching = {
            named(path)
            for path in MODULES
            if room_of(path) != "gcp"
            if imports(path) & (CLIENTS - FRAMEWORKS)
            or (imports(path) & FRAMEWORKS and room_of(path) not in ANSWERING)
        }

        assert reaching == set()


class TestCore:
    def test_reads_no_clock(self):
        """Time is an argument, or comes from the clock that an entry point gives."""
        reading = [path for path in MODULES if CLOCK.search(code(path))]

        assert {room_of(path) for path in reading} <= {"clock"}

    def test_reads_no_environment(self):
        """The settings do; an edge may say how the server that it starts is set up."""
        reading = [path for path in MODULES if ENVIRONMENT.search(code(path))]

        assert {room_of(path) for path in reading} <= {"gcp", "settings"}


def test_every_statement_is_used():
    """No statement lies there that nothing runs or includes."""
    folders = ("propensity", "offline", "local")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    programs = "".join(
        [*map(code, files), *(path.read_text("utf-8") for path in STATEMENTS)]
    )
    unused = {
        path.stem
        for path in STATEMENTS
        if f"'{path.stem}'" not in programs
        and f"include: {path.stem}.sql" not in programs
    }

    assert unused == set()
