"""
Check a use case: report what is wrong with its folder, by file and line.

Its files are read first, and its statements by Google's own analyzer. Then the leak
test runs on an emulated BigQuery: features as of a day, on all events and on events
before that day, are the same rows; so are labels, on all events and on those before the
horizon's end. It overwrites the export: never run it on a deployment.
"""

from __future__ import annotations

import math
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from offline.usecases import events, googlesql, source_rows, sources
from propensity import usecases
from propensity.errors import PropensityError, RequestError, UseCaseError
from propensity.gcp.warehouse import type_of_parameter
from propensity.ids import NAME
from propensity.pages.words import plural
from propensity.privacy import consent
from propensity.runs.compact import VIEW as STREAM_FEATURES
from propensity.settings import Settings
from propensity.tables import every as tables
from propensity.timeframe import midnight
from propensity.usecases import NUMBER, Problem, UseCase, declaration, export

# A statement that a use case whose outcomes have amounts has.
AMOUNTS = "converter_amounts"
AS_OF = date(2026, 3, 2)
MAXIMUM_ROWS = 1_000
# Statements that include those of a use case.
INCLUDING = ("training_rows", "evaluation_rows")
# What a model reads as a number.
NUMBERS = "FLOAT64 or INT64"
# A moment of a source that is known ahead, as the end of a contract is, may be later.
LEAKS = (
    "sees an event at or after its as-of date, or a moment in a source that is filled "
    "later: compare it with as_of, or name the source's column under plans"
)
_LITERAL = re.compile(r"'([A-Za-z][A-Za-z0-9_]{0,39})'")


@dataclass(frozen=True)
class Report:
    """The result of a check; ``skipped`` says what was not checked, and why."""

    name: str
    problems: Sequence[Problem] = ()
    passed: Sequence[str] = ()
    skipped: Sequence[str] = ()

    def __str__(self) -> str:
        lines = [problem.located(self.name) for problem in self.problems]
        lines += [f"ok: {check}" for check in self.passed]
        lines += [f"not checked: {check}" for check in self.skipped]
        found = plural(len(self.problems), "problem")
        total = found if self.problems else "nothing is wrong"
        return "\n".join([*lines, f"{self.name}: {total}"])

    def fields(self) -> dict[str, object]:
        """Return the report for a program."""
        folder = f"propensity/usecases/{self.name}"
        problems = [
            {**vars(problem), "file": f"{folder}/{problem.file}"}
            for problem in self.problems
        ]
        entries = {"use_case": self.name, "problems": problems}
        return {**entries, "passed": self.passed, "skipped": self.skipped}


def check(name: str, sandbox: Callable[[], Any]) -> Report:
    """
    Check a use case.

    Args:
        sandbox: Opens an emulated BigQuery as a context, with ``warehouse`` and
            ``load(events)``; called only if the files are right.

    Raises:
        RequestError: There is no such use case.
    """
    if not NAME.fullmatch(name) or not (usecases.FOLDER / name).is_dir():
        raise RequestError(
            f"there is no use case {name[:64]!r}; there are "
            f"{', '.join(usecases.names())}",
            field="name",
        )
    problems = [*files(name)]
    if problems:
        return Report(name, problems, skipped=["statements: first correct the files"])
    use_case = usecases.load(name)
    passed = ["usecase.toml, candidates and model"]
    if use_case.scores_events:
        return Report(name, [], passed, ["features are the event's own fields"])
    settings = Settings(project="sandbox")
    problems = [*_statements(use_case, settings)]
    if problems:
        return Report(name, problems, passed)
    passed.append("Google's analyzer takes the statements; their columns and kinds")
    if not use_case.reads_export:
        return Report(
            name, [], passed, ["leakage: made-up events are of the GA4 export"]
        )
    with sandbox() as opened:
        problems = [*_leaks(use_case, opened)]
    if not problems:
        passed.append("no feature sees an event at or after its as-of date")
        passed.append("no label sees an event after its horizon")
    return Report(name, problems, passed)


# -- the files -------------------------------------------------------------------------


def files(name: str) -> Iterator[Problem]:
    """Yield what is wrong with the files, without running a statement."""
    folder = Path(str(usecases.FOLDER), name)
    if not (folder / declaration.FILE).is_file():
        yield Problem(declaration.FILE, 1, "is missing")
        return
    for file in sorted(folder.iterdir()):
        if file.suffix in (".toml", ".sql"):
            try:
                file.read_bytes().decode()
            except UnicodeDecodeError as error:
                yield usecases.not_utf8(file.name, error)
                return
    text = usecases.text(name, declaration.FILE)
    if problems := declaration.problems(text):
        yield from problems
        return
    use_case = usecases.parse(name, text)
    yield from usecases.missing_statements(use_case)
    yield from _sources(use_case)
    yield from _events(use_case)
    yield from _preprocessor(use_case) or _candidates(use_case)


