"""
Check a use case: what is wrong with its folder, by file and line.

Its declarations and its candidates are read first; where these are right, its
statements are run over made-up events, and once more with events that they may not
read. What runs here needs an emulated BigQuery, and writes to the dataset of an export:
it is never a deployment's.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Protocol

import pyarrow as pa
import sqlglot
from sqlglot.errors import SqlglotError

from offline.usecases import canaries, sources
from offline.usecases.canaries import Row
from offline.usecases.sources import Line
from propensity import usecases
from propensity.edges.warehouse import Warehouse
from propensity.errors import PropensityError, RequestError, UseCaseError
from propensity.privacy import consent
from propensity.usecases import NUMBER, Problem, UseCase, declaration, export

AS_OF = date(2026, 3, 2)
DAY = timedelta(days=1)
MAXIMUM_ROWS = 1_000

_LITERAL = re.compile(r"'([A-Za-z][A-Za-z0-9_]{0,39})'")
_PARAMETER = re.compile(r"@(\w+)")
# The client's own words before what BigQuery says.
_REQUEST = re.compile(r"\b(POST|GET) https?://\S+: ")
_STATEMENT = re.compile(r"(--.*\n|\s)*(SELECT|WITH)\b", re.IGNORECASE)
_OPENING = re.compile(r"(--[^\n]*\n)*--[^\n]*\bone row\b", re.IGNORECASE)
_WILDCARD = re.compile(r"`[^`]*\*`")


class Place(Protocol):
    """An emulated BigQuery whose tables and views are there."""

    @property
    def warehouse(self) -> Warehouse:
        """The edge to it."""

    def load(self, rows: Iterable[Row]) -> None:
        """Load events of the export; each day's table is replaced."""


@dataclass(frozen=True)
class Report:
    """What a check came to; ``skipped`` says what was not looked at, and why."""

    name: str
    problems: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()
    skipped: Sequence[str] = ()
    passed: Sequence[str] = field(default=())

    def __str__(self) -> str:
        """Return what a person reads."""
        said = [f"{one.located(self.name)}" for one in self.problems]
        said += [f"{one.located(self.name)} (warning)" for one in self.warnings]
        said += [f"ok: {one}" for one in self.passed]
        said += [f"not checked: {one}" for one in self.skipped]
        count = len(self.problems)
        wrong = f"{count} problem{'s' * (count != 1)}" if count else "nothing is wrong"
        return "\n".join([*said, f"{self.name}: {wrong}"])

    def fields(self) -> dict[str, object]:
        """Return what a program reads."""

        def listed(problems: Sequence[Problem]) -> list[dict[str, object]]:
            return [
                {
                    "file": f"propensity/usecases/{self.name}/{one.file}",
                    "line": one.line,
                    "message": one.message,
                }
                for one in problems
            ]

        return {
            "use_case": self.name,
            "problems": listed(self.problems),
            "warnings": listed(self.warnings),
            "passed": [*self.passed],
            "skipped": [*self.skipped],
        }


def declared(name: str) -> Report:
    """
    Check what can be read without running anything: all files of the folder.

    Raises:
        RequestError: There is no such use case.
    """
    if not usecases.NAME.fullmatch(name) or name not in usecases.names():
        raise RequestError(
            f"there is no use case {name[:64]!r}; there are "
            f"{', '.join(usecases.names())}",
            field="name",
        )
    text = _text(name, declaration.FILE)
    if wrong := declaration.problems(text):
        return Report(name, wrong)
    use_case = usecases.parse(name, text)
    wrong = usecases.missing_statements(use_case)
    wrong += _candidates(use_case, text)
    wrong += _events(use_case)
    wrong += _preprocessor(use_case)
    files = [*_files(name)]
    for file in files:
        wrong += _statement(use_case, file.removesuffix(".sql"))
    used = "".join(_text(name, file) for file in files)
    warnings = [
        Problem(
            declaration.FILE,
            declaration.line_of(declaration.lines(text), ("parameters", one)),
            f"no statement has @{one}",
        )
        for one in use_case.parameters
        if not re.search(rf"@{one}\b", used) and one not in _READ_OTHERWISE
    ]
    return Report(
        name,
        sorted(set(wrong)),
        warnings,
        passed=[] if wrong else ["usecase.toml, candidates and statements"],
    )


# Statements that include those of a use case.
_INCLUDING = ("training_rows", "evaluation_rows")

# Parameters that the package reads of a use case, and no statement has to.
_READ_OTHERWISE = {"label_known_days"}


