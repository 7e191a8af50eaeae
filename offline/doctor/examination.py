"""The deployment under examination, its findings, and how its services are reached."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import grpc
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud import bigquery

from offline.doctor.report import ERROR, INFORMATION, WARNING, Finding, Report, Unknown
from propensity import tables, topics
from propensity.edges.artifacts import Artifacts
from propensity.edges.bigquery_errors import translated
from propensity.edges.warehouse import Warehouse
from propensity.errors import ArtifactError, PropensityError, Unavailable
from propensity.registry.champion import Champion
from propensity.registry.versions import Registry
from propensity.settings import Settings
from propensity.usecases import UseCase

DAY = timedelta(days=1)

# The longest wait for an answer of a service.
PATIENCE_S = 10
QUERY_S = 120
READERS = 8

# BigQuery's API gives some types their legacy names.
STANDARD_TYPES = {
    "INTEGER": "INT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
    "RECORD": "STRUCT",
}
SET_UP = (
    "run deploy/setup.sh again (locally: `make down && make up`, with STATE where it "
    "has another name than demo)"
)

# The command that gives a local state an export.
DATA = "make demo, or make demo DATA=FILE for your own rows of the export"
RESTORE = (
    "restore the object's earlier generation, where the bucket keeps them (the local "
    "one does not)"
)

# Errors of reading a damaged watermark.
DAMAGED = (ArtifactError, ValueError, KeyError, TypeError, AttributeError)


@dataclass(kw_only=True)
class Examination:
    """A deployment, the moment of the examination, and the findings so far."""

    settings: Settings
    now: datetime
    use_cases: Sequence[UseCase]
    zone: ZoneInfo
    function: str = ""
    is_named: bool = False
    # Addresses of a local run's functions, by target; empty for a deployment.
    addresses: Mapping[str, str] = field(default_factory=dict)
    report: Report = field(default_factory=Report)
    check: str = ""

    @cached_property
    def warehouse(self) -> Warehouse:
        """The edge to BigQuery."""
        return Warehouse.open(self.settings)

    @cached_property
    def artifacts(self) -> Artifacts:
        """The edge to the bucket."""
        return Artifacts.open(self.settings)

    @cached_property
    def champions(self) -> dict[str, Champion]:
        """The champion of each use case whose pointer can be read."""
        by_use_case = {}
        for use_case in self.use_cases:
            with contextlib.suppress(ArtifactError):
                champion = Registry(self.artifacts, use_case.name).find_champion()
                if champion is not None:
                    by_use_case[use_case.name] = champion
        return by_use_case

    @property
    def patience_s(self) -> float:
        """The longest wait for an answer of a service, in seconds."""
        return float(min(PATIENCE_S, self.settings.deadline_s))

    @property
    def is_emulated(self) -> bool:
        """Whether BigQuery is an emulator, which checks no rights."""
        return bool(self.settings.bigquery_endpoint)

    def is_scheduled(self, use_case: UseCase) -> bool:
        """Whether a schedule must run a use case; others may only serve."""
        return self.is_named or use_case.name == self.settings.use_case

    def error(self, what: str, advice: str) -> None:
        """Report something that does not work."""
        self._add(ERROR, what, advice)

    def warn(self, what: str, advice: str) -> None:
        """Report something that works badly, or not for long."""
        self._add(WARNING, what, advice)

    def lack(
        self, what: str, advice: str, *, locally: str, severity: str = ERROR
    ) -> None:
        """
        Report something that does not exist yet.

        In a deployment a schedule should have made it: a fault. Locally there is no
        schedule, and it is only information.
        """
        if not self.addresses:
            self._add(severity, what, advice)
            return
        self.report.information.append(
            Finding(check=self.check, severity=INFORMATION, what=what, advice=locally)
        )

    def call(self, target: str, **body: str) -> str:
        """Return the command that calls a function locally; nothing elsewhere."""
        if target not in self.addresses:
            return ""
        command = f"curl -X POST {self.addresses[target]}"
        if not body:
            return command
        return f"{command} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"

    def call_of(self, target: str, use_case: UseCase) -> str:
        """Return the command that runs a use case locally today; nothing elsewhere."""
        today = self.now.date().isoformat()
        return self.call(target, use_case=use_case.name, as_of=today)

    def skip(self, why: str) -> None:
        """Report a check that can not be made here."""
        self.report.not_checked.append(Unknown(check=self.check, why=why))

    def _add(self, severity: str, what: str, advice: str) -> None:
        self.report.findings.append(
            Finding(check=self.check, severity=severity, what=what, advice=advice)
        )

    def table(self, name: str, dataset: str = "") -> bigquery.Table | None:
        """
        Return the metadata of a table, None if there is no such table.

        Args:
            dataset: With its project; the settings' own where it is empty.
        """
        settings = self.settings
        path = f"{dataset or f'{settings.project}.{settings.dataset}'}.{name}"
        with reaching("BigQuery"):
            try:
                return self.warehouse.client.get_table(
                    path,
                    retry=bigquery.DEFAULT_RETRY.with_timeout(self.patience_s),
                    timeout=self.patience_s,
                )
            except api.NotFound:
                return None

    def close(self) -> None:
        """Close the clients."""
        if "warehouse" in vars(self):
            self.warehouse.close()
        if "artifacts" in vars(self):
            self.artifacts.close()


@contextlib.contextmanager
def reaching(service: str) -> Iterator[None]:
    """Translate errors of a client or a connection into the project's errors."""
    try:
        yield
    except PropensityError:
        raise
    except auth.GoogleAuthError as error:
        raise Unavailable(
            f"{service} was not asked, because there are no credentials: "
            f"{str(error).rstrip('.')}. Run `gcloud auth application-default login`"
        ) from error
    except (api.GoogleAPICallError, api.RetryError) as error:
        raise (
            translated(error)
            if service == "BigQuery"
            else Unavailable(f"{service} does not answer: {type(error).__name__}")
        ) from error
    except (requests.RequestException, grpc.RpcError, OSError) as error:
        raise Unavailable(
            f"{service} does not answer: {type(error).__name__}"
        ) from error


@dataclass(frozen=True)
class Services:
    """The endpoints that test the rights of an account."""

    projects: str = "https://cloudresourcemanager.googleapis.com/v1/projects"
    bigquery: str = "https://bigquery.googleapis.com/bigquery/v2/projects"
    storage: str = "https://storage.googleapis.com/storage/v1/b"
    pubsub: str = "https://pubsub.googleapis.com/v1/projects"
    monitoring: str = "https://monitoring.googleapis.com/v3/projects"


GOOGLE = Services()


def has_stream(exam: Examination) -> bool:
    """Tell whether any event of the stream is stored."""
    events = exam.table(tables.STREAM_EVENTS.name)
    return bool(events is not None and events.num_rows)


Check = Callable[[Examination], None]


def topic_names(settings: Settings) -> list[str]:
    """Return the topics of this deployment."""
    return [topics.topic_name(settings, name) for name in topics.TOPICS]
