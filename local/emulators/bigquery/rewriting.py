"""The emulator's source, rewritten where Python 3.11 or a file forbids it."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType
from typing import Any

EMULATOR_VERSION = "0.4.0"
# Texts in the source of a module, and their replacements.
Rewrites = tuple[tuple[str, str], ...]

# Syntax of Python 3.12 (PEP 695 and PEP 701), rewritten for Python 3.11.
OLDER_SYNTAX: dict[str, Rewrites] = {
    "local_bigquery.catalog.metadata": (
        ("[R: Resource](", "("),
        (
            "class Index(Resource):",
            'R = __import__("typing").TypeVar("R")\n\n\nclass Index(Resource):',
        ),
    ),
    "local_bigquery.engine.results": (
        (
            """f"THEN error('{message.replace("'", "''")}') ELSE {expression} END\"""",
            """"THEN error('" + message.replace("'", "''") """
            """+ f"') ELSE {expression} END\"""",
        ),
    ),
}
# DuckDB runs a query with parameters to find its columns, even in a dry run.
_DRY_RUN = (
    "_fields(cur.sql(sql, params=bound))",
    '_fields(cur.sql(f"SELECT * FROM ({sql}) LIMIT 0", params=bound))',
)
# MERGE began a transaction to find out whether it is in one, which ends that one with
# an error. Outside of any, each statement has a number of its own.
_MERGE = (
    """        cur.execute("BEGIN")
        owned = True
""",
    """        number = "SELECT txid_current()"
        owned = cur.execute(number).fetchone() != cur.execute(number).fetchone()
        if owned:
            cur.execute("BEGIN")
""",
)
# A stream that is committed already, for example after a lost answer, has a code.
_COMMIT = (
    "code=types.StorageError.StorageErrorCode.INVALID_STREAM_STATE",
    'code="STREAM_ALREADY_COMMITTED" if stream.committed else "INVALID_STREAM_STATE"',
)
_TEMPORARY = '"SELECT table_name FROM duckdb_tables() WHERE temporary"'
# The functions of geography need an extension of DuckDB that is in no package: every
# first start would download it. Nothing here uses them.
_FUNCTIONS = (
    """(pathlib.Path(__file__).parent / "functions").glob("*.sql")""",
    """set((pathlib.Path(__file__).parent / "functions").glob("*.sql")) """
    """- {pathlib.Path(__file__).parent / "functions/geography.sql"}""",
)
# DuckDB plans twice what is asked for by ``sql``, once for its columns.
_PAGE = (
    ("[(total,)] = cur.sql(", "[(total,)] = cur.execute("),
    ("rows = cur.sql(", "rows = cur.execute("),
)
# As a plain function it would wait for a thread, with each request.
_DEPENDENCY = ("def valid_project(", "async def valid_project(")
REWRITES: dict[str, Rewrites] = {
    "local_bigquery.app": (_DEPENDENCY,),
    "local_bigquery.engine.results": _PAGE,
    "local_bigquery.grpc.write": (_COMMIT,),
    "local_bigquery.jobs.merge": (_MERGE,),
    "local_bigquery.sql.dialect": (_FUNCTIONS,),
    # Only a session can have temporary tables yet; to look for them is to read all.
    "local_bigquery.jobs.query": (
        _DRY_RUN,
        (_TEMPORARY, f"{_TEMPORARY} if session else \"SELECT '' WHERE false\""),
    ),
}
if sys.version_info < (3, 12):
    for name, rewrites in OLDER_SYNTAX.items():
        REWRITES[name] = (*REWRITES.get(name, ()), *rewrites)


def rewritten(source: str, rewrites: Rewrites, *, module: str) -> str:
    """Return a module's source rewritten; ImportError where there is nothing to do."""
    for old, new in rewrites:
        if old not in source:
            raise ImportError(
                f"{module} differs from local-bigquery {EMULATOR_VERSION}: "
                f"{old!r} is not in it. Reinstall with `make setup`."
            )
        source = source.replace(old, new)
    return source


class RewritingLoader(SourceFileLoader):
    """Compile one module from its rewritten source, past any cached bytecode."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = self.get_data(path).decode()
        source = rewritten(source, REWRITES[fullname], module=fullname)
        return compile(source, path, "exec", dont_inherit=True)


class RewritingFinder(PathFinder):
    """Find the modules of ``REWRITES`` for their loader."""

    @classmethod
    def find_spec(cls, fullname: str, *where: Any) -> ModuleSpec | None:
        spec = super().find_spec(fullname, *where) if fullname in REWRITES else None
        if spec is not None and spec.origin is not None:
            spec.loader = RewritingLoader(fullname, spec.origin)
        return spec


def make_importable() -> None:
    """Have modules imported as ``RewritingFinder`` finds them, in this process."""
    sys.meta_path.insert(0, RewritingFinder)