def _candidates(use_case: UseCase) -> Iterator[Problem]:
    """Yield wrong parameters of candidates, by fitting each to a few made-up rows."""
    from propensity.learning import candidates
    from propensity.learning.preprocessor import (
        check_preprocessor,
        default_preprocessor,
    )

    rows, label = check_preprocessor(default_preprocessor(use_case), use_case)
    for number, candidate in enumerate(use_case.candidates):
        if candidate.algorithm in (declaration.MEAN, declaration.FOREST):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                candidates.estimator(candidate, seed=1).fit(rows, label)
        except (UseCaseError, ValueError, TypeError) as error:
            message = str(error).split("\n")[0]
            names = [name for name in candidate.parameters if f"'{name}'" in message]
            path: declaration.Path = ("candidates", number, "parameters", *names[:1])
            yield sources.declared_at(use_case.name, path, message)


def _sources(use_case: UseCase) -> Iterator[Problem]:
    """Yield sources of which no rows can be made up."""
    for source in use_case.sources:
        if not source.columns:
            yield sources.declared_at(
                use_case.name,
                ("sources", source.name),
                "names no columns: name those that features.sql reads, with their "
                f"types, under [sources.{source.name}.columns]. A check makes up rows "
                "of them, and a run reads no others",
            )


def _events(use_case: UseCase) -> Iterator[Problem]:
    """Yield what is wrong with the types of events that a use case takes."""
    from propensity.events.types import Catalogue

    if use_case.events:
        try:
            Catalogue([use_case])
        except UseCaseError as error:
            yield sources.declared_at(use_case.name, ("stream",), error.message)


def _preprocessor(use_case: UseCase) -> list[Problem]:
    """Return what is wrong with model.py."""
    from propensity.learning.preprocessor import check_preprocessor
    from propensity.registry.versions import pickled

    if not (usecases.FOLDER / use_case.name / "model.py").is_file():
        return []
    try:
        model: Any = use_case.model
        preprocessor = model.preprocessor(use_case)
        check_preprocessor(preprocessor, use_case)
        # As training stores it: not with a lambda in it.
        pickled(preprocessor)
    except (Exception, SystemExit) as error:
        line = getattr(error, "lineno", None) or 1
        for frame, number in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename.endswith(f"{use_case.name}/model.py"):
                line = number
        return [Problem("model.py", line, f"{type(error).__name__}: {error}")]
    return []


# -- the statements --------------------------------------------------------------------


def _statements(use_case: UseCase, settings: Settings) -> Iterator[Problem]:
    """
    Yield what is wrong with the first statement that is not right.

    Those after it may include it, and would be wrong for the same reason.
    """
    window = use_case.window(settings, [AS_OF])
    beside = {
        "use_case": use_case.name,
        "prediction_as_of": AS_OF,
        "maximum_rows": MAXIMUM_ROWS,
    }
    serving = use_case.serving(settings, ["user.00"], first_event_day=AS_OF)
    keys = {"as_of": "DATE", "user_id": "STRING"}
    features = {
        name: NUMBERS if kind == NUMBER else "STRING"
        for name, kind in use_case.features.items()
    }
    stream = {"user_id": "STRING", "scored_until": "TIMESTAMP", **features}
    for name, parameters, columns in (
        ("features", window, {**keys, **features}),
        ("labels", window, keys),
        ("days", window, {"day": "DATE", "n_events": "INT64"}),
        (AMOUNTS, window, {**keys, "amount": "NUMERIC"}),
        ("stream_rows", serving, stream),
        *((name, {**window, **beside}, {}) for name in INCLUDING),
    ):
        if name not in INCLUDING and not use_case.has_statement(name):
            continue
        if problems := [*_statement(use_case, name, parameters, columns)]:
            yield from problems
            return


def _statement(
    use_case: UseCase,
    name: str,
    parameters: Mapping[str, Any],
    columns: Mapping[str, str],
) -> Iterator[Problem]:
    """Yield what Google's analyzer says of a statement, and columns that are wrong."""
    try:
        lines = sources.lines(use_case.name, name)
    except sources.NotIncluded as error:
        yield sources.at_line(error.line, str(error))
        return
    sql = sources.joined(lines)
    given = {
        key: type_of_parameter(key, value)
        for key, value in parameters.items()
        if f"@{key}" in sql
    }
    known = _relations(use_case)
    there = {*known, *tables.views(""), STREAM_FEATURES}
    for table in googlesql.tables_of(sql) if use_case.has_statement(name) else ():
        if "*" in table or (table not in there and "." not in table):
            yield sources.at_line(
                sources.find(lines, table) or sources.place(lines, ""),
                f"reads {table}, which is no table of a deployment: events of the "
                f"export are in {export.VIEW}",
            )
            return
    try:
        types = googlesql.columns(sql, known, given)
    except googlesql.Refused as error:
        line = lines[error.line - 1] if error.line else sources.place(lines, str(error))
        yield sources.at_line(line, str(error))
        return
    # It has none of what BigQuery alone knows.
    for column, wanted in columns.items() if types else ():
        found = types.get(column, "missing")
        message = f"column {column} is {found} instead of {wanted}"
        if found == "missing" and column in use_case.features:
            message = f"{name}.sql gives no column {column}"
            yield sources.declared_at(use_case.name, ("features", column), message)
        elif found not in wanted.split(" or "):
            yield sources.at_column(lines, column, message)


