"""DuckDB below BigQuery: a database a project, and a connection a call."""

from __future__ import annotations

import contextlib
import importlib.resources
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
from google.api_core import exceptions as api

from local.ground.fields import answered, answers
from local.ground.functions import Untranslated
from local.ground.sql import define, quoted

SUFFIX = ".duckdb"
# Rows that are in memory at once, and that a small result has at most.
BATCH_ROWS = 10_000
# DuckDB's words for two who change a table at once.
CONFLICT = "Could not serialize access"
# DuckDB's word for the kind of an error.
PREFIX = re.compile("^[A-Za-z ]+ Error: ")
# What a statement names in vain.
UNKNOWN = ("not found in FROM clause", "does not have a column", "Could not find key")


class Database:
    """
    A DuckDB with a database for each project: a file in a folder, or in memory.

    Other programs may be killed while they use a folder; what was committed is there.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.root = duckdb.connect(config={"autoinstall_known_extensions": False})
        package = Path(str(importlib.resources.files("duckdb_extension_icu")))
        icu = package / f"extensions/v{duckdb.__version__}/icu.duckdb_extension"
        self.root.execute(f"LOAD '{icu}'")
        self.root.execute("SET GLOBAL TimeZone = 'UTC'")
        # DuckDB 1.5.5 loses a column of an inlined table expression that two others
        # read: "Failed to bind column reference".
        self.root.execute("SET GLOBAL disabled_optimizers = 'cte_inlining'")
        threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        self.root.execute(f"SET GLOBAL threads = {threads}")
        # No name of a table is that of a variable of Python's.
        self.root.execute("SET GLOBAL python_enable_replacements = false")
        define(self.root)
        self._spilled = itertools.count()
        if folder is None:
            self.root.execute("ATTACH ':memory:' AS gathered")
        else:
            self._keep_to(folder)

    def _keep_to(self, folder: Path) -> None:
        """Have nothing beyond a folder read or written, whatever a statement says."""
        scratch = folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        self.scratch = scratch
        self.root.execute(f"ATTACH '{scratch / 'gathered'}{SUFFIX}' AS gathered")
        self.root.execute("SET GLOBAL checkpoint_threshold = '64MB'")
        # What a statement needs beyond it lies in the folder; loaded days cannot.
        memory = os.environ.get("PROPENSITY_LOCAL_MEMORY", f"{_quarter()}B")
        self.root.execute(f"SET GLOBAL memory_limit = '{memory}'")
        self.root.execute(f"SET GLOBAL temp_directory = '{scratch / 'duckdb'}'")
        for file in sorted(folder.glob(f"*{SUFFIX}")):
            self.attach(file.name.removesuffix(SUFFIX))
        self.root.execute(f"SET GLOBAL allowed_directories = ['{folder}']")
        self.root.execute("SET GLOBAL enable_external_access = false")
        self.root.execute("SET GLOBAL lock_configuration = true")

    def attach(self, project: str) -> None:
        """Add the database of a project, which is made if it is missing."""
        source = ":memory:"
        if self.folder is not None:
            source = str(self.folder / f"{project}{SUFFIX}")
        self.root.execute(f"ATTACH IF NOT EXISTS '{source}' AS {quoted(project)}")

    @property
    def projects(self) -> list[str]:
        """The projects that have a database."""
        listed = self.root.cursor().execute(
            "SELECT database_name FROM duckdb_databases() WHERE NOT internal"
        )
        own = {"memory", "gathered"}
        return [name for (name,) in listed.fetchall() if name not in own]

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection, with temporary tables of its own, to be closed."""
        return self.root.cursor()

    def table(self, done: duckdb.DuckDBPyConnection) -> pa.Table:
        """
        Return the rows of a statement as BigQuery answers them.

        Where there is a folder, many rows are a file in it, which is mapped into memory
        and goes with the table.
        """
        reader = done.to_arrow_reader(BATCH_ROWS)
        schema = answered(reader.schema)
        batches = iter(answers(reader, schema))
        if self.folder is None:
            return pa.Table.from_batches(batches, schema)
        first = list(itertools.islice(batches, 2))
        if len(first) < 2:
            return pa.Table.from_batches(first, schema)
        file = self.scratch / f"rows-{next(self._spilled)}"
        try:
            with pa.ipc.new_file(str(file), schema) as writer:
                for batch in itertools.chain(first, batches):
                    writer.write_batch(batch)
            return pa.ipc.open_file(pa.memory_map(str(file))).read_all()
        finally:
            file.unlink()


def _quarter() -> int:
    # In bytes; what loads a year of a small shop needs 2 GB.
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(machine // 4, 2 * 1024**3)


# A list's elements without a name, as FROM UNNEST(params) WHERE.
BARE_UNNEST = re.compile(
    r"UNNEST\([^()]*\)\s*(WHERE|GROUP|ORDER|LIMIT|CROSS|JOIN|ON|,|\)|$)"
)


@contextlib.contextmanager
def translated_errors(text: str = "") -> Iterator[None]:
    """Raise the errors of DuckDB as BigQuery says them."""
    try:
        yield
    except duckdb.Error as error:
        raise _error_of(error, text) from error


def _error_of(error: duckdb.Error, text: str) -> BaseException:
    """Return an error as BigQuery says it, or that DuckDB lacks something."""
    message = PREFIX.sub("", str(error)).partition("\n")[0]
    match error:
        case duckdb.CatalogException() if "Table with name" in message:
            return api.NotFound(f"Not found: Table: {message}")
        case duckdb.BinderException() if any(words in message for words in UNKNOWN):
            [*_, name] = re.findall('"([^"]+)"', message)
            if BARE_UNNEST.search(text):
                # Only its types say whether it is a field of an element.
                said = f"{name}: fields of UNNEST need its alias here, as p.{name}"
                return Untranslated(f"{said}\n{text}")
            return api.BadRequest(f"Unrecognized name: {name}")
        case duckdb.CatalogException() | duckdb.ParserException():
            return Untranslated(f"{message}\n{text}")
        case duckdb.BinderException() | duckdb.NotImplementedException():
            return Untranslated(f"{message}\n{text}")
        case duckdb.TransactionException():
            return api.BadRequest(f"{CONFLICT}: {message}")
        case duckdb.OutOfMemoryException():
            more = "start local mode with more, for example PROPENSITY_LOCAL_MEMORY=4GB"
            message = f"Resources exceeded: {more}"
    if "parse format specifier" in message or "extract specifier" in message:
        return Untranslated(f"{message}\n{text}")
    return api.BadRequest(message)
