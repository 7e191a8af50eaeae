"""
BigQuery on this machine: what it promises beyond the answers to statements.

What clients see of it is asked by tests/propensity/gcp/test_contract.py as well.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from google.api_core import exceptions as api
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types

from local.ground.bigquery import BigQuery
from local.processes import HOST
from propensity.gcp.writes import metadata, request_of
from tests.local.chunks import sent_twice
from tests.support.bigquery import DATASET, PROJECT, Server

# It is running for as long as anybody wants, and in C++ alone.
ENDLESS = "SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 1000000)) AS a, " + ", ".join(
    f"UNNEST(GENERATE_ARRAY(1, 1000000)) AS b{number}" for number in range(3)
)
TABLE = f"projects/{PROJECT}/datasets/d/tables/t"
DEFAULT = f"{TABLE}/streams/_default"
N = pa.schema([("n", pa.int64())])
Codes = types.StorageError.StorageErrorCode


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("bigquery")) as server:
        yield server


@pytest.fixture
def client(server) -> bigquery.Client:
    """A client of a dataset with an empty table, with one column n."""
    for listed in server.client.list_tables("d"):
        server.client.delete_table(listed)
    fields = [bigquery.SchemaField("n", "INTEGER")]
    server.client.create_table(bigquery.Table(f"{DATASET}.t", fields))
    return server.client


def of_dataset(**options: Any) -> bigquery.QueryJobConfig:
    return bigquery.QueryJobConfig(default_dataset=DATASET, **options)


def load(client: bigquery.Client, rows: pa.Table, table: str, **options: Any) -> Any:
    file = io.BytesIO()
    pq.write_table(rows, file)
    config = bigquery.LoadJobConfig(source_format="PARQUET", **options)
    return client.load_table_from_file(file, table, rewind=True, job_config=config)


def batch(*numbers: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"n": numbers}, N)


def appended(server: Server, stream: str, *batches: pa.RecordBatch) -> list[Any]:
    """Send batches to a stream; return the answers."""
    requests = [request_of(one, stream, one.schema) for one in batches]
    return list(server.writer.append_rows(iter(requests), metadata=metadata(stream)))


def pending(server: Server, *batches: pa.RecordBatch) -> str:
    """Send batches to a pending stream; return its name."""
    kind = types.WriteStream(type_=types.WriteStream.Type.PENDING)
    stream = server.writer.create_write_stream(parent=TABLE, write_stream=kind)
    appended(server, stream.name, *batches)
    server.writer.finalize_write_stream(name=stream.name)
    return str(stream.name)


def commit(server: Server, *streams: str) -> set[Any]:
    """Commit streams; return the codes of what went wrong."""
    request = types.BatchCommitWriteStreamsRequest(parent=TABLE, write_streams=streams)
    answer = server.writer.batch_commit_write_streams(request)
    return {error.code for error in answer.stream_errors}


# -- statements and jobs ---------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{file}'",
        "EXPORT DATA OPTIONS (uri = '{file}', format = 'PARQUET') AS SELECT 1 AS n",
        "SELECT * FROM read_csv('/etc/hostname')",
        "SELECT * FROM `/etc/hostname`",
        "SELECT content FROM read_text('/etc/hostname')",
        "SELECT * FROM glob('/*')",
        "ATTACH '{file}' AS other",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "CREATE TABLE d.x AS SELECT * FROM read_csv('/etc/hostname')",
    ],
)
def test_a_statement_touches_no_file_of_the_machine(client, tmp_path, sql):
    """Whoever reaches the port can send one."""
    file = tmp_path / "folder" / "file"
    with pytest.raises(GoogleAPICallError):
        client.query(sql.replace("{file}", str(file)), job_retry=None).result(
            job_retry=None
        )

    assert not file.parent.exists()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ST_GEOGPOINT(1, 2)",
        "DECLARE x INT64",
        "SELECT BIGNUMERIC '1'",
        "SELECT column_name FROM d.INFORMATION_SCHEMA.COLUMNS",
        "SELECT * FROM d.t FOR SYSTEM_TIME AS OF TIMESTAMP '2026-03-01'",
        "SELECT * FROM `d.t@-3600000`",
        "SELECT CURRENT_TIME()",
        "SELECT MAX(t) - MIN(t) FROM UNNEST([CURRENT_TIMESTAMP()]) AS t",
        "SELECT ?",
        "SELECT @@row_count",
    ],
)
def test_a_statement_that_it_cannot_translate_is_named(client, sql):
    with pytest.raises(api.BadRequest, match="BigQuery on this machine cannot run"):
        client.query_and_wait(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "MERGE t USING ({source}) AS s ON t.n = s.n WHEN MATCHED THEN DELETE",
        "UPDATE t SET n = s.n FROM ({source}) AS s WHERE t.n = s.n",
    ],
)
def test_two_rows_of_a_source_for_one_row_are_refused(server, client, sql):
    load(client, pa.table({"n": [1, 2]}), f"{DATASET}.t").result()
    two = sql.replace("{source}", "SELECT 1 AS n UNION ALL SELECT 1")
    with pytest.raises(api.BadRequest, match="must match at most one source row"):
        client.query_and_wait(two, job_config=of_dataset())
    one = sql.replace("{source}", "SELECT 1 AS n")
    job = client.query(one, job_config=of_dataset())
    job.result()

    assert job.num_dml_affected_rows == 1


def test_rows_come_by_pages(client):
    """Of a query and of a table."""
    load(client, pa.table({"n": range(25)}), f"{DATASET}.t").result()
    rows = client.query_and_wait("SELECT n FROM d.t ORDER BY n", page_size=10)
    for found in (rows, client.list_rows(f"{DATASET}.t", page_size=10)):
        assert [len(list(page)) for page in found.pages] == [10, 10, 5]


def test_values_of_each_type_come_back(client):
    """As JSON and as Arrow; in lists and structs, and null."""
    sql = (
        "SELECT NUMERIC '1.50' AS m, 0.1 AS f, TRUE AS b, b'\\x00z' AS y, "
        "DATE '2026-03-02' AS d, TIMESTAMP '2026-03-02 00:00:00.000001' AS t, "
        "DATETIME '2026-03-02 01:02:03' AS dt, [STRUCT(1 AS a, ['x', 'y'] AS l)] AS s, "
        "CAST(NULL AS STRING) AS z, ARRAY<INT64>[] AS e"
    )
    [row] = client.query_and_wait(sql)
    [arrow] = client.query_and_wait(sql).to_arrow().to_pylist()

    assert dict(row) == arrow
    assert (arrow["z"], arrow["e"]) == (None, [])
    assert arrow["t"] == datetime(2026, 3, 2, microsecond=1, tzinfo=UTC)
    assert arrow["s"] == [{"a": 1, "l": ["x", "y"]}]


def test_a_dry_run_says_the_columns_and_runs_nothing(client):
    """Google's analyzer refuses what DuckDB would take."""
    query = of_dataset(dry_run=True)
    job = client.query("SELECT n, [STRUCT('x' AS a)] AS s FROM t", job_config=query)
    client.query("INSERT INTO t (n) SELECT 1", job_config=query)

    with pytest.raises(api.BadRequest, match=r"operator = .* INT64, STRING at \[1:"):
        client.query("SELECT * FROM d.t WHERE n = '1'", job_config=query)

    assert [one.field_type for one in job.schema] == ["INTEGER", "RECORD"]
    assert client.get_table(f"{DATASET}.t").num_rows == 0