def _relations(use_case: UseCase) -> Mapping[str, googlesql.Columns]:
    """Return the columns of all that a statement may read, by name."""
    view = (*tables.GA_EVENTS, *export.columns(use_case.export_values))
    return {
        **{table.name: table.types for table in tables.TABLES},
        export.VIEW: {column.name: column.type for column in view},
        **{source.table: source.types for source in use_case.sources},
    }


# -- leakage ---------------------------------------------------------------------------


def _leaks(use_case: UseCase, sandbox: Any) -> Iterator[Problem]:
    """Yield features and labels that see events which they must not see."""
    made_up = _events_of(use_case, sandbox.warehouse.settings)
    horizon = AS_OF + timedelta(days=use_case.horizon_days)
    for name, until in (("features", AS_OF), ("labels", horizon), (AMOUNTS, horizon)):
        if not use_case.has_statement(name):
            continue
        lines = sources.lines(use_case.name, name)
        try:
            every = _rows(use_case, sandbox, made_up, name, None)
            before = _rows(use_case, sandbox, made_up, name, until)
        except PropensityError as error:
            line = sources.place(lines, error.message)
            yield sources.at_line(line, error.message)
            return
        if _index(every).has_duplicates:
            problem = "gives a user more than one row of a date"
            yield sources.at_column(lines, "user_id", problem)
            return
        changed = _changed(every, before)
        if name == "features":
            for feature in {*changed} & {"user_id", *use_case.features}:
                yield sources.at_column(lines, feature, f"{feature} {LEAKS}")
        elif changed:
            line = sources.find(lines, "horizon_days", last=True) or sources.column(
                lines, "as_of"
            )
            yield sources.at_line(line, "sees an event after its horizon")


def _events_of(use_case: UseCase, settings: Settings) -> list[Mapping[str, Any]]:
    """Return made-up events of all kinds that the statements name."""
    code = re.sub("--.*", "", "".join(sources.statements(use_case.name).values()))
    chosen = use_case.chosen(settings).values()
    named = {*_LITERAL.findall(code), *(one for one in chosen if isinstance(one, str))}
    return list(
        events.events(
            AS_OF,
            lookback=use_case.lookback_days,
            horizon=use_case.horizon_days,
            names=[*events.NAMES, *sorted(named - {*events.NAMES})],
            values=use_case.export_values,
        )
    )


def _rows(
    use_case: UseCase,
    sandbox: Any,
    made_up: Sequence[Mapping[str, Any]],
    name: str,
    until: date | None,
) -> pd.DataFrame:
    """Return the rows of a statement on events before a day; None for all events."""
    end = math.inf if until is None else midnight(until).timestamp() * 1e6
    sandbox.load(row for row in made_up if row["event_timestamp"] < end)
    settings = sandbox.warehouse.settings
    view = consent.events_view(settings.export, require="false")
    sandbox.warehouse.replace_view(export.VIEW, view)
    for source in use_case.sources:
        made = source_rows.rows(source, AS_OF, is_leaking=until is None)
        sandbox.load_source(source, made)
    window = use_case.window(settings, [AS_OF])
    frame = sandbox.warehouse.table(use_case.statement(name), window).to_pandas()
    return frame.sort_values(["as_of", "user_id"], ignore_index=True)


def _index(rows: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(rows[["as_of", "user_id"]])


def _changed(every: pd.DataFrame, before: pd.DataFrame) -> list[str]:
    """Return the columns that differ; user_id where there are other rows."""
    common = _index(every).intersection(_index(before))
    changed = [] if len(common) == len(every) == len(before) else ["user_id"]
    every, before = (
        rows[_index(rows).isin(common)].reset_index(drop=True)
        for rows in (every, before)
    )
    for name in before.columns:
        try:
            # Sums of floats differ by their order alone.
            pd.testing.assert_series_equal(every[name], before[name], rtol=1e-9)
        except AssertionError:
            changed.append(name)
    return changed
