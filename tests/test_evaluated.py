"""
Statements, specified by Google: its evaluator has the rows of the local BigQuery.

Over a few rows in each table. Those of the export are of made-up events, others are
drawn. Of a script its queries are judged; what changes rows is tested where it runs.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pyarrow as pa
import pytest

from local.ground.sandbox import Sandbox, opened
from offline.usecases import evaluator, googlesql, made_up
from offline.usecases.check import AS_OF
from propensity import usecases
from propensity.gcp.queries import type_of_parameter
from propensity.gcp.session import session_of
from propensity.settings import Settings
from propensity.statements import joined, parameters_of
from propensity.streaming.events.values import microseconds_of
from propensity.tables import every
from tests.test_googlesql import known_relations, put_in, statements, written

pytestmark = [pytest.mark.timeout(1_200), pytest.mark.usefixtures("analyzer")]

USERS = made_up.USERS[:6]
DAYS = [AS_OF - timedelta(days=days) for days in (0, 0, 1, 7, 7, 14, 21, 28)]
AS_OFS = [AS_OF - timedelta(days=28), AS_OF - timedelta(days=7), AS_OF]
NOW = datetime(2026, 3, 2, tzinfo=UTC)
ROWS = 40
USE_CASE = "ga4_purchase"
DATASET = ("sandbox", "propensity")
SETTINGS = Settings(project="sandbox")
EXPORTED = ("ga_events", "ga_user_days", "ga_conversions", "ga_digested_days")
QUERIES = ("SELECT", "WITH", "(", "CREATE", "INSERT")
# These name users that others leave out.
FEW = {"ga_refusals": 2, "suppressed_users": 1}
KEYS = {one.name: list(one.key) for one in every.TABLES}
NOT_JUDGED = {
    "audience_plan": "the evaluator has no APPROX_QUANTILES",
    "publish_predictions": "the evaluator has no APPROX_QUANTILES",
    "scored": "the evaluator has no APPROX_QUANTILES",
    "forget_browsers": "the evaluator takes minutes for NOT IN of a table expression",
}
# Those that decide who is sent what, and what is learned from; others take longer.
QUICK = (
    "first_day_churn/days",
    "first_day_churn/stream_rows",
    "ga4_purchase/audience_newly_held_out",
    "ga4_purchase/audience_outcomes",
    "ga4_purchase/digest_days",
    "ga4_purchase/digested_ids",
    "ga4_purchase/evaluation_rows",
    "ga4_purchase/lookup",
    "ga4_purchase/requests_due",
    "ga4_purchase/requests_open",
    "ga4_purchase/result_weeks",
    "ga4_purchase/weeks_to_evaluate",
)
CONSENT = {
    "`consent`": "TO_JSON_STRING(TRUE)",
    "`stored_consent`": "JSON_VALUE(m.attributes, '$.consent')",
}
ARROW_TYPES = {
    "STRING": pa.string(),
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "NUMERIC": pa.decimal128(38, 9),
    "BOOL": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
}
_QUERY = re.compile(r"^\s*\(?\s*(SELECT|WITH)\b", re.MULTILINE)
_CREATED = re.compile(r"\s*CREATE (?:OR REPLACE )?TEMP TABLE (\w+)")
_NOW = re.compile(r"CURRENT_TIMESTAMP\(\)")
_COMMENT = re.compile(r"--[^\n]*")


@cache
def texts() -> Mapping[str, str]:
    """Return the statements of all use cases by name, each once."""
    made = {}
    for use_case in usecases.names():
        for name, lines in written(use_case).items():
            text = put_in(joined(lines))
            for part, sql in CONSENT.items():
                text = text.replace(part, sql)
            if text not in made.values():
                made[f"{use_case}/{name}"] = text
    return made


@cache
def texts_of(column: str) -> list[str]:
    """Return texts that statements compare a column with."""
    if column in ("user_id", "user_pseudo_id", "visitor"):
        return USERS
    if column == "use_case":
        return [USE_CASE]
    if column in ("table_suffix", "event_date"):
        return [f"{day:%Y%m%d}" for day in DAYS]
    code = "".join(texts().values())
    keys = sorted(set(re.findall(rf"\b{column}, '\$\.(\w+)'", code)))
    if keys:
        return [json.dumps(dict.fromkeys(keys, text)) for text in ("a", "3")]
    lines = re.findall(rf"\b{column}\b[^\n]{{0,60}}", code)
    compared = re.findall(r"'([\w .@:/-]{1,30})'", "\n".join(lines))
    return sorted(set(compared)) if compared else ["a", "b"]


class Values:
    """Draws values of columns: one in twenty is null, and no moment comes twice."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.moments = 0

    def of(self, column: str, kind: pa.DataType, *, is_null: bool = True) -> Any:
        """Return a value of Arrow's type; of users and days there are a few."""
        draw = self.random
        self.moments += 1
        moment = NOW - timedelta(days=draw.randint(-5, 20), microseconds=self.moments)
        value: Any = draw.randint(0, 3)
        if pa.types.is_list(kind):
            part = column.removesuffix("s")
            size = range(draw.randint(0, 2))
            value = [self.of(part, kind.value_type, is_null=False) for _ in size]
        elif pa.types.is_struct(kind):
            value = {part.name: self.of(part.name, part.type) for part in kind}
        elif is_null and draw.random() < 0.05:
            value = None
        elif pa.types.is_string(kind):
            value = draw.choice(texts_of(column))
        elif pa.types.is_date(kind):
            value = draw.choice(DAYS)
        elif pa.types.is_timestamp(kind):
            value = moment
        elif pa.types.is_boolean(kind):
            value = draw.random() < 0.5
        elif pa.types.is_floating(kind):
            value = draw.randint(0, 1_000) / 1_000
        elif pa.types.is_decimal(kind):
            value = Decimal(draw.randint(0, 5_000)) / 100
        elif pa.types.is_binary(kind):
            value = b"a"
        elif "timestamp" in column:
            value = microseconds_of(moment)
        return value