def test_jobs_are_found_by_their_ids_and_listed(client):
    job = client.query("SELECT 1 AS n", job_id=f"m{uuid.uuid4()}", job_retry=None)
    job.result(job_retry=None)

    assert job.job_id in {listed.job_id for listed in client.list_jobs()}
    assert client.get_job(job.job_id).state == "DONE"
    with pytest.raises(api.NotFound):
        client.get_job("nobody's")


def test_a_job_that_is_repeated_runs_once(server, client):
    """Whoever lost the answer sends it again, by the same id."""
    name = f"mine-{uuid.uuid4()}"
    resource = {
        "jobReference": {"projectId": PROJECT, "jobId": name},
        "configuration": {
            "query": {
                "query": "INSERT INTO d.t (n) SELECT 1",
                "useLegacySql": False,
            }
        },
    }
    url = f"http://{HOST}:{server.port}/bigquery/v2/projects/{PROJECT}/jobs"
    statuses = [requests.post(url, json=resource, timeout=60) for _ in range(2)]
    client.get_job(name).result(job_retry=None)

    assert [answer.status_code for answer in statuses] == [200, 409]
    assert server.rows("SELECT n FROM t") == [(1,)]


def test_a_request_that_is_repeated_runs_once(server, client):
    url = f"http://{HOST}:{server.port}/bigquery/v2/projects/{PROJECT}/queries"
    request = {
        "query": "INSERT INTO d.t (n) SELECT 1",
        "useLegacySql": False,
        "requestId": str(uuid.uuid4()),
        "jobCreationMode": "JOB_CREATION_OPTIONAL",
    }
    answers = [requests.post(url, json=request, timeout=60).json() for _ in range(2)]

    assert [one["numDmlAffectedRows"] for one in answers] == ["1", "1"]
    assert server.rows("SELECT n FROM t") == [(1,)]


