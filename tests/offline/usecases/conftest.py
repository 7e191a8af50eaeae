"""A new use case of one test alone, and a sandbox in which it is checked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.ground.sandbox import Sandbox, opened
from offline.usecases import check
from offline.usecases.check import Report
from propensity import usecases
from propensity.trying import new_use_case as new
from tests.support import own_use_cases

NAME = "shop_sign_up"


@pytest.fixture(scope="session", autouse=True)
def with_analyzer(analyzer) -> None:
    """Statements are read by Google's analyzer in most of these tests."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Tables in this process."""
    with opened() as sandbox:
        yield sandbox


@pytest.fixture
def use_cases(tmp_path) -> Iterator[Path]:
    """The folder of one's own use cases, for this test alone."""
    with own_use_cases.in_folder(tmp_path / "usecases") as folder:
        yield folder


@pytest.fixture
def folder(use_cases) -> Path:
    """The folder of a new use case, for this test alone."""
    new.write_use_case(NAME, label_event="sign_up", lookback_days=4, horizon_days=2)
    return use_cases / NAME


@pytest.fixture
def edit(folder) -> Callable[[str, str, str], int]:
    """Replace a text in a file; return the line of what stands there now."""

    def replace(file: str, old: str, new_: str) -> int:
        text = (folder / file).read_text()
        assert old in text
        made = text.replace(old, new_)
        (folder / file).write_text(made)
        usecases.load.cache_clear()
        return made[: made.index(new_) + len(new_)].count("\n") + 1

    return replace


@pytest.fixture
def checked(sandbox) -> Callable[[], Report]:
    """Check the use case in the sandbox."""
    return lambda: check.check_use_case(NAME, lambda: contextlib.nullcontext(sandbox))


@pytest.fixture
def leaks(checked, monkeypatch) -> Callable[[], list[str]]:
    """Return what the leak test finds; the analyzer has its own tests."""
    monkeypatch.setattr(check, "faults_of_statements", lambda _: [])
    return lambda: checked().problems
