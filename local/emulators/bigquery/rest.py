"""
BigQuery's REST API, as its Python client calls it.

Source: https://cloud.google.com/bigquery/docs/reference/rest
"""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pyarrow as pa
from google.api_core import exceptions as api
from google.cloud import bigquery
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.emulators.bigquery.jobs import Job, Jobs, Kept, problem_of
from local.emulators.bigquery.values import rows_of
from local.ground import bigquery as ground_bigquery
from local.ground.bigquery import BigQuery, Rows, reader_of
from local.ground.catalog import Resource
from local.ground.functions import Untranslated
from local.loopback import offset_of

Result = TypeVar("Result")

API = "/bigquery/v2/projects/{project}"
UPLOAD = f"/upload{API}/jobs"
# How long a request waits for a job, where it does not say.
PATIENCE_MS = 10_000
# A client that starts a job asks for its end next.
SHORT_S = 1.0
PAGE_ROWS = 10_000
STATUSES = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    501: "UNIMPLEMENTED",
}
# What a client may ask of one statement, beside the statement.
OF_QUERY = ("labels", "dryRun", "jobTimeoutMs", "maximumBytesBilled")


class Service:
    """
    The routes. One event loop takes requests; what computes or waits has a thread.

    Args:
        scratch: Holds files of loads under way.
    """

    def __init__(self, ground: BigQuery, jobs: Jobs, scratch: Path) -> None:
        self.ground = ground
        self.jobs = jobs
        self.scratch = scratch
        self._numbers = itertools.count()
        # Project, job and file of loads under way, by their ids.
        self._uploads: dict[str, tuple[str, Resource, Path]] = {}
        # Jobs of those that have all their bytes: their last chunk may come again.
        self._loads: Kept[Job] = Kept()

    def app(self) -> Starlette:
        datasets = f"{API}/datasets"
        tables = f"{datasets}/{{dataset}}/tables"
        table = f"{tables}/{{table}}"
        routes = [
            ("GET", f"{API}/jobs", self.list_jobs),
            ("POST", f"{API}/jobs", self.insert_job),
            ("GET", f"{API}/jobs/{{job}}", self.job),
            ("POST", f"{API}/jobs/{{job}}/cancel", self.cancel),
            ("POST", f"{API}/queries", self.query),
            ("GET", f"{API}/queries/{{job}}", self.results),
            ("GET", datasets, self.list_datasets),
            ("POST", datasets, self.create_dataset),
            ("GET", f"{datasets}/{{dataset}}", self.dataset),
            ("GET", tables, self.list_tables),
            ("POST", tables, self.create_table),
            ("GET", table, self.table),
            ("PATCH", table, self.change_table),
            ("DELETE", table, self.delete_table),
            ("GET", f"{table}/data", self.rows),
            ("POST", UPLOAD, self.begin_load),
            ("PUT", UPLOAD, self.go_on_with_load),
        ]
        return Starlette(
            routes=[
                Route(path, _answering(handler), methods=[method])
                for method, path, handler in routes
            ]
        )

    async def _do(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.jobs.pool, function, *arguments)

    # -- jobs -------------------------------------------------------------------------

    async def insert_job(self, request: Request) -> Response:
        """Start a statement; a dry run is over when it is answered."""
        project = request.path_params["project"]
        resource = await _body(request)
        configuration = resource.get("configuration", {})
        if "query" not in configuration:
            raise api.BadRequest(
                f"Jobs of {', '.join(configuration)} do not run on this machine"
            )
        job = self.jobs.start(project, resource, self._statement)
        is_dry = configuration.get("dryRun")
        await self._ended(job, None if is_dry else SHORT_S)
        if not is_dry:
            return _json(job.resource)
        self.jobs.forget(job)
        _raise(job)
        described = job.resource
        del described["jobReference"]["jobId"]
        return _json(described)

    def _statement(self, job: Job) -> ground_bigquery.Job:
        query = job.configuration["query"]
        for name in ("destinationTable", "queryResultsFormat"):
            if name in query:
                raise api.BadRequest(f"{name} is not there on this machine")
        config: Any = bigquery.QueryJobConfig.from_api_repr(job.configuration)
        return self.ground.run(query["query"], config, job.call)

    async def _ended(self, job: Job, seconds: float | None) -> None:
        """Wait until a job has ended, for so long at most."""
        ended = asyncio.wrap_future(job.future)
        await asyncio.wait([ended], timeout=seconds)
        if ended.done():
            # Its error is told by whoever asks.
            ended.exception()

    async def list_jobs(self, request: Request) -> Response:
        listed = []
        for job in self.jobs.of(request.path_params["project"]):
            state = "DONE" if job.is_done else "RUNNING"
            listed.append({**job.resource, "state": state})
        return _page(request, "jobs", listed)

    async def job(self, request: Request) -> Response:
        return _json(self._job(request).resource)

    def _job(self, request: Request) -> Job:
        given = request.path_params
        return self.jobs.find(given["project"], given["job"])

    async def cancel(self, request: Request) -> Response:
        job = self._job(request)
        job.call.stop("Job execution was cancelled: User requested cancellation")
        await self._ended(job, PATIENCE_MS / 1000)
        return _json({"job": job.resource})

    async def query(self, request: Request) -> Response:
        """Run a statement, and answer its first rows with it."""
        body = await _body(request)
        configuration = {name: body[name] for name in OF_QUERY if name in body}
        configuration["query"] = {
            name: value for name, value in body.items() if name not in OF_QUERY
        }
        if "maximumBytesBilled" in body:
            query = configuration["query"]
            query["maximumBytesBilled"] = configuration.pop("maximumBytesBilled")
        reference = {"jobId": body.get("requestId"), "location": body.get("location")}
        resource = {"configuration": configuration, "jobReference": reference}
        project = request.path_params["project"]
        try:
            job = self.jobs.start(project, resource, self._statement)
        except api.Conflict:
            # It is the same request, whose answer was lost.
            job = self.jobs.find(project, body["requestId"])
        await self._ended(job, int(body.get("timeoutMs", PATIENCE_MS)) / 1000)
        _raise(job)
        answer = await self._do(self._answer, job, body, body.get("formatOptions", {}))
        is_optional = body.get("jobCreationMode") == "JOB_CREATION_OPTIONAL"
        if answer["jobComplete"] and "pageToken" not in answer and is_optional:
            del answer["jobReference"]
            answer["queryId"] = job.id
            if "numDmlAffectedRows" not in answer:
                self.jobs.forget(job)
        return _json({"kind": "bigquery#queryResponse", **answer})

    async def results(self, request: Request) -> Response:
        job = self._job(request)
        query = request.query_params
        await self._ended(job, int(query.get("timeoutMs", PATIENCE_MS)) / 1000)
        _raise(job)
        use = query.get("formatOptions.useInt64Timestamp", "")
        options = {"useInt64Timestamp": use.lower() == "true"}
        answer = await self._do(self._answer, job, query, options)
        return _json({"kind": "bigquery#getQueryResultsResponse", **answer})

    def _answer(
        self, job: Job, query: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Resource:
        """Return a page of a job's rows, or that it has not ended."""
        answer: Resource = {"jobReference": job.reference, "jobComplete": job.is_done}
        if not job.is_done:
            return answer
        done = job.future.result()
        answer["cacheHit"] = False
        answer["totalBytesProcessed"] = str(done.total_bytes_processed)
        if done.num_dml_affected_rows is not None:
            answer["numDmlAffectedRows"] = str(done.num_dml_affected_rows)
        if done.session_info is not None:
            session = {"sessionId": done.session_info.session_id}
            answer["sessionInfo"] = session
        table = done.rows.table
        if not table.column_names:
            return answer
        fields = [one.to_api_repr() for one in done.schema]
        answer["schema"] = {"fields": fields}
        start, count = _span(query)
        part = Rows(table.slice(start, count))
        return answer | _rows(part, start, len(table), options)

    # -- datasets and tables ----------------------------------------------------------

    async def list_datasets(self, request: Request) -> Response:
        project = request.path_params["project"]
        listed = [
            {"datasetReference": one.to_api_repr()}
            for one in self.ground.list_datasets(project)
        ]
        return _page(request, "datasets", listed)

    async def create_dataset(self, request: Request) -> Response:
        body = await _body(request)
        dataset: Any = bigquery.Dataset.from_api_repr(body)
        await self._do(self.ground.create_dataset, dataset)
        return _json(self.ground.get_dataset(dataset.reference).to_api_repr())

    async def dataset(self, request: Request) -> Response:
        given = request.path_params
        name = f"{given['project']}.{given['dataset']}"
        return _json(self.ground.get_dataset(name).to_api_repr())

    async def list_tables(self, request: Request) -> Response:
        given = request.path_params
        name = f"{given['project']}.{given['dataset']}"
        listed = [one.to_api_repr() for one in self.ground.list_tables(name)]
        return _page(request, "tables", listed)

    async def create_table(self, request: Request) -> Response:
        body = await _body(request)
        table: Any = bigquery.Table.from_api_repr(body)
        await self._do(self.ground.create_table, table)
        return _json(self.ground.get_table(table).to_api_repr())

    async def table(self, request: Request) -> Response:
        found = await self._do(self.ground.get_table, _table(request))
        return _json(found.to_api_repr())

    async def change_table(self, request: Request) -> Response:
        body = await _body(request)
        reference = _table(request)
        resource = {**body, "tableReference": reference.to_api_repr()}
        changed: Any = bigquery.Table.from_api_repr(resource)
        fields = ["view_query" if name == "view" else name for name in body]
        await self._do(self.ground.update_table, changed, fields)
        return await self.table(request)

    async def delete_table(self, request: Request) -> Response:
        await self._do(self.ground.delete_table, _table(request))
        return Response(status_code=204)

    async def rows(self, request: Request) -> Response:
        """Answer a page of a table's rows, or of a job's."""
        query = request.query_params
        reference = _table(request)
        use = query.get("formatOptions.useInt64Timestamp", "")
        options = {"useInt64Timestamp": use.lower() == "true"}
        if reference.dataset_id == "_results":
            job = self.jobs.find(reference.project, reference.table_id)
            return _json(await self._do(self._answer, job, query, options))

        def read() -> Resource:
            names = query.get("selectedFields", "")
            fields = [bigquery.SchemaField(one, "") for one in names.split(",") if one]
            start, count = _span(query)
            page = self.ground.list_rows(reference, fields, start, count)
            total = int(self.ground.get_table(reference).num_rows)
            return _rows(page, start, total, options)

        return _json(await self._do(read))

    # -- loads ------------------------------------------------------------------------

    async def begin_load(self, request: Request) -> Response:
        """Take a load: at once, or its job, whose file follows."""
        project = request.path_params["project"]
        body = await request.body()
        file = self.scratch / f"load-{next(self._numbers)}"
        if request.query_params["uploadType"] == "multipart":
            _, _, boundary = request.headers["Content-Type"].partition("boundary=")
            mark = b"--" + boundary.strip("'\"").encode()
            job, part = (one.partition(b"\r\n\r\n")[2] for one in body.split(mark)[1:3])
            file.write_bytes(part.removesuffix(b"\r\n"))
            return await self._load(project, _parsed(job), file)
        name = uuid.uuid4().hex
        file.touch()
        self._uploads[name] = project, _parsed(body), file
        where = request.url.include_query_params(upload_id=name)
        return Response(headers={"Location": str(where)})

    async def go_on_with_load(self, request: Request) -> Response:
        name = request.query_params["upload_id"]
        loaded = self._loads.find(name)
        if loaded is not None:
            await self._ended(loaded, SHORT_S)
            return _json(loaded.resource)
        if name not in self._uploads:
            raise api.NotFound(f"Not found: Upload {name}")
        project, resource, file = self._uploads[name]
        body = await request.body()
        with file.open("r+b") as opened:
            opened.seek(offset_of(request.headers["Content-Range"]))
            opened.write(body)
        size = file.stat().st_size
        total = request.headers["Content-Range"].rpartition("/")[2]
        if total == "*" or size < int(total):
            received = {"Range": f"bytes=0-{size - 1}"} if size else {}
            return Response(status_code=308, headers=received)
        del self._uploads[name]
        return await self._load(project, resource, file, name)

    async def _load(
        self, project: str, resource: Resource, file: Path, upload: str = ""
    ) -> Response:
        def work(job: Job) -> ground_bigquery.Job:
            try:
                return self._loaded(job, file)
            finally:
                file.unlink()

        job = self.jobs.start(project, resource, work)
        self._loads.put(upload, job)
        await self._ended(job, SHORT_S)
        return _json(job.resource)

    def _loaded(self, job: Job, file: Path) -> ground_bigquery.Job:
        configuration = job.configuration["load"]
        config: Any = bigquery.LoadJobConfig.from_api_repr(job.configuration)
        target: Any = bigquery.TableReference.from_api_repr(
            configuration["destinationTable"]
        )
        path = target.project, target.dataset_id, target.table_id
        try:
            rows = _file_rows(file, config)
            count = self.ground.load(rows, path, config, job.call)
        except (pa.ArrowException, ValueError) as error:
            said = f"Error while reading data, error message: {error}"
            raise api.BadRequest(said) from error
        return ground_bigquery.Job(Rows(pa.table({})), num_dml_affected_rows=count)


def _file_rows(file: Path, config: Any) -> Any:
    """Return the rows of a load's file."""
    if config.source_format == "PARQUET":
        return reader_of(file)
    if config.source_format != "NEWLINE_DELIMITED_JSON":
        raise ValueError(f"{config.source_format} is not read on this machine")
    with file.open("rb") as lines:
        rows = [orjson.loads(line) for line in lines]
    return pa.Table.from_pylist(rows).to_reader()


async def _body(request: Request) -> Resource:
    return _parsed(await request.body())


def _parsed(text: bytes) -> Resource:
    try:
        body = json.loads(text)
    except ValueError as error:
        raise api.BadRequest(f"The body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise api.BadRequest("The body is no JSON object")
    return body


def _table(request: Request) -> Any:
    given = request.path_params
    place = bigquery.DatasetReference(given["project"], given["dataset"])
    return place.table(given["table"])


def _span(query: Mapping[str, Any]) -> tuple[int, int]:
    """Return the first row of a page, and how many it may have."""
    token = query.get("pageToken")
    start = int(token if token else query.get("startIndex", 0))
    most = query.get("maxResults")
    return start, PAGE_ROWS if most is None else int(most)


def _rows(page: Rows, start: int, total: int, options: Mapping[str, Any]) -> Resource:
    """Return a page of rows, and where the next one begins."""
    use_int64 = bool(options.get("useInt64Timestamp"))
    rows = rows_of(page.table, in_microseconds=use_int64)
    answer: Resource = {"totalRows": str(total), "rows": rows}
    if start + len(rows) < total:
        answer["pageToken"] = str(start + len(rows))
    return answer


def _page(request: Request, name: str, items: Sequence[Resource]) -> Response:
    start, count = _span(request.query_params)
    answer: Resource = {name: items[start : start + count]}
    if start + count < len(items):
        answer["nextPageToken"] = str(start + count)
    return _json(answer)


def _raise(job: Job) -> None:
    """Raise the error of a job that has failed."""
    if job.is_done and job.problem is not None:
        raise job.problem


def _answering(handler: Callable[[Request], Awaitable[Response]]) -> Any:
    """Return a handler whose errors are answers."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except (Exception, Untranslated) as error:
            return _refused(error)

    return answer


def _refused(error: Any) -> Response:
    """Return the answer to a call that failed, as the API has it."""
    problem = problem_of(error)
    detail = {**problem.described, "domain": "global"}
    status = STATUSES.get(problem.code, "INTERNAL")
    about = {"code": problem.code, "message": problem.message, "status": status}
    return _json({"error": {**about, "errors": [detail]}}, problem.code)


def _json(content: Any, status: int = 200) -> Response:
    text = orjson.dumps(content)
    return Response(text, status, media_type="application/json")