@pytest.mark.parametrize(("after_ms", "why"), [(300, "timed out"), (None, "cancelled")])
def test_a_query_ends_when_its_time_is_over_or_it_is_cancelled(client, after_ms, why):
    """The work, too: its job is done."""
    config = of_dataset(job_timeout_ms=after_ms)
    job = client.query(ENDLESS, job_config=config, job_retry=None)
    if after_ms is None:
        client.cancel_job(job.job_id)
    with pytest.raises(GoogleAPICallError, match=why):
        job.result(job_retry=None)

    assert client.get_job(job.job_id).state == "DONE"


def test_a_table_waits_for_no_change_of_another(server, client):
    """An append, a lookup and a script go on beside it."""
    server.rows("CREATE TABLE other (n INT64)")
    into_other = f"INSERT INTO other (n) {ENDLESS}"
    job = client.query(into_other, job_config=of_dataset(), job_retry=None)
    appended(server, DEFAULT, batch(1))
    server.rows("BEGIN TRANSACTION; INSERT INTO t (n) SELECT 2; COMMIT TRANSACTION;")
    found = server.rows("SELECT n FROM t ORDER BY n")
    state = client.get_job(job.job_id).state
    client.cancel_job(job.job_id)

    assert (found, state) == ([(1,), (2,)], "RUNNING")


def test_a_statement_reads_a_table_whose_filter_it_gives(client):
    """BigQuery refuses the others, so that none reads years by accident."""
    table = bigquery.Table(f"{DATASET}.days", [bigquery.SchemaField("day", "DATE")])
    table.time_partitioning = bigquery.TimePartitioning(field="day")
    table.require_partition_filter = True
    client.create_table(table)
    config = of_dataset()
    read = "SELECT * FROM days WHERE day > '2026-01-01'"
    client.query_and_wait(read, job_config=config)
    with pytest.raises(api.BadRequest, match="without a filter over column"):
        client.query_and_wait("SELECT * FROM days", job_config=config)
    with pytest.raises(api.BadRequest, match="without a filter over column"):
        client.query_and_wait("DELETE FROM days WHERE TRUE", job_config=config)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"configuration": {"copy": {}}}'])
def test_a_wrong_request_is_refused(server, client, body):
    url = f"http://{HOST}:{server.port}/bigquery/v2/projects/{PROJECT}/jobs"
    answer = requests.post(url, body, timeout=60)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)


# -- tables and loads ------------------------------------------------------------------


def test_a_table_gets_columns_and_keeps_its_rows(server, client):
    client.query_and_wait("INSERT INTO d.t (n) SELECT 1")
    table = client.get_table(f"{DATASET}.t")
    more = bigquery.SchemaField("more", "STRING", mode="REPEATED")
    table.schema = [*table.schema, more]
    client.update_table(table, ["schema"])

    assert client.get_table(f"{DATASET}.t").schema[1].mode == "REPEATED"
    assert server.rows("SELECT * FROM t") == [(1, [])]
    table.schema = table.schema[1:]
    with pytest.raises(api.BadRequest, match="columns can only be added"):
        client.update_table(table, ["schema"])


def test_a_load_that_fails_leaves_the_rows_of_before(server, client):
    name = f"{DATASET}.t"
    load(client, pa.table({"n": [1]}), name).result()
    wrong = pa.table({"n": ["1", "x"]})
    fields = [bigquery.SchemaField("n", "INTEGER")]
    replacing = {"write_disposition": "WRITE_TRUNCATE", "schema": fields}
    job = load(client, wrong, name, **replacing)
    with pytest.raises(api.BadRequest):
        job.result()

    assert server.rows("SELECT n FROM t") == [(1,)]


