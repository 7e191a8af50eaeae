"""
What calls need, specified: SQL in and tables out, requests in and permissions out.

That a deployment grants just that is the matter of ``tests/functions/test_rights.py``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from deploy import configuration
from propensity.statements import statement
from tests import rights
from tests.deploy.conftest import SETTINGS
from tests.grants import Grant, grants, narrower, unused, wider
from tests.recorder import BIGQUERY, GRPC, STORAGE, Call
from tests.rights import Need, NoRule

SITE = rights.Site(
    project="p",
    dataset="d",
    export="ga",
    bucket="b",
    views={"ga_events": "SELECT 1 FROM `p.ga.events_*`", "v": "SELECT 1 FROM `p.d.t`"},
)
JOB = Need("bigquery.jobs.create", "project", "")


def needed(*calls: Call) -> set[tuple[str, str]]:
    """What calls need: permission without its service, and what on."""
    return {
        (need.permission.partition(".")[2], need.name)
        for need in rights.needs(calls, SITE)
    }


def of_sql(sql: str) -> set[tuple[str, str]]:
    return {
        (need.permission.rpartition(".")[2], need.name)
        for need in rights.of_sql(sql, "d", SITE)
    }


def http(method: str, path: str, body: Any = b"", *, status: int = 200) -> Call:
    """A call of BigQuery, or of Cloud Storage by its path."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    api = STORAGE if "/storage/" in path else BIGQUERY
    return Call(api, method, path, data, status)


class TestSql:
    @pytest.mark.parametrize(
        ("sql", "tables"),
        [
            ("SELECT a FROM t", {"getData": "d.t"}),
            ("SELECT a FROM `p.other.t`", {"getData": "other.t"}),
            ("WITH w AS (SELECT a FROM t) SELECT a FROM w", {"getData": "d.t"}),
            ("SELECT a FROM UNNEST([1]) AS a", {}),
            ("INSERT INTO t (a) VALUES (1)", {"updateData": "d.t"}),
            ("UPDATE t SET a = 1 WHERE b", {"updateData": "d.t", "getData": "d.t"}),
            ("DELETE FROM t WHERE b", {"updateData": "d.t", "getData": "d.t"}),
        ],
    )
    def test_names_tables_by_what_is_done_with_them(self, sql, tables):
        """A name of a WITH is no table, and one of another dataset is that one's."""
        assert of_sql(sql) == set(tables.items())

    def test_names_both_sides(self):
        """What is written is told from what is read, in a script too."""
        script = """
        BEGIN TRANSACTION;
        INSERT INTO a (x) SELECT x FROM b;
        MERGE c USING (SELECT x FROM a) AS s ON c.x = s.x WHEN NOT MATCHED THEN
          INSERT (x) VALUES (s.x);
        COMMIT TRANSACTION;
        """
        assert of_sql(script) == {
            ("updateData", "d.a"),
            ("getData", "d.b"),
            ("updateData", "d.c"),
            ("getData", "d.c"),
            ("getData", "d.a"),
        }

    def test_names_a_table_that_has_a_name_of_a_with_elsewhere(self):
        """A WITH is known within its own query only."""
        sql = "SELECT 1 FROM (WITH t AS (SELECT 1 FROM a) SELECT 1 FROM t), t"

        assert of_sql(sql) == {("getData", "d.a"), ("getData", "d.t")}

    def test_reads_views_as_the_tables_behind(self):
        """Neither view is an authorised one: who reads it must be able to run it."""
        assert of_sql("SELECT 1 FROM v") == {("getData", "d.v"), ("getData", "d.t")}
        assert of_sql("SELECT 1 FROM ga_events") == {
            ("getData", "d.ga_events"),
            ("getData", "ga"),
        }

    def test_of_an_export_names_its_objects(self):
        """What is exported is read, and objects are created, and overwritten."""
        script = statement("export_inference_log") + statement("export_day")

        assert of_sql(script.replace("gs://bucket/", "gs://b/")) == {
            ("getData", "d.inference_log"),
            ("create", "folder/part-*.parquet"),
            ("delete", "folder/part-*.parquet"),
        }
        assert of_sql("EXPORT DATA OPTIONS (uri = 'gs://b/f') AS SELECT a FROM t") == {
            ("export", "d.t"),
            ("getData", "d.t"),
            ("create", "f"),
        }

    def test_needs_nothing_for_what_a_script_makes_for_itself(self):
        """A temporary table is nobody else's; what it is made of is read."""
        script = """
        CREATE TEMP TABLE x PARTITION BY day AS SELECT a, day FROM t;
        MERGE u USING x ON u.a = x.a WHEN NOT MATCHED THEN INSERT (a) VALUES (a);
        SELECT COUNT(*) FROM x
        """

        assert of_sql(script) == {
            ("getData", "d.t"),
            ("updateData", "d.u"),
            ("getData", "d.u"),
        }

    @pytest.mark.parametrize(
        "sql", ["CREATE TABLE t (a INT64)", "DROP TABLE t", "TRUNCATE TABLE t"]
    )
    def test_that_no_rule_knows_is_an_error(self, sql):
        """What is not understood is not proved."""
        with pytest.raises(NoRule):
            of_sql(sql)


