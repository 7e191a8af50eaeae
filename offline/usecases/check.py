"""
Check a use case: report the faults of its folder, and where they are.

Its files are read first, and its statements by Google's own analyzer. Then the leak
test runs on tables in this process: features as of a day, on all events and on events
before that day, are the same rows; so are labels, on all events and on those before the
horizon's end. Google's own evaluator has the same rows of the same tables.
"""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pandas as pd

from offline.usecases import evaluator, googlesql, made_up
from propensity import statements, usecases
from propensity.errors import PropensityError, UseCaseError
from propensity.ga4.view import GA_EVENTS, columns_of_values
from propensity.gcp.queries import type_of_parameter
from propensity.learning.task import FOREST, MEAN
from propensity.settings import Settings
from propensity.tables import every as tables
from propensity.tables.export import CONVERSIONS, USER_DAYS
from propensity.tables.export_names import VIEW
from propensity.timeframe import midnight
from propensity.usecases import NUMBER, UseCase, declaration

AS_OF = date(2026, 3, 2)
# The evaluator takes a second for these, and ten for all.
JUDGED = made_up.USERS[:6]
_UNKNOWN_COUNT = re.compile(r"(Unrecognized name: |Name )(\w+\.)*n_\w+")
# A moment of a source that is known ahead, as the end of a contract is, may be later.
LEAKS = (
    "reads events from the prediction date on, or a source's time that is filled in "
    "later: compare it with as_of, or list the source's column under plans"
)


class NotRun(PropensityError, code="not_run"):
    """A statement is right, and uses what only BigQuery has."""


@dataclass(frozen=True)
class Report:
    """
    The result of a check.

    Attributes:
        use_case: Its name.
        problems: Faults, and where they are.
        skipped: What was not checked, and why.
    """

    use_case: str
    problems: list[str]
    skipped: str = ""


def check_use_case(
    name: str,
    sandbox: Callable[[], Any],
    *,
    step: Callable[[str], Any] = contextlib.nullcontext,
) -> Report:
    """
    Check a use case.

    Args:
        sandbox: Opens tables that stand for BigQuery's as a context, with
            ``warehouse``, ``load(events)`` and ``table(sql, parameters)``; called only
            if the files are right.
        step: Opens a context in which something is done that takes seconds.
    """
    with step("reading the files, and fitting each candidate to generated rows"):
        problems = list(files(name))
    if problems:
        return Report(name, problems, "statements: correct the files first")
    use_case = usecases.load(name)
    if use_case.scores_events:
        return Report(name, [], "statements: features are the event's own fields")
    with step("reading the statements by Google's analyzer"):
        problems = faults_of_statements(use_case)
    if problems:
        return Report(name, problems, "leakage: correct the statements first")
    if not (use_case.reads_export or use_case.own_events):
        return Report(name, [], "leakage: events are generated for the GA4 export only")
    made = made_up.events(use_case, AS_OF)
    with step("running features and labels on generated events"), sandbox() as opened:
        try:
            problems = list(_leaks(use_case, opened, made))
            if not problems:
                problems = list(_judged(use_case, opened, made))
            return Report(name, problems)
        except NotRun as error:
            return Report(name, [], f"leakage: {error.message}")


# -- the files -------------------------------------------------------------------------


def files(name: str) -> Iterator[str]:
    """Yield the faults of the files, without running a statement."""
    from propensity.streaming.events.types import Catalogue

    try:
        use_case = usecases.load(name)
        if use_case.stream.events:
            Catalogue([use_case])
    except UseCaseError as error:
        yield from error.message.splitlines()
        return
    yield from _model(use_case)


def _model(use_case: UseCase) -> Iterator[str]:
    """Yield the faults of model.py and candidates, each fitted to generated rows."""
    from propensity.learning import candidates
    from propensity.registry.versions import pickled

    try:
        task = use_case.task(Settings(project="sandbox"))
        preprocessor = candidates.preprocessor_of(task)
        encoded, part = candidates.check_preprocessor(preprocessor, use_case.features)
        # Training pickles it, which a lambda in it prevents.
        pickled(preprocessor)
    except PropensityError as error:
        yield f"{use_case.name}/model.py: {error.message}"
        return
    except (Exception, SystemExit) as error:
        yield (
            f"{use_case.name}/model.py cannot be used. Correct it: "
            f"{type(error).__name__}: {error}"
        )
        return
    for candidate in use_case.candidates:
        if candidate.algorithm in (MEAN, FOREST):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                candidates.fit(candidate, encoded, part, seed=1)
        except UseCaseError as error:
            yield f"{use_case.name}/usecase.toml: {error.message}"


