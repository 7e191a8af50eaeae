"""
Run a use case's statements over made-up events, and report what they see too much of.

BigQuery checks each statement first. Then events are added outside of the window that
a statement may read: a row that changes by them is a leak.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Protocol

import pyarrow as pa

from offline.usecases import canaries, sources
from offline.usecases.canaries import Row
from offline.usecases.sources import Line
from propensity import usecases
from propensity.edges.warehouse import Warehouse
from propensity.errors import PropensityError
from propensity.privacy import consent
from propensity.usecases import NUMBER, Problem, UseCase, export

AS_OF = date(2026, 3, 2)
DAY = timedelta(days=1)
MAXIMUM_ROWS = 1_000

# Statements that include those of a use case.
INCLUDING = ("training_rows", "evaluation_rows")

_LITERAL = re.compile(r"'([A-Za-z][A-Za-z0-9_]{0,39})'")
# What the client writes before BigQuery's message.
_CLIENT_PREFIX = re.compile(r"\b(POST|GET) https?://\S+: ")


class Sandbox(Protocol):
    """An emulated BigQuery with its tables and views."""

    @property
    def warehouse(self) -> Warehouse:
        """The edge to it."""

    def load(self, rows: Iterable[Row]) -> None:
        """Load events into the export; each day's table is replaced."""


def dates_of(use_case: UseCase) -> tuple[date, date]:
    """Return two as-of dates of a use case, a horizon apart."""
    return AS_OF, AS_OF + use_case.horizon_days * DAY


class Refused(Exception):
    """BigQuery refuses a statement."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@contextlib.contextmanager
def _located(use_case: UseCase, name: str) -> Iterator[None]:
    """Raise BigQuery's error for a statement as ``Refused``, with its line."""
    try:
        yield
    except PropensityError as error:
        line = sources.place(sources.lines(use_case.name, name), error.message)
        raise Refused(
            sources.at_line(line, _CLIENT_PREFIX.sub("", error.message))
        ) from error


def dry_run(
    use_case: UseCase,
    warehouse: Warehouse,
    as_ofs: Sequence[date],
    names: Sequence[str] = (*usecases.STATEMENTS, *INCLUDING),
) -> Iterator[Problem]:
    """Yield the first problem of the statements of training and evaluation."""
    window = use_case.window(warehouse.settings, as_ofs)
    scored = {"use_case": use_case.name, "prediction_as_of": as_ofs[0]}
    parameters: Mapping[str, Mapping[str, Any]] = {
        "first_day": {"earliest": window["earliest"]},
        "features": window,
        "labels": window,
        "training_rows": {**window, "maximum_rows": MAXIMUM_ROWS},
        "evaluation_rows": {**window, **scored},
    }
    for name in names:
        sql = use_case.statement(name)
        values = {
            key: value for key, value in parameters[name].items() if f"@{key}" in sql
        }
        try:
            with _located(use_case, name):
                warehouse.dry_run(sql, values)
        except Refused as refused:
            # Statements that include this one would be refused for the same reason.
            yield refused.problem
            return