PROJECT = "/bigquery/v2/projects/p"
TABLE = f"{PROJECT}/datasets/d/tables/t"


class TestBigQuery:
    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/queries", {"query": "SELECT 1 FROM t"}),
            ("/jobs", {"configuration": {"query": {"query": "SELECT 1 FROM t"}}}),
        ],
    )
    def test_needs_a_job_for_a_query(self, path, body):
        """With or without a job of its own, its tables are of the default dataset."""
        asked = body.get("configuration", {}).get("query", body)
        asked["defaultDataset"] = {"projectId": "p", "datasetId": "d"}
        call = http("POST", f"{PROJECT}{path}", body)

        assert needed(call) == {("jobs.create", ""), ("tables.getData", "d.t")}
        assert JOB in rights.needs([call], SITE)

    @pytest.mark.parametrize("upload", ["multipart", "resumable"])
    def test_needs_to_create_and_alter_tables_for_a_load(self, upload):
        """As the page on loading has it, though the table is there; however it is
        sent: the job's description comes first."""
        load = {
            "destinationTable": {"projectId": "p", "datasetId": "d", "tableId": "t"},
            "createDisposition": "CREATE_NEVER",
            "writeDisposition": "WRITE_APPEND",
        }
        body = json.dumps({"configuration": {"load": load}}).encode()
        if upload == "multipart":
            body = (
                b"--==\r\ncontent-type: application/json\r\n\r\n" + body + b"\r\nPAR1"
            )
        path = f"/upload{PROJECT}/jobs?uploadType={upload}"

        assert needed(http("POST", path, body), http("PUT", path, b"PAR1")) == {
            ("jobs.create", ""),
            ("tables.create", "d"),
            ("tables.update", "d.t"),
            ("tables.updateData", "d.t"),
        }

    @pytest.mark.parametrize(
        ("method", "path", "needs"),
        [
            ("GET", f"{TABLE}/data?maxResults=5", {("tables.getData", "d.t")}),
            ("GET", TABLE, {("tables.get", "d.t")}),
            ("POST", f"{PROJECT}/datasets/d/tables", {("tables.create", "d")}),
            ("GET", f"{PROJECT}/queries/j?location=US", set()),
            ("GET", f"{PROJECT}/jobs/j", set()),
            ("GET", f"{PROJECT}/datasets/_hidden/tables/anon/data", set()),
        ],
    )
    def test_needs_what_the_method_is_about(self, method, path, needs):
        """A job and its result are whose it is."""
        assert needed(http(method, path)) == needs

    def test_needs_to_run_what_a_view_is_given(self):
        """Its tables must be readable for who gives a view its text."""
        body = {"view": {"query": "SELECT 1 FROM `p.d.t`"}}

        assert needed(http("PATCH", f"{PROJECT}/datasets/d/tables/v", body)) == {
            ("tables.get", "d.v"),
            ("tables.update", "d.v"),
            ("tables.getData", "d.t"),
        }

    def test_knows_no_other_method(self):
        """Nobody deletes tables."""
        with pytest.raises(NoRule, match="DELETE"):
            needed(http("DELETE", TABLE))


