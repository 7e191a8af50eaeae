"""Jobs: what runs, and what has ended within the hour."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pyarrow as pa
from google.api_core import exceptions as api

from local.ground import bigquery
from local.ground.bigquery import BigQuery, Call, Rows
from local.ground.catalog import Resource, now_ms
from local.ground.functions import Untranslated

Value = TypeVar("Value")

# Statements and loads that run at once.
AT_ONCE = 32
KEPT_S = 3600.0
# How long it takes at most until a job whose time is over is stopped.
WATCH_S = 0.25
REASONS = {
    400: "invalidQuery",
    403: "accessDenied",
    404: "notFound",
    409: "duplicate",
    501: "notImplemented",
}
INTERRUPTED = (
    "The script was interrupted: its first statements have changed tables, and it does "
    "not run again"
)


class Kept(Generic[Value]):
    """Values by their ids, each for an hour after it was put here."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[float, Value]] = {}

    def put(self, key: str, value: Value) -> None:
        now = time.monotonic()
        for old, (since, _) in list(self._values.items()):
            if now - since < KEPT_S:
                break
            self._values.pop(old, None)
        self._values[key] = now, value

    def find(self, key: str) -> Value | None:
        found = self._values.get(key)
        return None if found is None else found[1]

    def pop(self, key: str) -> None:
        self._values.pop(key, None)

    def values(self) -> list[Value]:
        """Return all, the newest first."""
        return [value for _, value in reversed(list(self._values.values()))]


class Problem(Exception):
    """An error, as the API says it."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message

    @property
    def described(self) -> Resource:
        return {"reason": self.reason, "message": self.message}


def problem_of(error: BaseException) -> Problem:
    """Return what clients are told of an error."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Untranslated):
        [said, *_] = str(error).splitlines()
        # Callers hide what may be a value; what has a place is the statement's.
        place = "" if " at [" in said else " at [1:1]"
        lacks = f"BigQuery on this machine cannot run {said}{place}"
        return Problem(400, "invalidQuery", lacks)
    if isinstance(error, api.GoogleAPICallError):
        code = int(error.code) if error.code else 500
        return Problem(code, REASONS.get(code, "invalid"), str(error.message))
    # Clients would try again what is a fault of this server.
    logging.error("a call failed", exc_info=error)
    return Problem(501, "notImplemented", f"{type(error).__name__}: {error}")


@dataclass
class Job:
    """A statement or load, by its id."""

    project: str
    id: str
    configuration: Resource
    location: str
    call: Call
    created: int = field(default_factory=now_ms)
    ended: int = 0
    future: Future[bigquery.Job] = field(default_factory=Future)

    @property
    def kind(self) -> str:
        return "load" if "load" in self.configuration else "query"

    @property
    def is_done(self) -> bool:
        return self.future.done()

    @property
    def problem(self) -> Problem | None:
        """What it failed of, once it is done."""
        error = self.future.exception()
        if error is None:
            return None
        if self.call.reason:
            return Problem(400, "stopped", self.call.reason)
        return problem_of(error)

    @property
    def reference(self) -> Resource:
        return {"projectId": self.project, "jobId": self.id, "location": self.location}

    @property
    def table(self) -> Resource:
        """What names its rows for the Storage API."""
        return {"projectId": self.project, "datasetId": "_results", "tableId": self.id}

    @property
    def resource(self) -> Resource:
        times = {"creationTime": str(self.created), "startTime": str(self.created)}
        configuration = {**self.configuration, "jobType": self.kind.upper()}
        resource: Resource = {
            "kind": "bigquery#job",
            "id": f"{self.project}:{self.location}.{self.id}",
            "jobReference": self.reference,
            "configuration": configuration,
            "status": {"state": "RUNNING"},
            "statistics": times,
        }
        if not self.is_done:
            return resource
        times["endTime"] = str(self.ended)
        resource["status"] = {"state": "DONE"}
        if self.kind == "query":
            query = {**self.configuration["query"], "destinationTable": self.table}
            configuration["query"] = query
        problem = self.problem
        if problem is not None:
            errors = {"errorResult": problem.described, "errors": [problem.described]}
            resource["status"] |= errors
        else:
            resource["statistics"] |= self._statistics()
        return resource

    def _statistics(self) -> Resource:
        done = self.future.result()
        if self.kind == "load":
            return {"load": {"outputRows": str(done.num_dml_affected_rows)}}
        processed = str(done.total_bytes_processed)
        query: Resource = {
            "totalBytesProcessed": processed,
            "totalBytesBilled": str(done.total_bytes_billed),
            "cacheHit": False,
        }
        if done.num_dml_affected_rows is not None:
            query["numDmlAffectedRows"] = str(done.num_dml_affected_rows)
        if self.configuration.get("dryRun"):
            fields = [one.to_api_repr() for one in done.schema]
            query["schema"] = {"fields": fields}
        statistics: Resource = {"totalBytesProcessed": processed, "query": query}
        if done.session_info is not None:
            session = {"sessionId": done.session_info.session_id}
            statistics["sessionInfo"] = session
        return statistics