# -- the statements --------------------------------------------------------------------


def faults_of_statements(use_case: UseCase) -> list[str]:
    """
    Return the fault of the first wrong statement.

    Those after it may include it, and would be wrong for the same reason.
    """
    settings = Settings(project="sandbox")
    window = use_case.window(settings, [AS_OF])
    serving = use_case.serving(settings, ["user.00"], first_event_day=AS_OF)
    shared = window | {
        "use_case": use_case.name,
        "prediction_as_of": AS_OF,
        "maximum_rows": 1_000,
    }
    keys = {"as_of": "DATE", "user_id": "STRING"}
    # Types that a model reads as a number.
    number = "FLOAT64 or INT64"
    kinds = {
        name: number if kind == NUMBER else "STRING"
        for name, kind in use_case.features.items()
    }
    stream = {"user_id": "STRING", "scored_until": "TIMESTAMP", **kinds}
    if use_case.stream.elapsed:
        stream["scored_from"] = "TIMESTAMP"
    for name, parameters, columns in (
        ("features", window, {**keys, use_case.baseline.feature: number, **kinds}),
        ("labels", window, keys),
        ("keys", window, {**keys, "browsers": "ARRAY<STRING>"}),
        ("days", window, {"day": "DATE", "n_events": "INT64"}),
        ("converter_amounts", window, {**keys, "amount": "NUMERIC"}),
        ("stream_rows", serving, stream),
        # They include those of a use case.
        ("training_rows", shared, {}),
        ("evaluation_rows", shared, {}),
    ):
        if columns and not use_case.has_statement(name):
            continue
        problems = list(_statement(use_case, name, parameters, columns))
        if problems:
            return problems
    return []


def _statement(
    use_case: UseCase,
    name: str,
    parameters: Mapping[str, Any],
    columns: Mapping[str, str],
) -> Iterator[str]:
    """Yield what Google's analyzer finds in a statement, and columns that are wrong."""
    file = f"{use_case.name}/{name}.sql"
    try:
        lines = use_case.lines(name)
    except UseCaseError as error:
        yield f"{file}: {error.message.removeprefix(f'{file} ')}"
        return
    sql = statements.joined(lines)
    relations = _relations(use_case)
    existing = set(relations).union(tables.views(""))
    if use_case.has_statement(name):
        for table in googlesql.tables_of(sql):
            if "*" in table or (table not in existing and "." not in table):
                yield (
                    f"{file} reads {table}, which a deployment does not have. For "
                    f"events of the export, read {USER_DAYS.name}, "
                    f"{CONVERSIONS.name} or {VIEW}"
                )
                return
    given = {
        key: type_of_parameter(key, value)
        for key, value in parameters.items()
        if f"@{key}" in sql
    }
    try:
        types = googlesql.columns(sql, relations, given)
    except googlesql.Refused as error:
        written_at = file
        if error.line:
            line = lines[error.line - 1]
            # What stands around a statement is not the user's to mend.
            if line.statement != declaration.READING:
                written_at = f"{line.file}:{line.number}"
        yield f"{written_at}: {error}{advice(str(error))}"
        return
    if not types:
        # The analyzer has no types for what only BigQuery knows.
        return
    for column, wanted in columns.items():
        if column not in types:
            yield f"{file} does not return the column {column}; add it"
        elif types[column] not in wanted.split(" or "):
            yield f"{file} returns {column} as {types[column]}; make it {wanted}"


def advice(error: str) -> str:
    """Say which count to read in the place of one that the digest lacks."""
    if not _UNKNOWN_COUNT.search(error):
        return ""
    counts = [name for name in USER_DAYS.types if name.startswith("n_")]
    return (
        f". {USER_DAYS.name} has {', '.join(counts)}; purchases are in "
        f"{CONVERSIONS.name}. Count other events from {VIEW}"
    )


def _relations(use_case: UseCase) -> Mapping[str, googlesql.Columns]:
    """Return the columns of all that a statement may read, by name."""
    view = list(GA_EVENTS) + list(columns_of_values(use_case.export_values))
    relations = dict(googlesql.deployment())
    relations[VIEW] = {column.name: column.type for column in view}
    for source in use_case.sources.values():
        relations[source.table] = source.types
    if use_case.own_events:
        relations[use_case.own_events.table] = use_case.own_events.types
    return relations


# -- leakage ---------------------------------------------------------------------------