OBJECTS = "/storage/v1/b/b/o"
UPLOAD = "/upload/storage/v1/b/b/o?uploadType=multipart"
NAMED = b'--==\r\n\r\n{"name": "x/y"}\r\n--==\r\n\r\n{"name": "of the content"}'


class TestStorage:
    @pytest.mark.parametrize(
        ("method", "path", "body", "needs"),
        [
            ("GET", f"{OBJECTS}/x%2Fy?alt=media", b"", {("get", "x/y")}),
            ("GET", f"/download{OBJECTS}/x%2Fy?alt=media", b"", {("get", "x/y")}),
            ("GET", f"{OBJECTS}?prefix=x", b"", {("list", "")}),
            ("GET", "/storage/v1/b/b?fields=name", b"", set()),
            ("DELETE", f"{OBJECTS}/x%2Fy", b"", {("delete", "x/y")}),
            ("POST", f"{UPLOAD}&ifGenerationMatch=0", NAMED, {("create", "x/y")}),
            ("POST", UPLOAD, NAMED, {("create", "x/y"), ("delete", "x/y")}),
            (
                "POST",
                f"{UPLOAD}&ifGenerationMatch=7",
                NAMED,
                {("create", "x/y"), ("delete", "x/y")},
            ),
            ("PUT", f"{UPLOAD}&upload_id=1", b"bytes", set()),
        ],
    )
    def test_needs_what_the_method_does(self, method, path, body, needs):
        """An object that is not to be there yet is created, any other overwritten."""
        found = {
            (name.partition(".")[2], on)
            for name, on in needed(http(method, path, body))
        }

        assert found == needs

    def test_needs_to_list_to_learn_that_there_is_nothing(self):
        """Who may only read is refused, as for what is there and is not theirs."""
        call = http("GET", f"{OBJECTS}/x", status=404)

        assert needed(call) == {("objects.get", "x"), ("objects.list", "")}

    def test_needs_not_to_read_what_it_found_taken(self):
        """The first look at it after that may be refused; a second one counts."""
        create = http("POST", f"{UPLOAD}&ifGenerationMatch=0", NAMED, status=412)
        look = http("GET", f"{OBJECTS}/x%2Fy")

        assert needed(create, look) == {("objects.create", "x/y")}
        assert ("objects.get", "x/y") in needed(create, look, look)

    def test_knows_no_other_bucket(self):
        """There is only one."""
        with pytest.raises(NoRule):
            needed(http("GET", "/storage/v1/b/another/o/x"))


READ = "/google.cloud.bigquery.storage.v1.BigQueryRead"
WRITE = "/google.cloud.bigquery.storage.v1.BigQueryWrite"


class TestGrpc:
    @pytest.mark.parametrize(
        ("method", "name", "needs"),
        [
            (
                f"{WRITE}/AppendRows",
                "projects/p/datasets/d/tables/t/streams/_default",
                {("tables.updateData", "d.t")},
            ),
            *(
                (f"{WRITE}/{method}", name, {("tables.updateData", "d.t")})
                for method, name in (
                    ("CreateWriteStream", "projects/p/datasets/d/tables/t"),
                    ("FinalizeWriteStream", "projects/p/datasets/d/tables/t/streams/s"),
                    ("BatchCommitWriteStreams", "projects/p/datasets/d/tables/t"),
                )
            ),
            (
                f"{READ}/CreateReadSession",
                "projects/p/datasets/d/tables/t",
                {("readsessions.create", ""), ("tables.getData", "d.t")},
            ),
            (
                f"{READ}/CreateReadSession",
                "projects/p/datasets/_hidden/tables/anon",
                {("readsessions.create", "")},
            ),
            (f"{READ}/ReadRows", "projects/p/x", {("readsessions.getData", "")}),
            (
                "/google.pubsub.v1.Publisher/Publish",
                "projects/p/topics/scores",
                {("topics.publish", "scores")},
            ),
        ],
    )
    def test_needs_what_the_method_is_about(self, method, name, needs):
        """Appended to, read as a stream, published to."""
        assert needed(Call(GRPC, method, name)) == needs

    def test_knows_no_other_method(self):
        """Rows that are flushed before they are committed are none of what is done."""
        with pytest.raises(NoRule, match="FlushRows"):
            needed(Call(GRPC, f"{WRITE}/FlushRows", ""))


