"""
Google's own evaluator judges what the local BigQuery answers to users' statements.

``statements.sql`` has them by what comes of them. To those that are answered alike both
give the same rows, whatever their order where a statement says none; what is not on
this machine is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery

from local.ground.bigquery import BigQuery
from local.ground.fields import fields_of, sql_types
from local.ground.functions import Untranslated
from offline.usecases import evaluator
from offline.usecases.googlesql import Refused

FILE = Path(__file__).with_name("statements.sql")
TABLES = ("orders", "events")
LOCAL_REFUSALS = (BadRequest, Untranslated)


def groups() -> dict[str, list[str]]:
    """Return the statements of the file by their headings."""
    grouped: dict[str, list[str]] = {}
    heading = ""
    for part in FILE.read_text().strip().split("\n\n"):
        if part.startswith("-- "):
            heading = part.removeprefix("-- ")
        else:
            grouped.setdefault(heading, []).append(part)
    return grouped


GROUPS = groups()


def rows_here(ground: BigQuery, sql: str, **more: Any) -> list[tuple[Any, ...]]:
    config = bigquery.QueryJobConfig(default_dataset="p.d", **more)
    table = ground.query(sql, job_config=config).rows.table
    columns = [column.to_pylist() for column in table.columns]
    return list(zip(*columns, strict=True))


def comparable(rows: list[tuple[Any, ...]], sql: str) -> list[str]:
    """Return rows as texts, sorted where a statement orders none at its end."""
    texts = evaluator.texts_of(rows)
    is_ordered = "ORDER BY" in sql.rpartition(")")[2]
    return texts if is_ordered else sorted(texts)


@pytest.fixture(scope="module")
def ground() -> BigQuery:
    made = BigQuery("p", None, asks_google=True)
    made.create_dataset("d")
    for sql in GROUPS["Tables"]:
        rows_here(made, sql)
    return made


@pytest.fixture(scope="module")
def judged(ground) -> Callable[[str], list[tuple[Any, ...]]]:
    """Return Google's rows of a statement."""
    tables = {name: ground.list_rows(f"p.d.{name}").table for name in TABLES}
    types = {name: sql_types(fields_of(one.schema)) for name, one in tables.items()}
    return lambda sql: evaluator.rows_of(sql, tables, types, {})


def test_a_statement_answers_what_google_answers(ground, judged):
    different = []
    for sql in GROUPS["Answered as by Google"]:
        expected = comparable(judged(sql), sql)
        if comparable(rows_here(ground, sql), sql) != expected:
            different.append(sql)

    assert different == []


def test_what_google_refuses_is_refused(ground, judged):
    for sql in GROUPS["Refused by Google, and here"]:
        with pytest.raises(Refused):
            judged(sql)
        with pytest.raises(LOCAL_REFUSALS):
            rows_here(ground, sql)


def test_what_is_not_on_this_machine_is_refused_by_name(ground, judged):
    for sql in GROUPS["Not on this machine, by name"]:
        judged(sql)
        with pytest.raises(Untranslated):
            rows_here(ground, sql)


def test_a_dry_run_refuses_what_google_refuses_before_a_value_is_read(ground, judged):
    """Where a user writes SQL: ``audience preview`` and ``try`` run it dry first."""
    for sql in GROUPS["Refused by Google before it runs, and here in a dry run"]:
        with pytest.raises(Refused):
            judged(sql)
        with pytest.raises(BadRequest, match=r" at \[\d+:\d+\]$"):
            rows_here(ground, sql, dry_run=True)


def test_a_dry_run_takes_what_google_takes(ground):
    refused = []
    for sql in GROUPS["Answered as by Google"]:
        try:
            rows_here(ground, sql, dry_run=True)
        except LOCAL_REFUSALS as error:
            refused.append(f"{error}: {sql}")

    assert refused == []