def _leaks(
    use_case: UseCase, sandbox: Any, made: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Yield features and labels that see events which they must not see."""
    horizon = AS_OF + timedelta(days=use_case.horizon_days)
    ends = {
        "features": AS_OF,
        "keys": AS_OF,
        "labels": horizon,
        "converter_amounts": horizon,
    }
    names = [name for name in ends if use_case.has_statement(name)]
    every = dict[str, pd.DataFrame]()
    before = dict[str, pd.DataFrame]()
    # Loading takes longest: what reads the same events is run after one, and each has
    # fewer days than the one before.
    for until in (None, horizon, AS_OF):
        read = [name for name in names if until in (None, ends[name])]
        _load(use_case, sandbox, made, until)
        for name in read:
            try:
                rows = _rows(use_case, sandbox, name)
            except NotRun as error:
                reason = f"{use_case.name}/{name}.sql needs BigQuery: {error.message}"
                raise NotRun(reason) from None
            except PropensityError as error:
                yield f"{use_case.name}/{name}.sql: {error.message}"
                return
            if until is None:
                every[name] = rows
            else:
                before[name] = rows
    for name in names:
        file = f"{use_case.name}/{name}.sql"
        if every[name].index.has_duplicates:
            yield (
                f"{file} returns several rows for a user and date. It must return one: "
                "look for a join that multiplies rows"
            )
            return
        if name == "keys" and not every[name].index.equals(every["features"].index):
            yield (
                f"{file} returns other users than features.sql. Change it likewise, "
                "or remove it: a training then computes the features of all users"
            )
            return
        changed = _changed(every[name], before[name])
        if name == "features":
            columns = {"user_id", use_case.baseline.feature}.union(use_case.features)
            for feature in sorted(columns.intersection(changed)):
                yield f"{file}: {feature} {LEAKS}"
        elif changed:
            yield (
                f"{file} sees an event after its horizon; end before as_of plus "
                "@horizon_days"
            )


def _judged(
    use_case: UseCase, sandbox: Any, made: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Yield statements of which Google's evaluator has other rows, of a few users."""
    _load(use_case, sandbox, [row for row in made if row["user_id"] in JUDGED], None)
    window = use_case.window(sandbox.warehouse.settings, [AS_OF])
    relations = _relations(use_case)
    tables = dict[str, Any]()
    types = dict[str, googlesql.Columns]()
    for name in ("features", "keys", "labels", "days", "converter_amounts"):
        if not use_case.has_statement(name):
            continue
        sql = use_case.statement(name)
        for table in googlesql.tables_of(sql).difference(tables):
            rows = sandbox.rows_of(table)
            types[table] = {
                column: kind
                for column, kind in relations[table].items()
                if column in rows.column_names
            }
            tables[table] = rows.select(list(types[table]))
        given = {
            key: (type_of_parameter(key, value), value)
            for key, value in window.items()
            if f"@{key}" in sql
        }
        try:
            expected = evaluator.rows_of(sql, tables, types, given)
        except evaluator.NotJudged:
            continue
        except googlesql.Refused as error:
            yield f"{use_case.name}/{name}.sql fails in BigQuery: {error}"
            continue
        found = evaluator.difference(sandbox.table(sql, window), expected)
        if found:
            yield (
                f"{use_case.name}/{name}.sql returns other rows in BigQuery than on "
                f"this machine: {found}"
            )


def _load(
    use_case: UseCase,
    sandbox: Any,
    events: Sequence[Mapping[str, Any]],
    until: date | None,
) -> None:
    """Load the events before a day, or all."""
    end = math.inf if until is None else midnight(until).timestamp() * 1e6
    seen = [row for row in events if row["event_timestamp"] < end]
    if use_case.reads_export:
        sandbox.load(seen)
    own_events = use_case.own_events
    if own_events:
        sandbox.load_source(own_events, made_up.own_events(own_events, seen))
    for source in use_case.sources.values():
        made = made_up.source_rows(source, AS_OF, is_leaking=until is None)
        sandbox.load_source(source, made)


def _rows(use_case: UseCase, sandbox: Any, name: str) -> pd.DataFrame:
    """Return a statement's rows, by date and user."""
    window = use_case.window(sandbox.warehouse.settings, [AS_OF])
    frame = sandbox.table(use_case.statement(name), window).to_pandas()
    return frame.set_index(["as_of", "user_id"]).sort_index()


def _changed(every: pd.DataFrame, before: pd.DataFrame) -> list[str]:
    """Return the columns that differ; user_id where there are other rows."""
    changed = []
    common = every.index.intersection(before.index)
    if len(common) < len(every) or len(common) < len(before):
        changed.append("user_id")
    every = every.loc[common]
    before = before.loc[common]
    for name in before.columns:
        try:
            # Sums of floats differ by their order alone.
            pd.testing.assert_series_equal(every[name], before[name], rtol=1e-9)
        except AssertionError:
            changed.append(name)
    return changed
