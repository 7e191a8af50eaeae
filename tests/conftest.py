"""
What tests share: the emulators, a deployment of one's own in them, the real data.

The emulators are started once a test process, on free ports and in a temporary folder,
by the launchers of local mode: for the first test that needs them, or before that by
``start_emulators``, while other modules are imported. A deployment has names that
nobody else uses, so that tests neither see each other's tables nor depend on an order.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from local.processes import free_ports
from local.stack.stack import Stack
from local.stack.state import PORTS, State
from offline.usecases import googlesql
from tests.support import shared

if TYPE_CHECKING:
    from tests.support.deployment import Deployment
    from tests.support.emulated import Emulated

# Workers are the parallelism. Where each had a thread for each processor as well, they
# would wait for one another: small fits took twice the processor's time.
for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

# Tests are of what ships, whatever a checkout has of its own: no use case is in there.
os.environ["PROPENSITY_USE_CASES"] = str(Path(__file__).parent / "usecases")

# Every request is to this machine, and a tenth of its time would go into looking for a
# proxy.
os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")

# Machines are shared: how long an example takes says nothing of what it tests.
# `make test` tries the same examples each time, so that it fails by what was changed.
# `make test-long` runs every property again on new ones: --hypothesis-profile=deep.
settings.register_profile("quick", deadline=None, max_examples=25, derandomize=True)
settings.register_profile("deep", deadline=None, max_examples=50)
# The auditors alone try new ones with this: CONTRIBUTING.md says how.
settings.register_profile("hunt", deadline=None, max_examples=500)
settings.load_profile("quick")

# These files, and those of these folders, take longest. Begun first, none of them is
# waited for at the end by a worker that has nothing else to do.
LONGEST_FIRST = (
    "test_twenty_days.py", "test_replayed.py", "long", "audit",
    "functions", "local", "offline", "usecases", "runs", "registry", "learning",
    "deploy",
)  # fmt: skip

# "00-ModelTraining/main.py" has the words model and training.
WORDS = re.compile("[A-Z]?[a-z0-9]+")
NEAREST = 4


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run be of a part of the files, in turns: all M slices run every test."""
    parser.addoption("--slice", help="N/M: the N-th of every M files with such tests")


# Markers have been looked at by then, so that slices are of the tests that are run.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Order files by how long they take; each keeps the order of its own tests."""
    if part := config.getoption("--slice"):
        number, count = map(int, part.split("/"))
        files = sorted({item.path for item in items})[number - 1 :: count]
        config.hook.pytest_deselected(
            items=[item for item in items if item.path not in files]
        )
        items[:] = [item for item in items if item.path in files]

    folder = Path(__file__).parent
    nearest = nearest_to_changes({item.path.relative_to(folder) for item in items})

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(folder)
        if path in nearest:
            return nearest.index(path) - len(nearest)
        known = [LONGEST_FIRST.index(one) for one in path.parts if one in LONGEST_FIRST]
        return min(known, default=len(LONGEST_FIRST))

    items.sort(key=rank)


def nearest_to_changes(files: Iterable[Path]) -> list[Path]:
    """
    Return the test files whose paths are most like those of changed files.

    Of thirty faults that were put in by hand, 28 were seen by the first two of them.
    """
    git = ["git", "diff", "--name-only", "HEAD"]
    changed = subprocess.run(git, capture_output=True, text=True, check=False).stdout
    likeness: dict[Path, float] = {}
    for path in files:
        words = words_of(f"{path}")
        for line in changed.splitlines():
            other = words_of(line)
            share = len(words & other) / len(words | other)
            likeness[path] = max(likeness.get(path, 0), share)
    by_likeness = sorted(likeness, key=lambda path: (-likeness[path], f"{path}"))
    return [path for path in by_likeness[:NEAREST] if likeness[path] > 0]


def words_of(path: str) -> set[str]:
    words = {word.lower() for word in WORDS.findall(path)}
    return words - {"propensity", "tests", "test", "main", "py", "sql"}


# What is imported and collected stays: to look for garbage in it is in vain.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Look for garbage from now on, and not in what is imported and collected."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def one_draw() -> Iterator[None]:
    """Draw control groups by one key: by one of some hundred, a group is empty."""
    from propensity.audience import control

    with pytest.MonkeyPatch.context() as patch:
        fixed = SimpleNamespace(token_hex=lambda size: "07" * size)
        patch.setattr(control, "secrets", fixed)
        yield


@pytest.fixture(scope="session", autouse=True)
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give the processes of a test run a folder in common."""
    shared.share(tmp_path_factory)


@pytest.fixture(scope="session")
def analyzer(shared_folder) -> None:
    """
    Google's SQL analyzer, which one process compiles into the home for all of them.

    Where each of three did, that took a seventh of the processor time of a test run.
    """
    shared.once("analyzer", lambda _: googlesql.service())


@cache
def start_emulators() -> Future[Stack]:
    """Start the emulators in a thread, once."""

    def start() -> Stack:
        state = State("tests", Path(tempfile.mkdtemp(prefix="emulators-")))
        stack = Stack(state, base=free_ports(PORTS)[0], functions=())
        return stack.__enter__()

    return ThreadPoolExecutor(1).submit(start)


def pytest_sessionfinish() -> None:
    """Kill the emulators. On a signal they would first put their data in order."""
    if not start_emulators.cache_info().currsize or start_emulators().exception():
        # A test that needed them has said why they did not start.
        return
    stack = start_emulators().result()
    for process in stack.state.record().processes:
        os.kill(process.pid, signal.SIGKILL)
    stack.stop()
    shutil.rmtree(stack.state.home)


@pytest.fixture(scope="session")
def emulators() -> Stack:
    """The emulators, with no function: for what speaks to BigQuery or a bucket."""
    return start_emulators().result()


# Deployments are imported where they are made: tests of what only computes need none.


@pytest.fixture
def deployment() -> Deployment:
    """Datasets and a bucket for one test alone, in the process, and empty."""
    from tests.support.deployment import Deployment

    return Deployment()


@pytest.fixture(scope="module")
def module_deployment() -> Deployment:
    """The same for the tests of one module, which build on each other."""
    from tests.support.deployment import Deployment

    return Deployment()


def opened(emulators: Stack) -> Iterator[Emulated]:
    from tests.support.emulated import Emulated

    with contextlib.closing(Emulated(emulators)) as deployment:
        yield deployment


@pytest.fixture
def emulated(emulators: Stack) -> Iterator[Emulated]:
    """Datasets and a bucket for one test alone, in the emulators."""
    yield from opened(emulators)


@pytest.fixture(scope="module")
def module_emulated(emulators: Stack) -> Iterator[Emulated]:
    """The same for the tests of one module."""
    yield from opened(emulators)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data; tests that need it are skipped where there is none."""
    folder = os.environ.get("PROPENSITY_DATA")
    if not folder:
        pytest.skip("PROPENSITY_DATA names no folder of real data")
    path = Path(folder).expanduser()
    if not path.is_dir():
        pytest.fail(f"PROPENSITY_DATA={folder} is not a folder")
    return path