class Package:
    """The tables that statements read, in a BigQuery of this process."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.warehouse = sandbox.warehouse
        self.types = dict(known_relations())
        self.tables: dict[str, pa.Table] = {}
        self.judged = Counter[str]()
        made = made_up.events(usecases.load(USE_CASE), AS_OF)
        sandbox.load(row for row in made if row["user_id"] in USERS)

    def table(self, name: str) -> pa.Table:
        """Return a table, which is filled the first time."""
        if name not in self.tables:
            exported = name in EXPORTED
            rows = self.sandbox.rows_of(name) if exported else self._drawn(name)
            self.tables[name] = rows.select(list(self.types[name]))
        return self.tables[name]

    def _drawn(self, name: str) -> pa.Table:
        columns = [f"`{one}` {kind}" for one, kind in self.types[name].items()]
        create = f"CREATE OR REPLACE TABLE `{name}` ({', '.join(columns)})"
        self.warehouse.execute(create)
        schema = self.sandbox.rows_of(name).schema
        values = Values(name)
        key = KEYS.get(name, ())
        rows = {}
        for number in range(FEW.get(name, ROWS)):
            row = {}
            for one in schema:
                row[one.name] = values.of(
                    one.name, one.type, is_null=one.name not in key
                )
            rows[tuple(row[column] for column in key) or number] = row
        drawn = pa.Table.from_pylist([*rows.values()], schema)
        self.warehouse.client.append((*DATASET, name), drawn)
        return drawn


def given_to(label: str, text: str) -> dict[str, tuple[str, Any]]:
    """Return types and values of a statement's parameters."""
    window = usecases.load(label.partition("/")[0]).window(SETTINGS, AS_OFS)
    values = Values(label)
    given = {name: (kind, None) for name, kind in parameters_of(text).items()}
    for name, (kind, _) in given.items():
        part = kind.removeprefix("ARRAY<").removesuffix(">")
        value = values.of(name, ARROW_TYPES[part], is_null=False)
        if part == "DATE":
            value = AS_OF
        if part != kind:
            value = texts_of(name.removesuffix("s")) if part == "STRING" else [value]
        given[name] = kind, value
    for name, value in window.items():
        if name != "use_case":
            given[name] = type_of_parameter(name, value), value
    return given


def differences(package: Package, label: str) -> Iterator[str]:
    """Yield the first rows of a script's queries that differ."""
    text = texts()[label]
    given = given_to(label, text)
    tables: dict[str, pa.Table] = {}
    types = dict(package.types)
    with session_of(package.warehouse) as session:
        for one in statements(text):
            code = _NOW.sub(f"TIMESTAMP '{NOW}'", _COMMENT.sub("", one))
            query = _QUERY.search(code)
            if query is None or not code.lstrip().startswith(QUERIES):
                continue
            sql = code[query.start() :]
            read = {name: given[name] for name in given if f"@{name}" in sql}
            values = {name: value for name, (_, value) in read.items()}
            for name in googlesql.tables_of(sql).difference(tables):
                tables[name] = package.table(name)
            kinds = {name: kind for name, (kind, _) in read.items()}
            columns = googlesql.columns(sql, types, kinds)
            created = _CREATED.match(code)
            if created:
                session.execute(code, values)
                here = session.table(f"SELECT * FROM {created[1]}")
                tables[created[1]] = here.select(list(columns))
                types[created[1]] = columns
            else:
                here = session.table(sql, values)
            # The columns of USING come first in Google's *; nothing here relies on it.
            if set(here.column_names) == columns.keys():
                here = here.select(list(columns))
            expected = evaluator.rows_of(sql, tables, types, read)
            found = evaluator.difference(here, expected)
            if found:
                yield found
            package.judged[label] += len(expected)


@pytest.fixture(scope="module")
def package() -> Iterator[Package]:
    with opened() as sandbox:
        yield Package(sandbox)


@pytest.mark.parametrize("label", QUICK)
def test_google_has_the_rows_of_a_query(package, label):
    assert list(differences(package, label)) == []
    assert package.judged[label]


@pytest.mark.long
@pytest.mark.parametrize("use_case", usecases.names())
def test_google_has_the_rows_of_every_query_of_the_package(package, use_case):
    """At least a third have any."""
    labels = []
    for label in texts():
        if label.startswith(f"{use_case}/") and label.split("/")[1] not in NOT_JUDGED:
            labels.append(label)
    found = {label: list(differences(package, label)) for label in labels}

    filled = [label for label in labels if package.judged[label]]

    assert {label: differing for label, differing in found.items() if differing} == {}
    assert len(filled) >= len(labels) / 3