def granted(target: str) -> dict[str, Grant]:
    """What a function is granted by the settings of these tests, by what it says."""
    d = configuration.of(SETTINGS)
    prefix = f"{d.name(target)} "
    return {one.what.removeprefix(prefix): one for one in grants(d, target)}


class TestGrants:
    def test_are_read_from_the_commands(self):
        """Role, kind of resource and its name, or what its names begin and end with."""
        found = granted("model_training")

        assert found["is bigquery.jobUser in the project"].kind == "project"
        assert found["may read stream_events"].prefix == "propensity.stream_events"
        assert found["has bigquery.dataViewer on dataset analytics_1"].kind == "dataset"
        updates = "propensity-model-updates"
        assert found[f"may publish to {updates}"].prefix == updates
        assert found["may list the names in the bucket"].kind == "bucket"
        pointers = found["may replace objects models/*/champion.json"]
        assert (pointers.prefix, pointers.suffix) == ("models/", "/champion.json")

    @pytest.mark.parametrize(
        ("permission", "kind", "name", "is_covered"),
        [
            ("storage.objects.delete", "object", "models/x/champion.json", True),
            ("storage.objects.delete", "object", "models/x/0/model.joblib", False),
            ("storage.objects.create", "object", "models/x/0/model.joblib", True),
            ("storage.objects.list", "bucket", "", True),
            ("bigquery.tables.getData", "table", "propensity.dead_letters", False),
            ("bigquery.tables.getData", "table", "analytics_1.events_1", True),
            ("bigquery.tables.create", "dataset", "propensity", False),
            ("pubsub.topics.publish", "topic", "enriched", False),
        ],
    )
    def test_cover_what_they_are_for(self, permission, kind, name, is_covered):
        """Permission and resource are both theirs, or the need is told."""
        need = Need(permission, kind, name)
        call = Call(GRPC, "Method", "its path")
        missing = narrower({need: call}, [*granted("model_training").values()])

        assert bool(missing) != is_covered
        if missing:
            assert f"{permission} on {kind} {name} is not granted" in missing[0]
            assert "Method its path needs it" in missing[0]

    def test_that_nothing_needs_are_too_wide(self):
        """So is a role that permits more, and one that another grant makes idle."""
        call = Call(GRPC, "Method", "its path")
        table = Need("bigquery.tables.updateData", "table", "d.t")
        writer = Grant("w", "projects/p/roles/propensity_table_writer", "table", "d.t")
        appender = Grant(
            "a", "projects/p/roles/propensity_table_appender", "table", "d.t"
        )
        idle = Grant("r", "roles/bigquery.dataViewer", "table", "d.t")

        assert wider({table: call}, [appender]) == []
        assert wider({table: call}, [writer]) == ["w: table_appender would do"]
        assert wider({table: call}, [appender, idle]) == [
            "r: nothing that was done needs it"
        ]
        again = replace(appender, what="again")
        assert len(wider({table: call}, [appender, again])) == 2

    def test_of_own_roles_that_nobody_uses_are_told(self):
        """By role and permission."""
        need = Need("bigquery.tables.get", "table", "d.v")
        keeper = Grant("k", "projects/p/roles/propensity_view_keeper", "table", "d.v")
        found = unused({"f": {need: Call(GRPC, "m", "p")}}, {"f": [keeper]})

        assert found["view_keeper"] == ["bigquery.tables.update"]
        assert "table_writer" in found