def test_a_large_load_comes_in_pieces(server, client):
    """Of Parquet and of JSON, a row a line."""
    rows = pa.table({"n": range(400_000), "text": [uuid.uuid4().hex] * 400_000})
    file = io.BytesIO()
    pq.write_table(rows, file, compression="none", use_dictionary=False)
    assert file.tell() > 6_000_000
    config = bigquery.LoadJobConfig(source_format="PARQUET")
    name = f"{DATASET}.large"
    client.load_table_from_file(file, name, rewind=True, job_config=config).result()
    found = [{"n": 1, "m": "0.1", "at": "2026-03-02T00:00:00Z", "l": ["x"]}]
    fields = [
        bigquery.SchemaField("n", "INTEGER"),
        bigquery.SchemaField("m", "NUMERIC"),
        bigquery.SchemaField("at", "TIMESTAMP"),
        bigquery.SchemaField("l", "STRING", mode="REPEATED"),
    ]
    config = bigquery.LoadJobConfig(schema=fields)
    client.load_table_from_json(found, f"{DATASET}.lines", job_config=config).result()

    assert server.rows("SELECT COUNT(*), SUM(n) FROM large") == [
        (400_000, sum(range(400_000)))
    ]
    assert server.rows(
        "SELECT CAST(m AS STRING), EXTRACT(YEAR FROM at), l FROM lines"
    ) == [("0.1", 2026, ["x"])]


def test_a_chunk_of_a_load_that_comes_again_is_stored_once(server, client):
    """A client sends it again that lost the answer, to the last one, too."""
    url = f"http://{HOST}:{server.port}/upload/bigquery/v2/projects/{PROJECT}/jobs"
    fields = [{"name": "n", "type": "INTEGER"}]
    loaded = {
        "sourceFormat": "NEWLINE_DELIMITED_JSON",
        "destinationTable": {"projectId": PROJECT, "datasetId": "d", "tableId": "t"},
        "schema": {"fields": fields},
    }
    begun = requests.post(
        f"{url}?uploadType=resumable",
        json={"configuration": {"load": loaded}},
        timeout=60,
    )
    answers = sent_twice(begun.headers["Location"], [b'{"n": 1}\n', b'{"n": 2}\n'])

    assert [answer.status_code for answer in answers] == [308, 308, 200, 200]
    jobs = {answer.json()["jobReference"]["jobId"] for answer in answers[2:]}
    client.get_job(*jobs).result(retry=None)
    assert server.rows("SELECT n FROM t ORDER BY n") == [(1,), (2,)]


def test_a_wildcard_follows_its_tables(server, client):
    """One comes, one goes, one gets a column, and one is replaced."""
    count = "SELECT COUNT(*), MAX(_TABLE_SUFFIX) FROM `d.days_*`"
    for day in "123":
        load(client, pa.table({"n": [1]}), f"{DATASET}.days_{day}").result()
    assert server.rows(count) == [(3, "3")]
    client.delete_table(f"{DATASET}.days_3")
    wider = pa.table({"n": [1, 2], "m": ["a", "b"]})
    replacing = {"write_disposition": "WRITE_TRUNCATE"}
    load(client, wider, f"{DATASET}.days_2", **replacing).result()

    assert server.rows(count) == [(3, "2")]
    assert server.rows("SELECT m FROM `d.days_*` ORDER BY m NULLS FIRST") == [
        (None,),
        ("a",),
        ("b",),
    ]


# -- streams ---------------------------------------------------------------------------


def test_rows_are_refused_one_by_one(server, client):
    """None of a request is appended where one is refused."""
    fields = [
        bigquery.SchemaField("n", "INTEGER"),
        bigquery.SchemaField("day", "DATE", mode="REQUIRED"),
    ]
    client.create_table(bigquery.Table(f"{DATASET}.strict", fields))
    schema = pa.schema([("n", pa.int64()), ("day", pa.date32())])
    rows = [{"n": 1, "day": None}, {"n": 2, "day": datetime(2026, 3, 2, tzinfo=UTC)}]
    stream = DEFAULT.replace("tables/t/", "tables/strict/")
    [answer] = appended(server, stream, pa.RecordBatch.from_pylist(rows, schema))

    assert [error.index for error in answer.row_errors] == [0]
    assert server.rows("SELECT n FROM strict") == []


