"""
Use cases, each in a folder of its own.

``usecase.toml`` says what a row is and which features it has; ``features.sql``,
``labels.sql`` and ``days.sql`` compute features, labels and days in BigQuery;
``model.py`` is optional. A new use case is a new folder, of the package or of your own:
no other code need name it.

- ``use_case``: a use case, as its folder describes it
- ``kind``: what its rows are, users or events
- ``exports``: the exports that those of a deploy read
- ``declaration``: what a ``usecase.toml`` may say; tables of the user's own
- ``parsing``: a ``usecase.toml``, read and checked
- ``costs``: what the queries of a month cost; ``prices``: of BigQuery

It may import ``learning``'s task, ``tables`` and the ground. Tests: ``tests/usecases``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache

from propensity import folders, statements
from propensity.errors import RequestError, SettingsError, UseCaseError
from propensity.folders import names as names
from propensity.learning.task import CATEGORY, NUMBER, Candidate
from propensity.settings import Settings
from propensity.suggestions import instead
from propensity.usecases.parsing import parse as parse
from propensity.usecases.use_case import Features, UseCase

__all__ = ["CATEGORY", "NUMBER", "Candidate", "Features", "UseCase"]


def load_all(
    only: Sequence[str] | None = None,
) -> tuple[dict[str, UseCase], list[UseCaseError]]:
    """
    Return use cases of this deploy by name, and the errors of those that are wrong.

    Args:
        only: The names of those that are wanted; None for all.

    Raises:
        RequestError: There is none of a name in ``only``.
    """
    if only is None:
        only = names()
    use_cases = {}
    wrong = []
    for name in only:
        try:
            use_cases[name] = load(name)
        except UseCaseError as error:
            wrong.append(error)
    return use_cases, wrong


def wrong_names() -> list[str]:
    """Return the use cases whose folder is wrong."""
    right, _ = load_all()
    return [name for name in names() if name not in right]


def declaration_text(name: str) -> str:
    """Return the text of a ``usecase.toml``; empty where it cannot be read."""
    with suppress(OSError, UseCaseError):
        return statements.read_text(folders.place(name), folders.FILE)
    return ""


@cache
def load(name: str) -> UseCase:
    """
    Return the use case ``name``.

    Raises:
        RequestError: There is none of that name.
        UseCaseError: Its folder is wrong; the message says where.
    """
    if name not in names():
        raise RequestError(
            f"there is no use case {name[:64]!r}",
            hint=instead(name[:64], names(), kind="Use cases"),
            field="use_case",
        )
    # A model that is loaded may name classes of a model.py.
    if str(folders.own()) not in __path__:
        __path__.append(str(folders.own()))
    use_case = parse(name, statements.read_text(folders.place(name), folders.FILE))
    if use_case.like:
        _check_instance(use_case)
    for stem in use_case.kind.statements:
        if not use_case.has_statement(stem):
            raise UseCaseError(
                f"{name}/{stem}.sql is missing; every use case of users needs one"
            )
    return use_case


def _check_instance(use_case: UseCase) -> None:
    """Raise UseCaseError if an instance has statements, or a property to no end."""
    name = use_case.name
    folder = folders.place(name)
    for file in sorted(folder.glob("*.sql")) + sorted(folder.glob("*.py")):
        raise UseCaseError(
            f"{name}/{file.name}: statements and models are those of {use_case.like}. "
            f"Remove the file; or copy the folder of {use_case.like}, without like"
        )
    if use_case.ga4_property and not use_case.reads_export:
        raise UseCaseError(
            f"{name}/{folders.FILE}: property: {use_case.like} does not read the "
            "GA4 export. Remove the entry"
        )


def require_default(settings: Settings) -> None:
    """Raise SettingsError if PROPENSITY_USE_CASE names no use case of this deploy."""
    if settings.use_case not in names():
        raise SettingsError(
            f"PROPENSITY_USE_CASE is {settings.use_case!r}, which is not a use case",
            hint=instead(settings.use_case, names(), kind="Use cases"),
            field="PROPENSITY_USE_CASE",
        )
