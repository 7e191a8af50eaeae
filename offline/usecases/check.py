"""
Check a use case: report what is wrong with its folder, by file and line.

Its files are read first. Where they are right, its statements run over made-up events,
and again with events that they must not read. This needs an emulated BigQuery and
overwrites its export: never run it on a deployment.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlglot
from sqlglot.errors import SqlglotError

from offline.usecases import columns, leakage, sources
from offline.usecases.report import Report
from propensity import usecases
from propensity.errors import RequestError, UseCaseError
from propensity.ids import NAME
from propensity.usecases import Problem, UseCase, declaration, export

_PARAMETER = re.compile(r"@(\w+)")
_STATEMENT = re.compile(r"(--.*\n|\s)*(SELECT|WITH)\b", re.IGNORECASE)
_OPENING = re.compile(r"(--[^\n]*\n)*--[^\n]*\bone row\b", re.IGNORECASE)
_WILDCARD = re.compile(r"`[^`]*\*`")


# Parameters that the package reads of a use case, and no statement has to.
_READ_OTHERWISE = ("label_known_days",)


def declared(name: str) -> Report:
    """
    Check the files of a use case, without running a statement.

    Raises:
        RequestError: There is no such use case.
    """
    if not NAME.fullmatch(name) or name not in usecases.names():
        raise RequestError(
            f"there is no use case {name[:64]!r}; there are "
            f"{', '.join(usecases.names())}",
            field="name",
        )
    text = sources.text(name, declaration.FILE)
    if problems := declaration.problems(text):
        return Report(name, problems)
    use_case = usecases.parse(name, text)
    statements = sources.statements(name)
    problems = [
        *usecases.missing_statements(use_case),
        *_candidates(use_case),
        *_events(use_case),
        *_preprocessor(use_case),
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
        name: Of its folder.
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


def _candidates(use_case: UseCase) -> Iterator[Problem]:
    """Yield wrong parameters of candidates, by making each estimator."""
    from propensity.learning import candidates

    for number, candidate in enumerate(use_case.candidates):
        if candidate.algorithm in (declaration.MEAN, declaration.FOREST):
            continue
        try:
            # scikit-learn checks values when it fits, not when it makes an estimator.
            candidates.estimator(candidate, {}, seed=1)._validate_params()
        except (UseCaseError, ValueError) as error:
            message = str(error)
            names = [name for name in candidate.parameters if f"'{name}'" in message]
            path: declaration.Path = (
                "candidates",
                number,
                "parameters",
                *names[:1],
            )
            yield sources.declared_at(use_case.name, path, message)


def _events(use_case: UseCase) -> Iterator[Problem]:
    """Yield what is wrong with the types of events that a use case takes."""
    from propensity.events.catalogue import Catalogue

    if not use_case.events:
        return
    try:
        Catalogue([use_case])
    except UseCaseError as error:
        yield sources.declared_at(use_case.name, ("stream",), error.message)


def _preprocessor(use_case: UseCase) -> Iterator[Problem]:
    """Yield what is wrong with model.py."""
    from propensity.learning.preprocessor import check_preprocessor

    if not (usecases.FOLDER / use_case.name / "model.py").is_file():
        return
    try:
        make = getattr(use_case.model, "preprocessor", None)
        if make is not None:
            check_preprocessor(make(use_case), use_case)
    except Exception as error:
        line = 1
        for frame, number in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename.endswith(f"{use_case.name}/model.py"):
                line = number
        line = getattr(error, "lineno", None) or line
        yield Problem("model.py", line, f"{type(error).__name__}: {error}")


def _statement(use_case: UseCase, name: str) -> Iterator[Problem]:
    """Yield what is wrong with the text of a statement."""
    try:
        lines = sources.lines(use_case.name, name)
    except sources.Missing as error:
        yield sources.at_line(error.line, str(error))
        return
    values = declaration.RUN_PARAMETERS | {*use_case.parameters}
    for line in lines:
        for parameter in _PARAMETER.findall(line.code):
            if parameter not in values:
                yield sources.at_line(
                    line, f"no run gives @{parameter}; declare it under [parameters]"
                )
        if _WILDCARD.search(line.code):
            yield sources.at_line(
                line, f"only {export.VIEW} names the tables of the export"
            )
    text = sources.text(use_case.name, f"{name}.sql")
    if not _STATEMENT.match(text):
        return
    if not _OPENING.match(text):
        message = "the first comment says one row per what it has"
        yield Problem(f"{name}.sql", 1, message)
    if text.rstrip().endswith(";"):
        last = len(text.rstrip().splitlines())
        message = "ends with a semicolon, and is included"
        yield Problem(f"{name}.sql", last, message)
        return
    try:
        sqlglot.parse_one("\n".join(line.text for line in lines), dialect="bigquery")
    except SqlglotError as error:
        details: list[Any] = getattr(error, "errors", [])
        number = int(details[0].get("line") or 1) if details else 1
        reason = details[0]["description"] if details else str(error).split("\n")[0]
        yield sources.at_line(
            lines[min(number, len(lines)) - 1], f"is no SQL: {reason}"
        )
