"""
The architecture, specified: pure core, thin edges, SQL in its files, nothing spare.

What is checked is read from the source: imports, calls and names.
"""

from __future__ import annotations

import ast
import re

import pytest

from tests.sources import (
    FUNCTIONS,
    MODULES,
    PACKAGE,
    ROOT,
    STATEMENTS,
    code,
    each,
    imports,
    named,
    nodes,
    pins,
    programs,
    room_of,
    rooms_imported,
    runs_without,
    strings,
    tree,
)

# The floors of the house, by room or module: an import goes down only, or stays in its
# room. Rooms on one floor do not know each other.
FLOORS = (
    {
        "budget",
        "clock",
        "errors",
        "ids",
        "numbers",
        "schema",
        "statements",
        "timeframe",
    },
    {"index", "settings", "models", "pages", "tables", "waiting"},
    {"freshness", "graphs", "topics", "usecases"},
    {"edges"},
    {"privacy"},
    {"events"},
    {"registry"},
    {"learning", "online", "stream"},
    {"drift"},
    {"runs"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# What stands around the package, the top first.
HOUSE_FLOORS = ("benchmarks", "commands", "local", "offline", "deploy")
# Starts the one command where there is one, and is not deployed.
STARTS_COMMANDS = "__main__"
# Old names that pickles of models have; they lead to their rooms.
ALIASES = {"anomaly", "half_space_trees", "scoring"}

# Only the edges reach a service; what answers requests knows its web framework.
EDGES = {"edges"}
ANSWERING = {"online", "runs", "stream"}
SETTINGS = "settings"
TIME = "clock"

FRAMEWORKS = {"flask", "functions_framework", "starlette"}
CLIENTS = FRAMEWORKS | {
    "google", "grpc", "httpx", "requests", "smtplib", "socket", "sqlite3", "subprocess",
    "urllib3",
}  # fmt: skip
# What reads the time of day. Measuring how long something took is not among it.
CLOCK = re.compile(
    r"\b(datetime|date)\.(now|today|utcnow)\b"
    r"|\btime\.(time|time_ns|localtime|gmtime|monotonic|sleep)\b"
)
# What starts threads. Locks and events start none.
THREADS = re.compile(r"\b(ThreadPoolExecutor|ProcessPoolExecutor|Thread|Timer)\(")
ENVIRONMENT = re.compile(r"\bos\.(environ|getenv|putenv)\b")
FILES = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "fromfile"}
SQL = re.compile(
    r"\b(SELECT\s.+\sFROM|INSERT\s+INTO|DELETE\s+FROM|MERGE\s+INTO|UPDATE\s.+\sSET|"
    r"CREATE\s+(OR\s+REPLACE\s+)?(TABLE|VIEW|SCHEMA)|DROP\s+(TABLE|VIEW)|WITH\s+\w+\s+AS)\b",
    re.DOTALL,
)
VAGUE = {"utils", "util", "common", "helpers", "helper", "base", "misc", "manager"}

HOUSE = [path for path in MODULES if path.parent != PACKAGE or path.stem not in ALIASES]
OUTSIDE = EDGES | ANSWERING | {SETTINGS}
CORE = [path for path in HOUSE if room_of(path) not in {*OUTSIDE, STARTS_COMMANDS}]


class TestFloors:
    @each([path for path in HOUSE if path.parent != PACKAGE])
    def test_imports_go_down(self, path):
        """A room imports from the floors below it, or from itself."""
        room = room_of(path)
        others = rooms_imported(path) - {room}

        assert {other for other in others if FLOOR[other] >= FLOOR[room]} == set()

    def test_every_module_has_a_floor(self):
        """Nothing of the package stands outside the house."""
        rooms = {room_of(path) for path in HOUSE} - {"__init__", STARTS_COMMANDS}

        assert rooms == {*FLOOR}

    @each([path for path in HOUSE if room_of(path) not in EDGES])
    def test_only_edges_reach_a_service(self, path):
        """Clients are imported in one room; what answers knows its web framework."""
        allowed = FRAMEWORKS if room_of(path) in ANSWERING else set()

        assert imports(path) & CLIENTS <= allowed

    @each(
        [
            *PACKAGE.glob("*/__init__.py"),
            *(ROOT / "commands").glob("__init__.py"),
            *(ROOT / "offline").rglob("__init__.py"),
        ]
    )
    def test_each_room_has_a_map(self, room):
        """A room opens with a docstring that names each of its modules, and imports
        nothing: whoever needs one module does not start with all. The list of tables
        and the reader of use cases are rooms that have one way in."""
        if room.parent in {PACKAGE / "tables", PACKAGE / "usecases"}:
            return
        text = ast.get_docstring(tree(room)) or ""
        modules = {path.stem for path in room.parent.glob("*.py")} - {"__init__"}

        assert {name for name in modules if f"``{name}``" not in text} == set()
        assert imports(room) == set()

    @pytest.mark.parametrize("name", sorted(ALIASES))
    def test_old_names_are_for_pickles_alone(self, name):
        """A module of an old name only names classes, and nothing imports it."""
        module = tree(PACKAGE / f"{name}.py")
        importing = {named(path) for path in HOUSE if name in rooms_imported(path)}

        assert not [node for node in module.body if isinstance(node, ast.ClassDef)]
        assert importing == set()


class TestHouse:
    """The folders around the package: the one on top starts what is below it."""

    @pytest.mark.parametrize("folder", HOUSE_FLOORS)
    def test_imports_go_down(self, folder):
        """Nothing knows who starts it: local mode and the programs of ``offline/`` do
        not import each other both ways, and no one but ``commands`` needs click."""
        above = {*HOUSE_FLOORS[: HOUSE_FLOORS.index(folder)], "tests"}
        modules = sorted((ROOT / folder).rglob("*.py"))
        upward = {
            named(path): names for path in modules if (names := imports(path) & above)
        }

        assert modules
        assert upward == {}

    @each(
        [
            path
            for folder in ("propensity", *HOUSE_FLOORS[2:])
            for path in sorted((ROOT / folder).rglob("*.py"))
        ]
    )
    def test_one_room_reads_command_lines_by_click(self, path):
        """The functions stay without it, and so does what they are deployed by."""
        assert "click" not in imports(path)


class TestPureCore:
    @each([path for path in HOUSE if room_of(path) != TIME])
    def test_reads_no_clock(self, path):
        """Time is an argument, or comes from the clock that an entry point gives."""
        assert CLOCK.findall(code(path)) == []

    @each([path for path in HOUSE if named(path) != "propensity/waiting/threads.py"])
    def test_starts_no_thread(self, path):
        """Threads are arguments, too: an entry point gives what starts them."""
        assert THREADS.findall(code(path)) == []

    @each([path for path in MODULES if path.stem != SETTINGS])
    def test_reads_no_environment(self, path):
        """The settings are the only reader of the environment, edges included."""
        assert not ENVIRONMENT.search(code(path))

    @each(CORE)
    def test_opens_no_file_but_the_package_s_own(self, path):
        """What is read lies in the package, and is reached as its resource."""
        calls = {
            node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            for node in nodes(path)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute | ast.Name)
        }

        assert "pathlib" not in imports(path)
        assert not calls & FILES or "importlib" in imports(path)

    @each(CORE)
    def test_logs_nothing(self, path):
        """Pure modules return what is worth saying; one line a run is the edge's."""
        assert "logging" not in imports(path)
        assert not re.search(r"(?<![\w.])print\(", code(path))

    def test_catches_everything_in_an_edge_only(self):
        """``except Exception`` hides mistakes; an edge may, to answer the caller."""
        rooms = {
            room_of(path)
            for path in MODULES
            for node in nodes(path)
            if isinstance(node, ast.ExceptHandler)
            and (node.type is None or ast.unparse(node.type) == "Exception")
        }

        assert rooms <= EDGES | ANSWERING | {"registry"}