def test_a_stream_is_seen_once_it_is_committed(server, client):
    """And committed once, however often that is asked for."""
    stream = pending(server, batch(1, 2), batch(3))
    assert server.rows("SELECT n FROM t") == []
    assert commit(server, stream) == set()
    assert commit(server, stream) == {Codes.STREAM_ALREADY_COMMITTED}
    assert commit(server, f"{TABLE}/streams/none") == {Codes.STREAM_NOT_FOUND}

    assert server.rows("SELECT n FROM t ORDER BY n") == [(1,), (2,), (3,)]


# -- killed ----------------------------------------------------------------------------


def test_what_was_answered_is_there_after_a_kill(tmp_path):
    """Tables, views, rows, ids of jobs and streams. A stream that nobody committed is
    not found."""
    with Server(tmp_path) as server:
        client = server.client
        fields = [bigquery.SchemaField("n", "INTEGER", description="a number")]
        client.create_table(bigquery.Table(f"{DATASET}.t", fields))
        view = bigquery.Table(f"{DATASET}.v")
        view.view_query = f"SELECT n * 2 / 3 AS m FROM `{DATASET}.t`"
        client.create_table(view)
        appended(server, DEFAULT, batch(3))
        job = client.query(
            "INSERT INTO t (n) SELECT 6; SELECT 1",
            job_config=of_dataset(),
            job_id="j",
            job_retry=None,
        )
        job.result(job_retry=None)
        stream = pending(server, batch(9))
        commit(server, stream)
        open_stream = pending(server, batch(12))
        before = client.get_table(f"{DATASET}.t").to_api_repr()
        server.kill()

        assert server.rows("SELECT m FROM v ORDER BY m") == [(2.0,), (4.0,), (6.0,)]
        assert client.get_table(f"{DATASET}.t").to_api_repr() == before
        assert commit(server, stream) == {Codes.STREAM_ALREADY_COMMITTED}
        assert commit(server, open_stream) == {Codes.STREAM_NOT_FOUND}
        with pytest.raises(api.BadRequest, match="interrupted"):
            client.get_job("j").result(job_retry=None)
        assert server.rows("SELECT COUNT(*) FROM t") == [(3,)]


@pytest.mark.long
def test_a_full_disk_loses_nothing(tmp_path):
    """What was answered is there with more room; what was not is not."""
    with Server(tmp_path, limit="ulimit -f 12000;") as server:
        client = server.client
        loaded = 0
        is_full = False
        while not is_full:
            text = [uuid.uuid4().hex for _ in range(100_000)]
            rows = pa.table({"text": text, "part": [loaded] * len(text)})
            try:
                load(client, rows, f"{DATASET}.t").result(retry=None, timeout=60)
                loaded += 1
            except GoogleAPICallError:
                is_full = True
        server.limit = ""
        server.kill()
        found = server.rows("SELECT part, COUNT(*) FROM t GROUP BY part ORDER BY part")

    assert loaded
    assert found == [(part, 100_000) for part in range(loaded)]


def test_what_is_beyond_the_memory_lies_in_the_folder(tmp_path, monkeypatch):
    """A list has to be in the memory: the refusal says how to have more."""
    monkeypatch.setenv("PROPENSITY_LOCAL_MEMORY", "40MiB")
    ground = BigQuery("p", None, folder=tmp_path)
    numbers = "SELECT n, CONCAT('a text that is long ', CAST(n AS STRING)) AS t FROM"
    many = f"WITH a AS ({numbers} UNNEST(GENERATE_ARRAY(1, 1500000)) AS n)"
    last = f"{many} SELECT COUNT(*) FROM a WHERE t = (SELECT MAX(t) FROM a)"

    assert ground.query(last).rows.table.to_pylist() == [{"f0_": 1}]
    with pytest.raises(api.BadRequest, match="PROPENSITY_LOCAL_MEMORY=4GB"):
        ground.query(f"{many} SELECT ARRAY_LENGTH(ARRAY_AGG(t)) FROM a")