class OverExport:
    """The check of a use case of the GA4 export, over events of it."""

    passed = (
        "its statements run",
        "columns, kinds, and one row per user and as-of date",
        "each as-of date has the rows that it would have alone",
        "no feature sees an event at or after its as-of date, or before the lookback",
        "no label sees an event after its horizon",
    )

    def __init__(self, use_case: UseCase, sandbox: Sandbox) -> None:
        self.use_case = use_case
        self.sandbox = sandbox
        self.warehouse = sandbox.warehouse
        self.features = sources.lines(use_case.name, "features")
        self.labels = sources.lines(use_case.name, "labels")
        code = re.sub("--.*", "", "".join(sources.statements(use_case.name).values()))
        values = (
            *use_case.parameters.values(),
            *use_case.chosen(self.warehouse.settings).values(),
        )
        texts = {value for value in values if isinstance(value, str)}
        others = {*_LITERAL.findall(code), *texts} - {*canaries.NAMES}
        names = [*canaries.NAMES, *sorted(others)]
        self.maker = canaries.Maker(names, use_case.export_values)

    def check(self) -> tuple[list[Problem], list[Problem]]:
        """Return problems and warnings."""
        try:
            return self._check()
        except Refused as refused:
            return [refused.problem], []

    def _check(self) -> tuple[list[Problem], list[Problem]]:
        use_case, maker = self.use_case, self.maker
        lookback, horizon = use_case.lookback_days, use_case.horizon_days
        first, second = dates_of(use_case)
        history = [
            row
            for day in (first, second)
            for row in maker.history(day, lookback=lookback, horizon=horizon)
        ]
        self.load(history)
        problems = [
            *dry_run(use_case, self.warehouse, (first, second), usecases.STATEMENTS)
        ]
        if problems:
            return problems, []
        both = self.read("features", first, second)
        labels = self.read("labels", first, second)
        problems = [*self.shape(both), *self.keys(labels, self.labels)]
        if not problems:
            # With wrong columns these would be refused for the same reason.
            problems += dry_run(use_case, self.warehouse, (first, second), INCLUDING)
        if problems:
            return problems, []
        warnings = [*self.empty(both, labels)]
        alone = _by_key(self.read("features", first))
        problems += self.changes(
            alone,
            {key: row for key, row in _by_key(both).items() if key[0] == first},
            "is another where a further as-of date is read beside it",
        )
        converted = _by_key(self.read("labels", first)).keys()
        self.load([*history, *maker.beyond(first + horizon * DAY)])
        if _by_key(self.read("labels", first)).keys() != converted:
            line = self.line(self.labels, "horizon_days")
            problems.append(
                sources.at_line(line, "the label sees an event after its horizon")
            )
        self.load([*history, *maker.later(first, horizon=horizon)])
        problems += self.changes(
            alone,
            _by_key(self.read("features", first)),
            "sees an event at or after its as-of date: that is what the model is "
            "asked to foresee",
        )
        self.load([*history, *maker.older(first - lookback * DAY)])
        problems += self.changes(
            alone,
            _by_key(self.read("features", first)),
            "sees an event before its lookback began",
        )
        return problems, warnings

    def load(self, rows: Iterable[Row]) -> None:
        """Replace all events of the export."""
        self.sandbox.load(rows)
        settings = self.warehouse.settings
        view = consent.events_view(settings.export, require="false")
        self.warehouse.replace_view(export.VIEW, view)

    def read(self, name: str, *as_ofs: date) -> pa.Table:
        """Return the rows of a statement for some as-of dates."""
        window = self.use_case.window(self.warehouse.settings, as_ofs)
        with _located(self.use_case, name):
            return self.warehouse.table(self.use_case.statement(name), window)

    def shape(self, rows: pa.Table) -> Iterator[Problem]:
        """Yield what is wrong with the columns and keys of features.sql."""
        yield from self.keys(rows, self.features)
        for name, kind in self.use_case.features.items():
            if name not in rows.column_names:
                message = f"features.sql gives no column {name}"
                yield sources.declared_at(
                    self.use_case.name, ("features", name), message
                )
            elif reason := _unlike(kind, rows.schema.field(name).type):
                yield sources.at_line(
                    self.line(self.features, name), f"{name} {reason}"
                )

    def keys(self, rows: pa.Table, lines: Sequence[Line]) -> Iterator[Problem]:
        """Yield what is wrong with ``as_of`` and ``user_id`` of a statement's rows."""
        key_types = {
            "as_of": ("DATE", pa.types.is_date),
            "user_id": ("STRING", _is_text),
        }
        is_whole = True
        for name, (type_name, is_type) in key_types.items():
            if name not in rows.column_names:
                message = f"gives no column {name}"
            elif not is_type(actual := rows.schema.field(name).type):
                message = f"{name} is {actual} instead of {type_name}"
            else:
                continue
            is_whole = False
            yield sources.at_line(self.line(lines, name), message)
        if not is_whole:
            return
        keys = [*zip(*(rows[name].to_pylist() for name in key_types), strict=True)]
        line = self.line(lines, "user_id")
        if any(None in key for key in keys):
            yield sources.at_line(line, "gives rows without a user")
        if len({*keys}) < len(keys):
            yield sources.at_line(
                line, "gives a user more than one row of an as-of date"
            )

    def empty(self, rows: pa.Table, labels: pa.Table) -> Iterator[Problem]:
        """Yield a warning for labels without rows, and features without values."""
        if not len(labels):
            line = self.line(self.labels, "WHERE")
            yield sources.at_line(
                line, "no made-up user has label 1: see what is looked for"
            )
        for name in self.use_case.features:
            if rows[name].null_count == len(rows):
                line = self.line(self.features, name)
                yield sources.at_line(line, f"{name} is null for every made-up user")

    def changes(self, before: _Rows, after: _Rows, change: str) -> Iterator[Problem]:
        """Yield a problem for each feature that changes, and for other users."""
        if before.keys() != after.keys():
            line = self.line(self.features, "user_id")
            yield sources.at_line(line, f"which users have a row {change}")
        for name in self.use_case.features:
            if any(
                not _same(before[key][name], after[key][name])
                for key in before.keys() & after.keys()
            ):
                yield sources.at_line(
                    self.line(self.features, name), f"{name} {change}"
                )

    def line(self, lines: Sequence[Line], word: str) -> Line:
        """Return the last line that names a column, or that has the word at all."""
        return (
            sources.find(lines, f"AS {word}", last=True)
            or sources.find(lines, word, last=True)
            or sources.place(lines, "")
        )


_Rows = Mapping[tuple[date, str], Mapping[str, Any]]


def _by_key(table: pa.Table) -> _Rows:
    return {(row["as_of"], row["user_id"]): row for row in table.to_pylist()}


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _unlike(kind: str, type_: pa.DataType) -> str:
    """Return why a column of a type is not of a kind, or nothing."""
    types = pa.types
    if types.is_null(type_):
        return ""
    if kind == NUMBER:
        if types.is_integer(type_) or types.is_floating(type_):
            return ""
        if types.is_decimal(type_):
            return "is NUMERIC, which a model does not read: CAST(… AS FLOAT64)"
        return f"is {type_}, and usecase.toml says a number"
    return "" if _is_text(type_) else f"is {type_}, and usecase.toml says a category"


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        # Sums of floats differ by their order alone.
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9) or (
            math.isnan(left) and math.isnan(right)
        )
    return bool(left == right)
