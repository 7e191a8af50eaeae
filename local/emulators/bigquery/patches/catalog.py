"""One plain DuckDB file per project, in the place of DuckLake's catalog."""

from __future__ import annotations

import functools
import importlib.resources
import os
import tempfile
from pathlib import Path
from typing import Any

from local.emulators.bigquery.patches import numbers

CATALOG_SUFFIX = ".bq.duckdb"
# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.engine.database": (
        "def connection(",
        "def attach(",
        "def projects(",
    ),
}


def connect_plainly(database: Any, data_dir: Path) -> None:
    """Replace the emulator's DuckLake catalog by one DuckDB file per project."""
    import duckdb

    # Files under way are in the emulator's folder, too.
    staged = data_dir / "staged"
    staged.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(staged)
    connection = duckdb.connect(config={"autoinstall_known_extensions": False})
    # The extension is in a package, so nothing is downloaded.
    package = Path(str(importlib.resources.files("duckdb_extension_icu")))
    icu = f"extensions/v{duckdb.__version__}/icu.duckdb_extension"
    connection.execute(f"LOAD {_literal(package / icu)}")
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    # DuckDB gets as many threads as a fit, since other processes run as well.
    if threads := os.environ.get("OMP_NUM_THREADS"):
        connection.execute(f"SET threads = {int(threads)}")
    emulator = _literal(data_dir / "emulator.duckdb")
    connection.execute(f"ATTACH {emulator} AS emulator")
    connection.execute("SET checkpoint_threshold = '64MB'")
    connection.execute(f"SET temp_directory = {_literal(data_dir / 'spilled')}")
    connection.execute(database.EMULATOR_SCHEMA)
    connection.execute("ATTACH ':memory:' AS bq")
    database.native.register(connection)
    for path in database.FUNCTIONS:
        macro = database.MACRO.sub(r"CREATE MACRO bq.main.\1", path.read_text())
        connection.execute(macro)
    numbers.define(connection)

    @functools.cache
    def attach(project: str) -> None:
        path = _literal(data_dir / f"{project}{CATALOG_SUFFIX}")
        with connection.cursor() as cursor:
            cursor.execute(
                f"ATTACH IF NOT EXISTS {path} AS {database.quote(project)} "
                "(STORAGE_VERSION 'v1.4.0')"
            )

    def projects() -> list[str]:
        rows = database.fetch(
            "SELECT database_name FROM duckdb_databases() "
            f"WHERE path LIKE '%{CATALOG_SUFFIX}' ORDER BY database_name"
        )
        return [name for (name,) in rows]

    for file in data_dir.glob(f"*{CATALOG_SUFFIX}"):
        attach(file.name.removesuffix(CATALOG_SUFFIX))
    attach(database.settings.default_project_id)
    # A statement is anybody's who reaches the port: it reads and writes no files
    # but those of the emulator, and changes no setting that says so.
    folder = _literal(data_dir)
    connection.execute(f"SET GLOBAL allowed_directories = [{folder}]")
    connection.execute("SET GLOBAL enable_external_access = false")
    connection.execute("SET GLOBAL lock_configuration = true")
    database.connection = lambda: connection
    database.attach = attach
    database.projects = projects


def _literal(path: Path) -> str:
    """Return a path as SQL: folders may have apostrophes."""
    return "'{}'".format(str(path).replace("'", "''"))