class TestSql:
    @each([*MODULES, *(folder / "main.py" for folder in FUNCTIONS)])
    def test_is_in_files_of_its_own(self, path):
        """No SQL in Python. The one exception is what creates and widens tables, which
        ``schema.py`` writes from the columns of a table."""
        texts = [text for text in strings(path) if SQL.search(text)]

        assert path.stem == "schema" or texts == []

    @each(STATEMENTS)
    def test_begins_with_what_a_row_is(self, path):
        """A query says in its first comment what one row is; a statement that writes
        says what it does. Both name their parameters."""
        text = path.read_text("utf-8")
        opening = re.match(r"(--[^\n]*\n)+", text)
        body = re.sub(r"--[^\n]*", "", text)

        assert opening is not None
        if re.match(r"\s*(SELECT|WITH)\b", body):
            assert re.search(r"\bone row\b", opening[0], re.IGNORECASE)
        assert "Parameters:" in opening[0] or "@" not in body

    @each(STATEMENTS)
    def test_names_tables_without_project_or_dataset(self, path):
        """Where tables lie is the deployment's choice. A view has no default dataset:
        its tables are marked, and set-up puts their place before them."""
        views = {
            "ga_events": {"`events_*`", "`INFORMATION_SCHEMA.TABLES`"},
            "stream_features": {
                *("`stream_events`", "`stream_features_daily`", "`stream_users`")
            },
            # Of a part for each value that a use case names: its list, name and column.
            # Names that BigQuery takes no parameter for.
            **dict.fromkeys(
                ("graph_number", "graph_flag", "graph_category"), {"`feature`"}
            ),
            "import_model": {"`model`", "`uri`"},
            "score_by_model": {"`model`", "`inputs`", "`features`"},
            "score_table": {"`model`", "`inputs`", "`source`"},
            "score_table_by_function": {"`function`", "`values`", "`source`"},
            "create_scoring_function": {
                *("`function`", "`arguments`", "`packages`", "`features`"),
                *("`connection`", "`bucket`", "`bundle`", "`sha256`"),
            },
            **dict.fromkeys(
                (
                    f"export_{kind}"
                    for kind in ("string", "int64", "numeric", "float64")
                ),
                {"`record`", "`key`", "`column`"},
            ),
        }
        body = re.sub(r"--[^\n]*", "", path.read_text("utf-8"))

        assert {*re.findall(r"`[^`]+`", body)} == views.get(path.stem, set())

    @each(STATEMENTS)
    def test_is_used(self, path):
        """No statement lies there that nothing runs or includes."""
        ways = (f"'{path.stem}'", f"include: {path.stem}.sql")

        assert any(way in programs() for way in ways), "it is used by nothing"