def check(name: str, place: Callable[[], Any]) -> Report:
    """
    Check a use case whole: its files, and its statements over made-up events.

    Args:
        name: Of its folder.
        place: Opens a ``Place``, as a context; it is called where the files are right.

    Raises:
        RequestError: There is no such use case.
    """
    found = declared(name)
    if found.problems:
        return Report(
            name,
            found.problems,
            found.warnings,
            skipped=["what the statements give: first correct what is above"],
        )
    use_case = usecases.load(name)
    if use_case.scores_events:
        return Report(
            name,
            warnings=found.warnings,
            passed=found.passed,
            skipped=["leakage: the features are the event's own fields"],
        )
    with place() as opened:
        if use_case.reads_export:
            run = OverExport(use_case, opened)
            problems, warnings = run.check()
            passed: Sequence[str] = () if problems else run.passed
            skipped: Sequence[str] = ()
        else:
            problems = [*_dry_run(use_case, opened.warehouse, dates_of(use_case))]
            warnings = []
            passed = ("its statements run",) if not problems else ()
            skipped = (
                "leakage: the made-up events are of the GA4 export, and the features "
                "are made of others",
            )
    return Report(
        name,
        sorted(set(problems)),
        [*found.warnings, *warnings],
        skipped,
        [*found.passed, *passed],
    )


def dates_of(use_case: UseCase) -> tuple[date, date]:
    """Return two as-of dates of a use case, a horizon apart."""
    return AS_OF, AS_OF + use_case.horizon_days * DAY


# -- without running anything ----------------------------------------------------------


def _files(name: str) -> Iterator[str]:
    """Yield the names of a use case's statements."""
    folder = usecases.FOLDER / name
    yield from sorted(one.name for one in folder.iterdir() if one.name.endswith(".sql"))


def _text(name: str, file: str) -> str:
    return (usecases.FOLDER / name / file).read_text("utf-8")


def _candidates(use_case: UseCase, text: str) -> list[Problem]:
    """Return what is wrong with parameters of candidates, by making each."""
    from propensity.learning import fit

    places = declaration.lines(text)
    found = []
    for number, candidate in enumerate(use_case.candidates):
        if candidate.algorithm in (declaration.MEAN, declaration.FOREST):
            continue
        try:
            model = fit.estimator(candidate, [], seed=1)
            # Values are looked at when a model is fitted, and not when it is made.
            model._validate_params()
        except (UseCaseError, ValueError) as error:
            said = str(error)
            at: declaration.Path = ("candidates", number, "parameters")
            named = [one for one in candidate.parameters if f"'{one}'" in said]
            line = declaration.line_of(places, (*at, *named[:1]))
            found.append(Problem(declaration.FILE, line, said))
    return found


def _events(use_case: UseCase) -> list[Problem]:
    """Return what is wrong with the types of events that are taken."""
    from propensity.events.catalogue import Catalogue

    if not use_case.events:
        return []
    try:
        Catalogue([use_case])
    except UseCaseError as error:
        places = declaration.lines(_text(use_case.name, declaration.FILE))
        line = declaration.line_of(places, ("stream",))
        return [Problem(declaration.FILE, line, error.message)]
    return []


def _preprocessor(use_case: UseCase) -> list[Problem]:
    """Return what is wrong with model.py."""
    from propensity.learning.preprocessor import check_preprocessor

    if not (usecases.FOLDER / use_case.name / "model.py").is_file():
        return []
    try:
        module = use_case.model
        make = getattr(module, "preprocessor", None)
        if make is None:
            return []
        check_preprocessor(make(use_case), use_case)
    except Exception as error:
        traced = error.__traceback__
        line = 1
        while traced is not None:
            if traced.tb_frame.f_code.co_filename.endswith(f"{use_case.name}/model.py"):
                line = traced.tb_lineno
            traced = traced.tb_next
        line = getattr(error, "lineno", None) or line
        return [Problem("model.py", line, f"{type(error).__name__}: {error}")]
    return []


def _statement(use_case: UseCase, name: str) -> list[Problem]:
    """Return what is wrong with the text of a statement."""
    text = _text(use_case.name, f"{name}.sql")
    try:
        whole = sources.lines(use_case.name, name)
    except sources.Missing as error:
        return [Problem(error.line.file, error.line.number, str(error))]
    found = []
    given = declaration.GIVEN | {*use_case.parameters}
    for line in whole:
        at = (line.file, line.number)
        found += [
            Problem(*at, f"no run gives @{one}; declare it under [parameters]")
            for one in _PARAMETER.findall(line.code)
            if one not in given
        ]
        if _WILDCARD.search(line.code):
            found.append(
                Problem(*at, f"only {export.VIEW} names the tables of the export")
            )
    if not _STATEMENT.match(text):
        return found
    if not _OPENING.match(text):
        found.append(
            Problem(f"{name}.sql", 1, "the first comment says one row per what it has")
        )
    if text.rstrip().endswith(";"):
        last = len(text.rstrip().splitlines())
        found.append(
            Problem(f"{name}.sql", last, "ends with a semicolon, and is included")
        )
        return found
    try:
        sqlglot.parse_one("\n".join(line.text for line in whole), dialect="bigquery")
    except SqlglotError as error:
        details: list[Any] = getattr(error, "errors", [])
        number = int(details[0].get("line") or 1) if details else 1
        said = str(details[0]["description"]) if details else str(error).split("\n")[0]
        line = whole[min(number, len(whole)) - 1]
        found.append(Problem(line.file, line.number, f"is no SQL: {said}"))
    return found


