"""
The files of destinations in ``audiences/destinations/``, before any is opened.

What a deployment must give them: their secrets, and whether one is Google's.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator

from propensity import statements
from propensity.audience import declared
from propensity.audience.destinations.values import secrets_in
from propensity.entries import explain
from propensity.errors import UseCaseError
from propensity.usecases import UseCase


def secrets_of(use_case: UseCase, files: Collection[str] | None = None) -> list[str]:
    """Return the secrets that destinations of a use case need: all, or some files'."""
    needed = set[str]()
    for name, template in destinations(use_case):
        if files is None or name in files:
            needed |= secrets_in(template)
    return sorted(needed)


def sends_to_google(use_case: UseCase) -> bool:
    """Return whether a destination of a use case is Google's Data Manager."""
    kinds = [template.get("kind") for _, template in destinations(use_case)]
    return "google" in kinds


def destinations(use_case: UseCase) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the names of destinations, with the entries of their files."""
    folder = declared.folder_of(use_case) / "destinations"
    for path in sorted(folder.glob("*.toml")):
        try:
            yield path.stem, tomllib.loads(statements.read_text(folder, path.name))
        except ValueError as error:
            file = f"{use_case.name}/audiences/destinations/{path.name}"
            problem = explain(error, {}, dict)
            raise UseCaseError(f"{file}: {problem}") from error