class TestFunctions:
    @pytest.mark.parametrize("folder", FUNCTIONS, ids=named)
    def test_are_short(self, folder):
        """An entry point is read at a glance: 60 lines at most."""
        lines = (folder / "main.py").read_text("utf-8").splitlines()

        assert len(lines) <= 60

    @pytest.mark.parametrize("folder", FUNCTIONS, ids=named)
    def test_say_what_they_are(self, folder):
        """The docstring has request, what is read and written, and the answers."""
        docstring = ast.get_docstring(tree(folder / "main.py"))

        for word in ("Request", "Reads", "Writes", "Answers"):
            assert re.search(rf"^{word}\s", docstring or "", re.MULTILINE)

    @pytest.mark.parametrize("folder", FUNCTIONS, ids=named)
    def test_do_not_know_that_they_are_local(self, folder):
        """No branch in a function or the package asks where it runs."""
        for path in [folder / "main.py", *MODULES]:
            if path.stem != STARTS_COMMANDS:
                assert not imports(path) & {*HOUSE_FLOORS, "tests"}

    @pytest.mark.parametrize("folder", FUNCTIONS, ids=named)
    def test_pin_what_they_need(self, folder):
        """Requirements are pinned, and the same as in development: what was tested is
        what is deployed."""
        development = pins(ROOT / "requirements.txt")
        files = sorted(folder.glob("requirements*.txt"))
        needed = {name: pin for file in files for name, pin in pins(file).items()}

        assert needed
        differing = {
            name: (version, development.get(name))
            for name, version in needed.items()
            if development.get(name, version) != version
        }
        assert differing == {}

    @pytest.mark.parametrize(
        ("name", "heavy"),
        [
            (
                "02-GetProba",
                ("pandas", "sklearn", "pyarrow", "numpy", "scipy", "joblib"),
            ),
            ("03-ModelEvaluation", ("pandas", "sklearn", "scipy", "joblib")),
        ],
    )
    def test_start_without_what_they_do_not_need(self, name, heavy):
        """They load where none of it is installed, and their requirements install none:
        the BigQuery client imports what it finds, and the cold start of a lookup would
        double."""
        loaded = runs_without(ROOT / name, *heavy)

        assert loaded.returncode == 0, loaded.stderr
        installed = set(pins(ROOT / name / "requirements.txt"))
        assert not installed & {*heavy, "scikit-learn"}


class TestModules:
    @each(
        [
            path
            for folder in ("propensity", "docs", "tests", *HOUSE_FLOORS)
            for path in sorted((ROOT / folder).rglob("*.py"))
        ]
    )
    def test_are_read_in_one_sitting(self, path):
        """A module has at most 450 lines, and so has a file of tests."""
        assert len(path.read_text("utf-8").splitlines()) <= 450

    @each(MODULES)
    def test_hide_something(self, path):
        """No room for odds and ends: no utils, common, helpers or base."""
        assert path.stem not in VAGUE
        assert not {part.lower() for part in path.relative_to(ROOT).parts} & VAGUE

    @each(MODULES)
    def test_open_with_what_they_are(self, path):
        """Each module has a docstring."""
        assert ast.get_docstring(tree(path))

    @each(MODULES)
    def test_name_what_they_do(self, path):
        """Functions are verbs or nouns that mean something."""
        vague = re.compile(r"_*(get|process|handle|do)_")
        names = [
            node.name
            for node in nodes(path)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and vague.match(node.name)
            and node.name != "get_proba"
        ]

        assert names == []

    @each(MODULES)
    def test_leave_nothing_for_later(self, path):
        """No TODO, no stub."""
        text = path.read_text("utf-8")

        assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError", text)
