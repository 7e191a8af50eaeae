"""The doctor's question of rights, specified on answers like Google Cloud's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest

from deploy import functions
from offline.doctor.examination import Examination, Services
from offline.doctor.rights import READS_TABLE, check_permissions
from propensity import usecases
from propensity.settings import Settings
from tests.functions.streaming import USE_CASE
from tests.offline.doctor.conftest import NOW


class Google:
    """Answers what an account may do, as Google Cloud does: all but what is denied."""

    def __init__(self) -> None:
        self.denied: set[tuple[str, str]] = set()
        self.asked: dict[str, list[str]] = {}
        google = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                query = parse_qs(urlsplit(self.path).query)
                self.reply(query["permissions"])

            def do_POST(self) -> None:  # noqa: N802
                length = int(self.headers["Content-Length"])
                self.reply(json.loads(self.rfile.read(length))["permissions"])

            def reply(self, asked: list[str]) -> None:
                path = urlsplit(self.path).path
                google.asked[path] = asked
                resource = path.removesuffix("/iam/testPermissions").rpartition("/")[2]
                resource = resource.partition(":")[0]
                given = [one for one in asked if (resource, one) not in google.denied]
                body = json.dumps({"permissions": given} if given else {}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        url = f"http://127.0.0.1:{self._server.server_port}"
        self.services = Services(*[f"{url}/{n}" for n in "pbsum"])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def google() -> Iterator[Google]:
    made = Google()
    yield made
    made.close()


def _examined(function: str, google: Google) -> Examination:
    settings = Settings(project="p", bucket="the-bucket", ga4_dataset="analytics_1")
    exam = Examination(
        settings=settings,
        now=NOW,
        use_cases=[usecases.load(USE_CASE)],
        zone=ZoneInfo("Etc/UTC"),
        function=function,
    )
    check_permissions(exam, google.services)
    return exam


class TestPermissions:
    def test_that_are_there_are_no_finding(self, google):
        """Every function's rights are asked for, on what functions.toml names."""
        for one in functions.load():
            assert _examined(one.target, google).report.findings == []
        asked = google.asked[
            "/b/p/datasets/propensity/tables/inference_log:testIamPermissions"
        ]

        assert set(asked) == {*READS_TABLE}
        assert google.asked["/u/p/topics/scores:testIamPermissions"] == [
            "pubsub.topics.publish"
        ]

    def test_that_are_missing_are_named(self, google):
        """What the account lacks, on what, and what to do."""
        google.denied = {
            ("ma_predictions_table", "bigquery.tables.getData"),
            ("p", "bigquery.jobs.create"),
        }
        found = [one.what for one in _examined("get_proba", google).report.findings]

        assert found == [
            "the account of get_proba lacks bigquery.jobs.create on project p",
            "the account of get_proba lacks bigquery.tables.getData on table "
            "ma_predictions_table",
        ]

    def test_of_an_examination_are_asked_for_without_a_function(self, google):
        """Whoever examines needs to read tables, objects and topics."""
        google.denied = {("the-bucket", "storage.objects.list")}
        [found] = _examined("", google).report.findings

        assert found.what == (
            "this account lacks storage.objects.list on bucket the-bucket"
        )

    def test_on_single_prefixes_are_not_claimed(self, google):
        """A right that holds for some objects cannot be seen on the bucket."""
        exam = _examined("score", google)

        assert "single prefixes" in exam.report.not_checked[0].why