# -- over made-up events ---------------------------------------------------------------


@contextlib.contextmanager
def _placed(use_case: UseCase, name: str) -> Iterator[None]:
    """Raise what a statement is refused for as ``Refused``, with its place."""
    try:
        yield
    except PropensityError as error:
        line = sources.place(sources.lines(use_case.name, name), error.message)
        said = _REQUEST.sub("", error.message)
        raise Refused(Problem(line.file, line.number, said)) from error


class Refused(Exception):
    """A statement does not run."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def _dry_run(
    use_case: UseCase,
    warehouse: Warehouse,
    as_ofs: Sequence[date],
    names: Sequence[str] = (*usecases.STATEMENTS, *_INCLUDING),
) -> Iterator[Problem]:
    """Yield what is wrong with statements of training and evaluation."""
    window = use_case.window(warehouse.settings, as_ofs)
    scored = {"use_case": use_case.name, "prediction_as_of": as_ofs[0]}
    runs: Mapping[str, Mapping[str, Any]] = {
        "first_day": {"earliest": window["earliest"]},
        "features": window,
        "labels": window,
        "training_rows": {**window, "maximum_rows": MAXIMUM_ROWS},
        "evaluation_rows": {**window, **scored},
    }
    for name in names:
        sql, values = use_case.statement(name), runs[name]
        given = {key: value for key, value in values.items() if f"@{key}" in sql}
        try:
            with _placed(use_case, name):
                warehouse.dry_run(sql, given)
        except Refused as refused:
            # What includes this statement would be refused for the same.
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

    def __init__(self, use_case: UseCase, place: Place) -> None:
        self.use_case = use_case
        self.place = place
        self.warehouse = place.warehouse
        self.features = sources.lines(use_case.name, "features")
        self.labels = sources.lines(use_case.name, "labels")
        files = [_text(use_case.name, file) for file in _files(use_case.name)]
        code = re.sub("--.*", "", "".join(files))
        own = [one for one in use_case.parameters.values() if isinstance(one, str)]
        chosen = use_case.chosen(self.warehouse.settings).values()
        sought = {
            *_LITERAL.findall(code),
            *own,
            *(one for one in chosen if isinstance(one, str)),
        }
        names = [*canaries.NAMES, *sorted(sought - {*canaries.NAMES})]
        self.maker = canaries.Maker(names, use_case.export_values)

    def check(self) -> tuple[list[Problem], list[Problem]]:
        """Return problems and warnings."""
        try:
            return self._checked()
        except Refused as refused:
            return [refused.problem], []

    def _checked(self) -> tuple[list[Problem], list[Problem]]:
        use_case, maker = self.use_case, self.maker
        spans = {
            "lookback": use_case.lookback_days,
            "horizon": use_case.horizon_days,
        }
        first, second = dates_of(use_case)
        history = [
            *maker.history(first, **spans),
            *maker.history(second, **spans),
        ]
        self.load(history)
        as_ofs = (first, second)
        found = [*_dry_run(use_case, self.warehouse, as_ofs, usecases.STATEMENTS)]
        warnings: list[Problem] = []
        if found:
            return found, warnings
        both = self.read("features", first, second)
        found += self.shape(both)
        labels = self.read("labels", first, second)
        found += self.shape_of_labels(labels)
        # Those are refused for what is wrong with the columns of these.
        found += () if found else _dry_run(use_case, self.warehouse, as_ofs, _INCLUDING)
        if found:
            return found, warnings
        warnings += self.empty(both, labels)
        alone = self.rows(self.read("features", first))
        found += self.differing(
            alone,
            {key: row for key, row in self.rows(both).items() if key[0] == first},
            "is another where a further as-of date is read beside it",
        )
        known = self.keys(self.read("labels", first))
        end = first + use_case.horizon_days * DAY
        self.load([*history, *maker.beyond(end)])
        found += self.leaking_labels(known, self.keys(self.read("labels", first)))
        self.load([*history, *maker.later(first, horizon=use_case.horizon_days)])
        found += self.differing(
            alone,
            self.rows(self.read("features", first)),
            "sees an event at or after its as-of date: that is what the model is "
            "asked to foresee",
        )
        self.load([*history, *maker.older(first - use_case.lookback_days * DAY)])
        found += self.differing(
            alone,
            self.rows(self.read("features", first)),
            "sees an event before its lookback began",
        )
        return found, warnings

    def load(self, rows: Iterable[Row]) -> None:
        """Have the export hold these events and no others."""
        self.place.load(rows)
        settings = self.warehouse.settings
        view = consent.events_view(settings.export, require="false")
        self.warehouse.replace_view(export.VIEW, view)

    def read(self, name: str, *as_ofs: date) -> pa.Table:
        """Return the rows of a statement for some as-of dates."""
        window = self.use_case.window(self.warehouse.settings, as_ofs)
        with _placed(self.use_case, name):
            return self.warehouse.table(self.use_case.statement(name), window)

    def shape(self, rows: pa.Table) -> list[Problem]:
        """Return what is wrong with the columns of features.sql."""
        toml = declaration.lines(_text(self.use_case.name, declaration.FILE))
        found = self._keyed(rows, self.features)
        for name, kind in self.use_case.features.items():
            if name not in rows.column_names:
                line = declaration.line_of(toml, ("features", name))
                found.append(
                    Problem(
                        declaration.FILE, line, f"features.sql gives no column {name}"
                    )
                )
                continue
            type_ = rows.schema.field(name).type
            said = _unlike(kind, type_)
            if said:
                at = self.line(self.features, name)
                found.append(Problem(at.file, at.number, f"{name} {said}"))
        return found

    def shape_of_labels(self, rows: pa.Table) -> list[Problem]:
        """Return what is wrong with the columns of labels.sql."""
        return self._keyed(rows, self.labels)

    def _keyed(self, rows: pa.Table, lines: Sequence[Line]) -> list[Problem]:
        wanted = {"as_of": pa.types.is_date, "user_id": _is_text}
        found = []
        for name, fits in wanted.items():
            at = self.line(lines, name)
            if name not in rows.column_names:
                found.append(Problem(at.file, at.number, f"gives no column {name}"))
            elif not fits(rows.schema.field(name).type):
                kind = "DATE" if name == "as_of" else "STRING"
                said = f"{name} is {rows.schema.field(name).type} instead of {kind}"
                found.append(Problem(at.file, at.number, said))
        if found:
            return found
        keys = [*zip(*(rows[name].to_pylist() for name in wanted), strict=True)]
        at = self.line(lines, "user_id")
        if any(None in key for key in keys):
            found.append(Problem(at.file, at.number, "gives rows without a user"))
        if len({*keys}) < len(keys):
            found.append(
                Problem(
                    at.file,
                    at.number,
                    "gives a user more than one row of an as-of date",
                )
            )
        return found

    def empty(self, rows: pa.Table, labels: pa.Table) -> list[Problem]:
        """Return warnings of what had no value in any row."""
        found = []
        if not len(labels):
            at = self.line(self.labels, "WHERE")
            found.append(
                Problem(at.file, at.number, "no made-up user has label 1: see what is "
                "looked for")
            )  # fmt: skip
        for name in self.use_case.features:
            if rows[name].null_count == len(rows):
                at = self.line(self.features, name)
                found.append(
                    Problem(
                        at.file, at.number, f"{name} is null for every made-up user"
                    )
                )
        return found

    def differing(self, before: _Rows, after: _Rows, what: str) -> Iterator[Problem]:
        """Yield a problem for each feature, and for rows, that are not the same."""
        if before.keys() != after.keys():
            at = self.line(self.features, "user_id")
            yield Problem(at.file, at.number, f"which users have a row {what}")
        for name in self.use_case.features:
            if any(
                not _same(row[name], after[key][name])
                for key, row in before.items()
                if key in after
            ):
                at = self.line(self.features, name)
                yield Problem(at.file, at.number, f"{name} {what}")

    def leaking_labels(self, before: set[Any], after: set[Any]) -> Iterator[Problem]:
        """Yield a problem where later events change who has label 1."""
        if before != after:
            at = self.line(self.labels, "horizon_days")
            yield Problem(
                at.file, at.number, "the label sees an event after its horizon"
            )

    def rows(self, table: pa.Table) -> _Rows:
        """Return rows by their keys."""
        return {(row["as_of"], row["user_id"]): row for row in table.to_pylist()}

    def keys(self, table: pa.Table) -> set[Any]:
        """Return the keys of rows."""
        return {*self.rows(table)}

    def line(self, lines: Sequence[Line], word: str) -> Line:
        """Return the last line that names a column, or that has the word at all."""
        named = sources.find(lines, f"AS {word}", last=True)
        return named or sources.find(lines, word, last=True) or sources.place(lines, "")


_Rows = Mapping[tuple[date, str], Mapping[str, Any]]


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


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        # Sums of floats differ by their order alone.
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9) or (
            math.isnan(one) and math.isnan(other)
        )
    return bool(one == other)
