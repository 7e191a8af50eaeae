"""
The text of a ``usecase.toml``, read and checked.

Each entry is checked by its type; here are the contradictions among entries, too. An
instance, which is ``like`` another use case, has the entries of that one, but for those
that its own file says.
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from msgspec import convert

from propensity import folders, statements
from propensity.budget import Budget
from propensity.errors import UseCaseError
from propensity.learning.task import (
    ALGORITHMS,
    CATEGORY,
    MEAN,
    NUMBER,
    RESERVED,
    Candidate,
)
from propensity.suggestions import instead
from propensity.usecases import declaration
from propensity.usecases.declaration import SOURCE_TABLE, TABLE_FORM, Candidates
from propensity.usecases.kind import USERS, Kind
from propensity.usecases.use_case import UseCase, words_of

# The names of parameters are the same on any day.
DAY = date(2026, 1, 1)


def parse(name: str, text: str) -> UseCase:
    """
    Return the use case that the text of a ``usecase.toml`` describes.

    Raises:
        UseCaseError: The text is wrong; the message says where.
    """
    entries: dict[str, object] = {}
    try:
        entries = tomllib.loads(text)
        if "name" in entries:
            raise ValueError("name is unknown: remove it, the folder has the name")
        if "like" in entries:
            entries = _completed(name, entries)
        entries["name"] = name
        declaration.tell_events_apart(entries)
        use_case = convert(entries, UseCase)
        problems = list(_contradictions(use_case))
    except ValueError as error:
        from propensity.entries import explain  # only a wrong file needs it

        problems = [explain(error, entries, UseCase)]
    except RecursionError:
        problems = ["its tables are nested too deeply"]
    if problems:
        file = f"{name}/{folders.FILE}"
        raise UseCaseError("\n".join(f"{file}: {problem}" for problem in problems))
    return use_case


def _completed(name: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the entries of an instance, with those of the use case that it is like.

    Raises:
        ValueError: There is none of that name, or it is an instance itself.
        UseCaseError: Its file is wrong.
    """
    like = entries["like"]
    if like not in folders.names():
        advice = instead(str(like)[:64], folders.names(), kind="Use cases")
        raise ValueError(f"like: there is no use case {str(like)[:64]!r}. {advice}")
    text = statements.read_text(folders.place(like), folders.FILE)
    original: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        original = tomllib.loads(text)
    if "like" in original:
        other = original["like"]
        raise ValueError(f"like: {like} is like {other} itself; name that one")
    # What is wrong in that file is said of that file.
    checked = parse(like, text)
    parameters = entries.get("parameters", {})
    if not isinstance(parameters, dict):
        return {**original, **entries}
    parameters = {**checked.parameters, **parameters}
    words = {"title": checked.title, "outcome": checked.outcome}
    event = parameters.get("label_event")
    if event != checked.parameters.get("label_event"):
        # Nobody says of those who sign up that they buy.
        words = words_of(event, checked.horizon_days)
    # Pages show both use cases side by side.
    words["title"] += f" ({name})"
    return {**original, **words, **entries, "parameters": parameters}


def _contradictions(use_case: UseCase) -> Iterator[str]:
    """Yield mistakes among entries that are right by themselves."""
    features = use_case.features
    stream = use_case.stream
    if use_case.ga4_property and not use_case.like:
        yield (
            "property: only an instance reads another property. Name the use case "
            'whose statements it has, for example like = "ga4_purchase"'
        )
    try:
        Budget.parse(use_case.budget)
    except ValueError as error:
        yield f"budget is {use_case.budget!r}: {error}"
    if use_case.prediction_days and not use_case.kind.is_published:
        yield "prediction_days: events are scored as they happen; remove the entry"
    for name in features:
        if name.lower() in RESERVED:
            yield f"features.{name}: training has a column of this name; rename it"
    for name in use_case.compared:
        if features.get(name) != CATEGORY or not use_case.kind.is_published:
            yield f"compared: {name} is not a feature of users that is a category"
    for name in use_case.tell:
        if name not in features:
            yield f"tell.{name}: there is no such feature"
    for name in sorted(set(use_case.parameters) & set(use_case.run_parameters([DAY]))):
        yield f"parameters.{name}: every run sets @{name}; rename it"
    baseline = use_case.baseline.feature
    # That of users may be a column of features.sql that no model reads.
    is_feature = baseline in features or bool(stream.events)
    numbers = {"baseline.feature": baseline} if is_feature else {}
    for name in ("amount", "elapsed"):
        feature = getattr(stream, name)
        if feature:
            numbers[f"stream.{name}"] = feature
    for at, name in numbers.items():
        if features.get(name) != NUMBER:
            yield f"{at}: {name} is not a numeric feature"
    yield from _wrong_candidates(use_case.candidates, use_case.kind)
    yield from declaration.wrong_stride(use_case.stride_days, use_case.horizon_days)
    yield from _wrong_tables(use_case)


def candidates_of(file: Path) -> Sequence[Candidate]:
    """
    Return the candidates of a ``usecase.toml``, or of a file that has them alone.

    Raises:
        UseCaseError: The file is missing or wrong; the message says where.
    """
    entries: dict[str, object] = {}
    try:
        text = file.read_text("utf-8")
        entries = {"candidates": tomllib.loads(text).get("candidates", [])}
        read = convert(entries, Candidates).candidates
        problems = list(_wrong_candidates(read, USERS))
        if not read:
            problems = ["it has no [[candidates]]"]
    except OSError as error:
        raise UseCaseError(f"there is no file {file}", hint="Check the path") from error
    except ValueError as error:
        from propensity.entries import explain  # only a wrong file needs it

        problems = [explain(error, entries, Candidates)]
    if problems:
        raise UseCaseError("\n".join(f"{file}: {problem}" for problem in problems))
    return read


def _wrong_candidates(candidates: Sequence[Candidate], kind: Kind) -> Iterator[str]:
    earlier: list[str] = []
    for candidate in candidates:
        name = candidate.name
        algorithm = candidate.algorithm
        if name in earlier:
            yield f"candidates: two are named {name}; rename one"
        if algorithm in ALGORITHMS and algorithm not in kind.algorithms:
            yield (
                f"candidates: {name} is a {algorithm}, which can't score {kind.noun}s"
            )
        if algorithm == MEAN and not _is_mean_of(candidate.parameters, earlier):
            names = ", ".join(earlier) if earlier else "there is none"
            yield (
                f"candidates: {name} needs one parameter, of: a list of candidates "
                f"before it, each once ({names})"
            )
        earlier.append(name)


def _is_mean_of(parameters: Mapping[str, object], earlier: Sequence[str]) -> bool:
    members = parameters.get("of")
    if parameters.keys() != {"of"} or not isinstance(members, list):
        return False
    return 0 < sum(name in members for name in earlier) == len(members)


def _wrong_tables(use_case: UseCase) -> Iterator[str]:
    own_events = use_case.own_events
    if own_events:
        if not SOURCE_TABLE.fullmatch(own_events.table):
            yield f"events.table is {own_events.table!r}; use {TABLE_FORM}"
        if use_case.stream.events or "events" in use_case.sources:
            yield "events: a use case has one source of events, a table or the stream"
    for name, source in use_case.sources.items():
        if name == "ga_events" or name.startswith(("ma_", "stream_")):
            yield f"sources.{name}: a deployment has a table of this name; rename it"
        if not SOURCE_TABLE.fullmatch(source.table):
            yield f"sources.{name}.table is {source.table!r}; use {TABLE_FORM}"
        for column in sorted(set(source.plans) - set(source.columns)):
            yield f"sources.{name}.plans: {column} is not among its columns"