class Jobs:
    """Runs jobs, stops those whose time is over, and knows what came of them."""

    def __init__(self, ground: BigQuery) -> None:
        self.ground = ground
        self.pool = ThreadPoolExecutor(AT_ONCE, "job")
        self._kept: Kept[Job] = Kept()
        self._starting = threading.Lock()
        # When running jobs are to be stopped.
        self._deadlines: dict[str, tuple[float, Job]] = {}
        threading.Thread(target=self._watch, name="deadlines", daemon=True).start()

    def start(
        self,
        project: str,
        resource: Mapping[str, Any],
        work: Callable[[Job], bigquery.Job],
    ) -> Job:
        """
        Run a job's work in a thread.

        Raises:
            Conflict: There is a job of this id, or there was one that changed tables.
        """
        reference = resource.get("jobReference", {})
        name = reference.get("jobId")
        name = name if name else uuid.uuid4().hex
        configuration = dict(resource["configuration"])
        location = reference.get("location")
        location = location if location else self.ground.location
        job = Job(project, name, configuration, location, Call(name))
        with self._starting:
            if self._find(project, name) is not None:
                raise api.Conflict(f"Already Exists: Job {project}:{name}")
            self._kept.put(name, job)
        limit = int(configuration.get("jobTimeoutMs", 0))
        if limit:
            self._deadlines[name] = time.monotonic() + limit / 1000, job

        self.pool.submit(self._run, job, work)
        return job

    def _run(self, job: Job, work: Callable[[Job], bigquery.Job]) -> None:
        try:
            done = work(job)
        except BaseException as error:
            job.ended = now_ms()
            job.future.set_exception(error)
        else:
            job.ended = now_ms()
            job.future.set_result(done)
        self._deadlines.pop(job.id, None)

    def find(self, project: str, name: str) -> Job:
        job = self._find(project, name)
        if job is None:
            raise api.NotFound(f"Not found: Job {project}:{name}")
        return job

    def _find(self, project: str, name: str) -> Job | None:
        """Return a job of this process, or what an earlier one has changed by it."""
        job = self._kept.find(name)
        answer = self.ground.catalog.calls.get(name)
        if job is not None or answer is None:
            return job
        configuration: Resource = {"query": {"query": "-- of an earlier process"}}
        job = Job(project, name, configuration, self.ground.location, Call())
        if "outputRows" in answer:
            job.configuration = {"load": {}}
            rows = int(answer["outputRows"])
            done = bigquery.Job(Rows(pa.table({})), num_dml_affected_rows=rows)
            job.future.set_result(done)
        elif answer["isWhole"]:
            affected = answer["affected"]
            done = bigquery.Job(Rows(pa.table({})), num_dml_affected_rows=affected)
            job.future.set_result(done)
        else:
            job.future.set_exception(api.BadRequest(INTERRUPTED))
        return job

    def of(self, project: str) -> list[Job]:
        """Return the jobs of a project, the newest first."""
        return [job for job in self._kept.values() if job.project == project]

    def result(self, name: str) -> pa.Table | None:
        """Return the rows of a job, if there are any."""
        job = self._kept.find(name)
        if job is None or not job.is_done or job.problem is not None:
            return None
        return job.future.result().rows.table

    def forget(self, job: Job) -> None:
        """Keep nothing of a job, whose rows the client has."""
        self._kept.pop(job.id)

    def _watch(self) -> None:
        while True:
            time.sleep(WATCH_S)
            now = time.monotonic()
            for until, job in list(self._deadlines.values()):
                if now > until:
                    limit = job.configuration["jobTimeoutMs"]
                    job.call.stop(
                        f"Job execution was cancelled: Job timed out after {limit} ms"
                    )
