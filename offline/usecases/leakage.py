"""
Run a use case's statements over made-up events, and report what they see too much of.

BigQuery checks each statement first (``columns``). Then events are added outside of the
window that a statement may read: a row that changes by them is a leak.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, Protocol

import pyarrow as pa

from offline.usecases import canaries, columns, googlesql, sources
from offline.usecases.canaries import Row
from offline.usecases.columns import Refused
from offline.usecases.sources import Line
from propensity.edges.warehouse import Warehouse
from propensity.privacy import consent
from propensity.runs.value import STATEMENT as AMOUNTS
from propensity.usecases import Problem, UseCase, export

AS_OF = date(2026, 3, 2)
DAY = timedelta(days=1)

_LITERAL = re.compile(r"'([A-Za-z][A-Za-z0-9_]{0,39})'")
_KEY = ("as_of", "user_id")


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


class OverExport:
    """The check of a use case of the GA4 export, over events of it."""

    passed = (
        "its statements run",
        "columns, kinds, and one row per user and as-of date",
        "each as-of date has the rows that it would have alone",
        "no feature sees an event at or after its as-of date, or before the lookback",
        "no label sees an event before its as-of date, or after its horizon",
        "no statement reads daily tables that hold no event of its window",
        "no feature of a user is another because of other users",
    )

    def __init__(self, use_case: UseCase, sandbox: Sandbox) -> None:
        self.use_case = use_case
        self.sandbox = sandbox
        self.warehouse = sandbox.warehouse
        self.features = sources.lines(use_case.name, "features")
        self.labels = sources.lines(use_case.name, "labels")
        # What says what came of users, by name, and what is said of it.
        self.outcomes = {"labels": (self.labels, "the label")}
        if use_case.has_statement(AMOUNTS):
            self.outcomes[AMOUNTS] = (
                sources.lines(use_case.name, AMOUNTS),
                "an amount",
            )
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
        problems = [*self.dry(columns.own(use_case))]
        if problems:
            return problems, []
        both = self.read("features", first, second)
        outcomes = {name: self.read(name, first, second) for name in self.outcomes}
        problems = [*self.keys(both, self.features), *self.infinite(both)]
        for name, rows in outcomes.items():
            problems += self.keys(rows, self.outcomes[name][0])
        problems += [*self.zeros(outcomes["labels"]), *self.start()]
        if AMOUNTS in outcomes:
            problems += self.buyers(outcomes[AMOUNTS], outcomes["labels"])
        problems = problems or [*self.dry(columns.INCLUDING)]
        if problems:
            return problems, []
        warnings = [*self.empty(both, outcomes["labels"])]
        alone = self.rows("features", first)
        problems += self.changes(
            alone,
            _as_of(both, first),
            "is another where a further as-of date is read beside it",
        )
        outcomes_alone = {name: self.rows(name, first) for name in self.outcomes}
        problems += self.apart(outcomes_alone, outcomes, first)
        for events, which in (
            (maker.beyond(first + horizon * DAY), "after its horizon"),
            (maker.older(first), "before its as-of date"),
        ):
            self.load([*history, *events])
            for name, (lines, subject) in self.outcomes.items():
                if _differ(self.rows(name, first), outcomes_alone[name]):
                    message = f"{subject} sees an event {which}"
                    # The window is bounded there, on both sides.
                    line = _horizon(lines)
                    problems.append(sources.at_line(line, message))
        problems += self.shards(history, alone, outcomes_alone, problems)
        self.load([*history, *maker.later(first, horizon=horizon)])
        problems += self.changes(
            alone,
            self.rows("features", first),
            "sees an event at or after its as-of date: that is what the model is "
            "asked to foresee",
        )
        self.load([*history, *maker.older(first - lookback * DAY)])
        problems += self.changes(
            alone,
            self.rows("features", first),
            "sees an event before its lookback began",
        )
        # Last, since it replaces all events.
        of_others, about_others = self.others(history, alone)
        return [*problems, *about_others], [*warnings, *of_others]

    def dry(self, names: Sequence[str]) -> Iterator[Problem]:
        """Yield what is wrong with the first of some statements that is not right."""
        return columns.check(
            self.use_case,
            self.warehouse,
            dates_of(self.use_case),
            names,
            self.relations,
        )

    @cached_property
    def relations(self) -> Mapping[str, googlesql.Columns]:
        """What statements may read; events that are loaded later change no column."""
        return columns.relations(self.use_case, self.warehouse)

    def load(self, rows: Iterable[Row]) -> None:
        """Replace all events of the export."""
        self.sandbox.load(rows)
        settings = self.warehouse.settings
        view = consent.events_view(settings.export, require="false")
        self.warehouse.replace_view(export.VIEW, view)

    def read(self, name: str, *as_ofs: date) -> pa.Table:
        """Return the rows of a statement for some as-of dates."""
        window = self.use_case.window(self.warehouse.settings, as_ofs)
        with columns.located(self.use_case, name):
            return self.warehouse.table(self.use_case.statement(name), window)

    def rows(self, name: str, as_of: date) -> _Rows:
        """Return the rows of a statement for one as-of date, by their keys."""
        return _by_key(self.read(name, as_of))

    def keys(self, rows: pa.Table, lines: Sequence[Line]) -> Iterator[Problem]:
        """Yield what is wrong with ``as_of`` and ``user_id`` of a statement's rows."""
        keys = [*zip(*(rows[name].to_pylist() for name in _KEY), strict=True)]
        if any(None in key for key in keys):
            yield sources.at_column(lines, "user_id", "gives rows without a user")
        if len({*keys}) < len(keys):
            message = "gives a user more than one row of an as-of date"
            yield sources.at_column(lines, "user_id", message)

    def zeros(self, labels: pa.Table) -> Iterator[Problem]:
        """Yield that rows say label 0 in a column, although each row is a label 1."""
        if "label" in labels.column_names:
            says = labels["label"].to_pylist()
            if any(value in (0, None) for value in says):
                yield sources.at_column(
                    self.labels,
                    "label",
                    "gives rows with label 0: a row is a label 1, whatever its label "
                    "says, so leave the others out",
                )

    def start(self) -> Iterator[Problem]:
        """Yield what is wrong with the days of the source."""
        days = self.read("days", *dates_of(self.use_case))["day"].to_pylist()
        problem = ""
        if not any(days):
            problem = "gives no day, although there are events"
        elif len({*days} - {None}) < len(days):
            problem = "gives a day that is null, or more than once"
        if problem:
            lines = sources.lines(self.use_case.name, "days")
            yield sources.at_column(lines, "day", problem)

    def buyers(self, amounts: pa.Table, labels: pa.Table) -> Iterator[Problem]:
        """Yield that other users have amounts than have label 1."""
        if _by_key(amounts).keys() != _by_key(labels).keys():
            yield sources.at_column(
                self.outcomes[AMOUNTS][0],
                "user_id",
                "gives other users than labels.sql: everybody with label 1 has a row, "
                "and nobody else",
            )

    def apart(
        self, alone: Mapping[str, _Rows], both: Mapping[str, pa.Table], first: date
    ) -> Iterator[Problem]:
        """Yield outcomes of a date that are others where a further date is read."""
        for name, (lines, subject) in self.outcomes.items():
            if _differ(alone[name], _as_of(both[name], first)):
                yield sources.at_line(
                    _horizon(lines),
                    f"{subject} is another where a further as-of date is read beside "
                    "it: table_suffix has to be between @first_label_suffix and "
                    "@last_label_suffix",
                )

    def shards(
        self,
        history: Sequence[Row],
        alone: _Rows,
        outcomes: Mapping[str, _Rows],
        known: Sequence[Problem],
    ) -> list[Problem]:
        """
        Return what reads daily tables beyond its window: the whole export, in the end.

        Args:
            outcomes: Those of it, by statement.
            known: Problems that were found before.
        """
        first = dates_of(self.use_case)[0]
        window = self.use_case.window(self.warehouse.settings, [first])
        bounds = [
            ("first_suffix", "last_suffix"),
            ("first_label_suffix", "last_label_suffix"),
        ]
        inside, horizon = (
            (_shifted(window[low], -DAY), _shifted(window[high], DAY))
            for low, high in bounds
        )
        self.load(
            [*history, *self.maker.elsewhere(first, inside=inside, horizon=horizon)]
        )
        read = {
            "features": (self.features, alone, bounds[0]),
            **{
                name: (lines, outcomes[name], bounds[1])
                for name, (lines, _) in self.outcomes.items()
            },
        }
        problems = []
        for name, (lines, before, (low, high)) in read.items():
            # What reads other events than it should may see these, too.
            is_known = any(problem.file == f"{name}.sql" for problem in known)
            if not is_known and _differ(_by_key(self.read(name, first)), before):
                message = (
                    "reads daily tables that hold no event of its window, and pays for "
                    f"them: table_suffix has to be between @{low} and @{high}"
                )
                problems.append(sources.at_column(lines, "table_suffix", message))
        return problems

    def others(
        self, history: Sequence[Row], alone: _Rows
    ) -> tuple[list[Problem], list[Problem]]:
        """
        Return warnings and problems of rows that depend on other users.

        Half of the users leave, and others come who have done more than all: whoever
        stays has the features of before.
        """
        first = dates_of(self.use_case)[0]
        users = {row["user_id"] for row in history if row["user_id"]}
        leaving = {user for user in users if int(user.rpartition(".")[2]) % 2 == 0}
        staying = (row for row in history if row["user_id"] not in leaving)
        others = self.maker.others(first, lookback=self.use_case.lookback_days)
        self.load([*staying, *others])
        after = self.rows("features", first)
        kept = {key: row for key, row in alone.items() if key[1] not in leaving}
        problems = self.changes(
            kept,
            {
                key: row
                for key, row in after.items()
                if key in kept or not key[1].startswith("canary.")
            },
            "is another for a user because of what others do: whoever is forgotten, or "
            "is a robot, would change everybody's",
        )
        return [*self.chosen(after)], [*problems]

    def chosen(self, rows: _Rows) -> Iterator[Problem]:
        """Yield a warning where some kinds of events alone make a user a row."""
        users = {user for _, user in rows if user.startswith(canaries.ALONE)}
        names = [n for n in self.maker.names if f"{canaries.ALONE}{n}" in users]
        if names and len(names) < len(self.maker.names):
            line = next(
                (found for n in names if (found := sources.find(self.features, n))),
                sources.column(self.features, "user_id"),
            )
            yield sources.at_line(
                line,
                f"only users with {' or '.join(names)} have a row: the others get no "
                "probability, and no model learns from them",
            )

    def infinite(self, rows: pa.Table) -> Iterator[Problem]:
        """Yield features that are infinite, which no model learns from."""
        for name in self.use_case.features:
            if any(
                isinstance(value, float) and math.isinf(value)
                for value in rows[name].to_pylist()
            ):
                message = f"{name} is infinite for a made-up user"
                yield sources.at_column(self.features, name, message)

    def empty(self, rows: pa.Table, labels: pa.Table) -> Iterator[Problem]:
        """Yield warnings of labels that nobody has, and of features without values."""
        if not len(labels):
            message = "no made-up user has label 1: see what is looked for"
            yield sources.at_column(self.labels, "WHERE", message)
        elif len(rows) and not _by_key(labels).keys() & _by_key(rows).keys():
            yield sources.at_column(
                self.labels,
                "user_id",
                "no made-up user with label 1 has features: see whether user_id is the "
                "same in both",
            )
        if not len(rows):
            message = "no made-up user has a row"
            yield sources.at_column(self.features, "user_id", message)
            return
        for name in self.use_case.features:
            if rows[name].null_count == len(rows):
                message = f"{name} is null for every made-up user"
                yield sources.at_column(self.features, name, message)

    def changes(self, before: _Rows, after: _Rows, change: str) -> Iterator[Problem]:
        """Yield a problem for each feature that changes, and for other users."""
        if before.keys() != after.keys():
            message = f"which users have a row {change}"
            yield sources.at_column(self.features, "user_id", message)
        for name in self.use_case.features:
            if any(
                not _same(before[key][name], after[key][name])
                for key in before.keys() & after.keys()
            ):
                yield sources.at_column(self.features, name, f"{name} {change}")


