"""
Check a use case: report what is wrong with its folder, by file and line.

Its files are read first. Where they are right, its statements run over made-up events,
and again with events that they must not read. This needs an emulated BigQuery and
overwrites its export: never run it on a deployment.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot.errors import SqlglotError

from offline.usecases import columns, dialect, leakage, sources
from offline.usecases.report import Report
from offline.usecases.sources import Line
from propensity import usecases
from propensity.errors import RequestError, UseCaseError
from propensity.ids import NAME
from propensity.runs.value import STATEMENT as AMOUNTS
from propensity.settings import Settings
from propensity.usecases import Problem, UseCase, declaration, export

_STATEMENT = re.compile(r"(--.*\n|\s)*(SELECT|WITH)\b", re.IGNORECASE)
_OPENING = re.compile(r"(--[^\n]*\n)*--[^\n]*\bone row\b", re.IGNORECASE)
_WILDCARD = re.compile(r"`[^`]*\*`")
# The parser's own words for a piece of SQL.
_TOKEN = re.compile(r"<Token .*?text: (.*?), line: .*?>")
# Where it looked for the end of a text in vain.
_MISSING = re.compile(r"Missing (\S+) from \d+:")
# Days of the export that are the same in every run.
_CONSTANT_DAY = re.compile(r"table_suffix.*'\d{6,8}'", re.IGNORECASE)

# Parameters of an algorithm that decide for how long it learns, and not whether it can.
_QUICK = {"n_estimators": 2, "max_iter": 2}

# What a statement gives that is the same whenever it runs; the others are of now.
_REPEATED = (*usecases.STATEMENTS, AMOUNTS)
_OF_ITS_MOMENT = (
    *("CURRENT_DATE", "CURRENT_DATETIME", "CURRENT_TIME", "CURRENT_TIMESTAMP"),
    *("RAND", "GENERATE_UUID"),
)

# Parameters that the package reads of a use case, and no statement has to.
_READ_OTHERWISE = ("label_known_days",)


def declared(name: str) -> Report:
    """
    Check the files of a use case, without running a statement.

    Raises:
        RequestError: There is no such use case.
    """
    if not NAME.fullmatch(name) or name not in usecases.names():
        if NAME.fullmatch(name) and (usecases.FOLDER / name).is_dir():
            return Report(name, [Problem(declaration.FILE, 1, "is missing")])
        raise RequestError(
            f"there is no use case {name[:64]!r}; there are "
            f"{', '.join(usecases.names())}",
            field="name",
        )
    if problems := [*_not_text(name)]:
        return Report(name, problems)
    text = usecases.text(name, declaration.FILE)
    if problems := declaration.problems(text):
        return Report(name, problems)
    use_case = usecases.parse(name, text)
    statements = sources.statements(name)
    problems = [
        *usecases.missing_statements(use_case),
        *_parameters(use_case),
        *_events(use_case),
        *(_preprocessor(use_case) or _candidates(use_case)),
    ]
    for statement in statements:
        problems += _statement(use_case, statement)
    code = "".join(statements.values())
    warnings = [
        sources.declared_at(
            name, ("parameters", parameter), f"no statement has @{parameter}"
        )
        for parameter in use_case.parameters
        if not re.search(rf"@{parameter}\b", code) and parameter not in _READ_OTHERWISE
    ]
    warnings += _untaken(use_case)
    return Report(
        name,
        sorted(set(problems)),
        warnings,
        passed=[] if problems else ["usecase.toml, candidates and statements"],
    )


def check(name: str, sandbox: Callable[[], Any]) -> Report:
    """
    Check the files of a use case, then its statements over made-up events.

    Args:
        sandbox: Opens a ``Sandbox``, as a context; called only if the files are right.

    Raises:
        RequestError: There is no such use case.
    """
    files = declared(name)
    if files.problems:
        later = "what the statements give: first correct what is above"
        return Report(name, files.problems, files.warnings, skipped=[later])
    use_case = usecases.load(name)
    if use_case.scores_events:
        skipped = ["leakage: the features are the event's own fields"]
        return Report(name, (), files.warnings, skipped, files.passed)
    passed: Sequence[str] = ("its statements run, and their columns and kinds",)
    skipped, warnings = [], list[Problem]()
    with sandbox() as opened:
        if use_case.reads_export:
            run = leakage.OverExport(use_case, opened)
            problems, warnings = run.check()
            passed = run.passed
        else:
            problems = [
                *columns.check(
                    use_case,
                    opened.warehouse,
                    leakage.dates_of(use_case),
                    (*columns.own(use_case), *columns.INCLUDING),
                    columns.relations(use_case, opened.warehouse),
                )
            ]
            skipped = [
                "leakage: the made-up events are of the GA4 export, and the features "
                "are made of others"
            ]
    return Report(
        name,
        sorted(set(problems)),
        [*files.warnings, *warnings],
        skipped,
        [*files.passed, *(() if problems else passed)],
    )


# -- the files -------------------------------------------------------------------------


def _not_text(name: str) -> Iterator[Problem]:
    """Yield files of a use case that are not UTF-8."""
    for file in sorted(Path(str(usecases.FOLDER), name).iterdir()):
        if file.suffix in (".toml", ".sql") and file.is_file():
            try:
                file.read_bytes().decode()
            except UnicodeDecodeError as error:
                yield usecases.not_utf8(file.name, error)


def _parameters(use_case: UseCase) -> Iterator[Problem]:
    """Yield parameters that a setting of their name, of another type, overrides."""
    kinds = {field.name: field.type for field in dataclasses.fields(Settings)}
    for name, value in use_case.parameters.items():
        kind = type(value).__name__
        is_setting = name in kinds or hasattr(Settings, name)
        if is_setting and kinds.get(name) != kind:
            message = (
                f"the setting {name} would override it, which is no "
                f"{'text' if kind == 'str' else 'whole number'}: name it otherwise"
            )
            yield sources.declared_at(use_case.name, ("parameters", name), message)


def _candidates(use_case: UseCase) -> Iterator[Problem]:
    """
    Yield wrong parameters of candidates, by fitting each to a few made-up rows.

    scikit-learn finds only then what does not go together.
    """
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
            model = candidates.estimator(candidate, {}, seed=1)
            # Before some are replaced, and the others tried.
            model._validate_params()
            _fit(model, rows, label)
        except (UseCaseError, ValueError, TypeError) as error:
            message = str(error).split("\n")[0]
            names = [name for name in candidate.parameters if f"'{name}'" in message]
            path: declaration.Path = ("candidates", number, "parameters", *names[:1])
            yield sources.declared_at(use_case.name, path, message)


def _fit(model: Any, rows: Any, label: Any) -> None:
    """
    Fit a classifier to made-up rows.

    Raises:
        ValueError: Its parameters do not go together, or with these rows.
    """
    parameters = model.get_params()
    quick = {key: value for key, value in _QUICK.items() if key in parameters}
    if isinstance(parameters.get("max_samples"), int):
        # As many rows as there are not.
        quick["max_samples"] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.set_params(**quick).fit(rows, label)
        except (ValueError, TypeError) as error:
            raise ValueError(
                "does not learn from made-up rows, with nulls among their features: "
                f"{error}"
            ) from error


def _events(use_case: UseCase) -> Iterator[Problem]:
    """Yield what is wrong with the types of events that a use case takes."""
    from propensity.events.catalogue import Catalogue

    if not use_case.events:
        return
    try:
        Catalogue([use_case])
    except UseCaseError as error:
        yield sources.declared_at(use_case.name, ("stream",), error.message)


def _untaken(use_case: UseCase) -> Iterator[Problem]:
    """Yield types of events that it declares, and a statement that none would reach."""
    for name in sorted(set(use_case.event_types) - set(use_case.events)):
        message = f"events of {name} are refused: [stream] does not take them"
        yield sources.declared_at(use_case.name, ("events", name), message)
    if use_case.has_statement("stream_rows") and not use_case.events:
        message = "nobody is scored by it: [stream] takes no events"
        yield Problem("stream_rows.sql", 1, message)


def _preprocessor(use_case: UseCase) -> list[Problem]:
    """Return what is wrong with model.py."""
    from propensity.learning.preprocessor import check_preprocessor
    from propensity.registry.versions import pickled

    if not (usecases.FOLDER / use_case.name / "model.py").is_file():
        return []
    try:
        make = getattr(use_case.model, "preprocessor", None)
        if make is None:
            message = "has no preprocessor(use_case): training would take the default"
            return [Problem("model.py", 1, message)]
        preprocessor = make(use_case)
        check_preprocessor(preprocessor, use_case)
        # As training stores it: not with a lambda in it.
        pickled(preprocessor)
    except (Exception, SystemExit) as error:
        line = 1
        for frame, number in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename.endswith(f"{use_case.name}/model.py"):
                line = number
        line = getattr(error, "lineno", None) or line
        return [Problem("model.py", line, f"{type(error).__name__}: {error}")]
    return []


def _statement(use_case: UseCase, name: str) -> Iterator[Problem]:
    """Yield what is wrong with the text of a statement."""
    try:
        lines = sources.lines(use_case.name, name)
    except sources.NotIncluded as error:
        yield sources.at_line(error.line, str(error))
        return
    yield from _tables(lines)
    try:
        tokens = sqlglot.tokenize(sources.joined(lines), dialect="bigquery")
    except SqlglotError as error:
        yield _endless(lines, error)
        return
    if not tokens and name in columns.own(use_case):
        yield Problem(f"{name}.sql", 1, "has no statement")
        return
    values = declaration.RUN_PARAMETERS | {*use_case.parameters}
    for mark, token in itertools.pairwise(tokens):
        if mark.token_type is sqlglot.TokenType.PARAMETER and token.text not in values:
            yield sources.at_line(
                lines[token.line - 1],
                f"no run gives @{token.text}; declare it under [parameters]",
            )
        if token.text.upper() in _OF_ITS_MOMENT and name in _REPEATED:
            yield sources.at_line(
                lines[token.line - 1],
                f"{token.text} is another in each run, and a row must be the same in "
                "all: dates are @as_ofs and @today",
            )
    wrong = [*dialect.spellings(tokens)]
    yield from (sources.at_line(lines[line - 1], message) for line, message in wrong)
    for token in tokens:
        if token.token_type is sqlglot.TokenType.SEMICOLON:
            message = "has a semicolon: it is one statement, and others include it"
            yield sources.at_line(lines[token.line - 1], message)
            return
    text = usecases.text(use_case.name, f"{name}.sql")
    if _STATEMENT.match(text):
        if not _OPENING.match(text):
            message = "the first comment says one row per what it has"
            yield Problem(f"{name}.sql", 1, message)
    elif name not in columns.own(use_case):
        return
    if not wrong:
        yield from _parsed(lines)


def _tables(lines: Sequence[Line]) -> Iterator[Problem]:
    """Yield lines that read tables of the export in another way than by the view."""
    for line in lines:
        if _WILDCARD.search(line.code):
            yield sources.at_line(
                line, f"only {export.VIEW} names the tables of the export"
            )
        if _CONSTANT_DAY.search(line.code):
            yield sources.at_line(
                line, "bounds table_suffix by a day: later runs would read the same"
            )


def _parsed(lines: Sequence[Line]) -> Iterator[Problem]:
    """Yield what is wrong with a statement as the parser reads it."""
    try:
        query = sqlglot.parse_one(sources.joined(lines), dialect="bigquery")
    except SqlglotError as error:
        details: list[Any] = getattr(error, "errors", [])
        number = int(details[0].get("line") or 1) if details else 1
        reason = details[0]["description"] if details else str(error).split("\n")[0]
        reason = _TOKEN.sub(r"\1", reason)
        if reason.startswith("Invalid expression"):
            found = details[0]["highlight"]
            reason = f"{found} is not expected here: see whether a comma is missing"
        yield sources.at_line(
            lines[min(number, len(lines)) - 1], f"is no SQL: {reason}"
        )
        return
    for number, message in dialect.foreign_tables(query):
        yield sources.at_line(lines[min(number, len(lines)) - 1], message)
    if query.args.get("limit") and not query.args.get("order"):
        limit = sources.find(lines, "LIMIT", last=True) or lines[-1]
        message = "LIMIT without ORDER BY leaves rows out, and other ones each time"
        yield sources.at_line(limit, message)
    names = query.named_selects if isinstance(query, sqlglot.exp.Query) else []
    counts = Counter(name.lower() for name in names if name != "*")
    for name, count in counts.items():
        if count > 1:
            message = f"gives {count} columns {name}: BigQuery's have no case"
            yield sources.at_line(sources.column(lines, name), message)


def _endless(lines: Sequence[Line], error: SqlglotError) -> Problem:
    """Return the problem of a statement that has no end: of a text, or a comment."""
    missing = _MISSING.search(str(error.__cause__))
    if missing is None:
        opening = sources.find(lines, "/*", last=True) or lines[-1]
        return sources.at_line(opening, "is no SQL: a comment /* has no end")
    mark = missing[1]
    # With an odd number of quotes on a line, a text is open at its end.
    odd = (line for line in lines if line.text.count(mark) % 2)
    return sources.at_line(
        next(odd, lines[-1]), f"is no SQL: what begins with {mark} has no end"
    )
