"""
What tests share: the emulators, a workplace of one's own in them, the real data.

The emulators are started once a test process, on free ports and in a temporary folder,
by the launchers of local mode: for the first test that needs them, or before that by
``start_emulators``, while other modules are imported. A workplace is a project's worth
of names that nobody else uses, so that tests neither see each other's tables nor depend
on an order.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage
from hypothesis import settings

from local.processes import free_ports
from local.stack.stack import Stack
from local.stack.state import PORTS, Options, State
from offline.usecases import googlesql
from propensity.gcp.artifacts import Artifacts
from propensity.settings import Settings, is_setting
from tests import shared

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
settings.register_profile("deep", deadline=None, max_examples=100)
settings.load_profile("quick")

# These files, and those of these folders, take longest. Begun first, none of them is
# waited for at the end by a worker that has nothing else to do.
LONGEST_FIRST = (
    "long", "functions", "local", "offline", "usecases", "runs", "registry", "learning",
    "deploy", "test_sampling.py",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run be of a part of the files, in turns: all M slices run every test."""
    parser.addoption("--slice", help="N/M: the N-th of every M files with such tests")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests that need the emulators."""
    if "emulators" in getattr(item, "fixturenames", ()):
        item.add_marker("emulated")


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

    def place(item: pytest.Item) -> int:
        folders = item.path.relative_to(Path(__file__).parent).parts
        known = [LONGEST_FIRST.index(one) for one in folders if one in LONGEST_FIRST]
        return min(known, default=len(LONGEST_FIRST))

    items.sort(key=place)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """What is imported and collected stays: no collection walks through it again."""
    gc.freeze()


@dataclass(frozen=True)
class BigQueryEmulator:
    """The BigQuery emulator of this test process."""

    url: str
    storage_address: str
    project: str

    @classmethod
    def of(cls, stack: Stack) -> BigQueryEmulator:
        """Return where it is."""
        address = stack.environment["BIGQUERY_STORAGE_EMULATOR_HOST"]
        return cls(stack.url("bigquery"), address, stack.options.project)

    def client(self, project: str | None = None) -> bigquery.Client:
        """Open a client of the REST API."""
        return bigquery.Client(
            project=project or self.project,
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=self.url),
        )


@dataclass(frozen=True)
class StorageEmulator:
    """The Cloud Storage emulator of this test process."""

    url: str
    project: str

    def client(self) -> storage.Client:
        """Open a client."""
        return storage.Client(
            project=self.project,
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=self.url),
        )


@dataclass(frozen=True)
class Workplace:
    """
    Datasets and a bucket that one test has for itself, made and empty: no table yet.

    ``environment`` is what a function needs to work there.
    """

    environment: Mapping[str, str]
    bigquery: BigQueryEmulator
    storage: StorageEmulator

    @property
    def project(self) -> str:
        return self.environment["GOOGLE_CLOUD_PROJECT"]

    @property
    def dataset(self) -> str:
        return self.environment["PROPENSITY_DATASET"]

    @property
    def ga4_dataset(self) -> str:
        return self.environment["PROPENSITY_GA4_DATASET"]

    @property
    def bucket(self) -> str:
        return self.environment["PROPENSITY_BUCKET"]


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


@pytest.fixture(scope="session")
def bigquery_emulator(emulators: Stack) -> BigQueryEmulator:
    """The BigQuery emulator's addresses."""
    return BigQueryEmulator.of(emulators)


@pytest.fixture(scope="session")
def storage_emulator(emulators: Stack) -> StorageEmulator:
    """The Cloud Storage emulator's address."""
    return StorageEmulator(emulators.url("storage"), emulators.options.project)


def new_workplace(emulators: Stack) -> Workplace:
    """Make datasets and a bucket with names of their own."""
    unique = uuid.uuid4().hex[:10]
    options = replace(
        Options(),
        dataset=f"propensity_{unique}",
        ga4_dataset=f"analytics_{unique}",
        bucket=f"propensity-{unique}",
    )
    stack = Stack(emulators.state, options=options, base=emulators.base, functions=())
    place = Workplace(
        environment=stack.environment,
        bigquery=BigQueryEmulator.of(stack),
        storage=StorageEmulator(stack.url("storage"), options.project),
    )
    with place.bigquery.client() as warehouse:
        warehouse.create_dataset(place.dataset)
        warehouse.create_dataset(place.ga4_dataset)
    with place.storage.client() as objects:
        objects.create_bucket(place.bucket)
    return place


@pytest.fixture
def workplace(emulators: Stack) -> Workplace:
    """Datasets and a bucket for one test alone."""
    return new_workplace(emulators)


@pytest.fixture(scope="module")
def module_workplace(emulators: Stack) -> Workplace:
    """Datasets and a bucket for the tests of one module, which build on each other."""
    return new_workplace(emulators)


@contextlib.contextmanager
def only(environment: Mapping[str, str]) -> Iterator[None]:
    """Hold these variables in the environment, and no other settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if is_setting(name)]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def environment(workplace: Workplace) -> Iterator[Mapping[str, str]]:
    """The variables of this test's workplace, set for the test and no longer."""
    with only(workplace.environment):
        yield workplace.environment


@pytest.fixture
def artifacts(environment: Mapping[str, str]) -> Iterator[Artifacts]:
    """The bucket of this test's workplace, which is empty."""
    opened = Artifacts.open(Settings.from_environment(environment))
    yield opened
    opened.close()


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