def _horizon(lines: Sequence[Line]) -> Line:
    """Return the line that bounds an outcome's window, as well as it can be told."""
    return (
        sources.find(lines, "horizon_days", last=True)
        or sources.find(lines, "INTERVAL", last=True)
        or sources.column(lines, "as_of")
    )


_Rows = Mapping[tuple[date, str], Mapping[str, Any]]


def _shifted(suffix: str, by: timedelta) -> str:
    """Return the suffix of a daily table before or after another."""
    return f"{datetime.strptime(suffix, '%Y%m%d').date() + by:%Y%m%d}"  # noqa: DTZ007


def _by_key(table: pa.Table) -> _Rows:
    return {(row["as_of"], row["user_id"]): row for row in table.to_pylist()}


def _as_of(table: pa.Table, day: date) -> _Rows:
    return {key: row for key, row in _by_key(table).items() if key[0] == day}


def _differ(left: _Rows, right: _Rows) -> bool:
    """Return whether there are other rows, or another value in one of them."""
    return left.keys() != right.keys() or any(
        not _same(value, right[key].get(name))
        for key, row in left.items()
        for name, value in row.items()
    )


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        # Sums of floats differ by their order alone.
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9) or (
            math.isnan(left) and math.isnan(right)
        )
    return bool(left == right)
