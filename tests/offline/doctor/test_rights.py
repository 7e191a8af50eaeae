"""The doctor's question of rights, specified on answers like Google Cloud's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from google.auth.exceptions import GoogleAuthError

from deploy import functions
from offline.doctor.examination import Examination, Services, reaching
from offline.doctor.rights import READS_TABLE, check_permissions
from propensity import usecases
from propensity.errors import Unavailable
from propensity.settings import Settings
from tests.functions.streaming import USE_CASE
from tests.offline.doctor.conftest import NOW
from tests.proxy import Asked, answering


class Google:
    """Answers what an account may do, as Google Cloud does: all but what is denied."""

    def __init__(self) -> None:
        self.denied: set[tuple[str, str]] = set()
        self.requests: dict[str, list[str]] = {}
        self.server = answering(self.answer)

    @property
    def services(self) -> Services:
        return Services(*[f"{self.server.url}/{n}" for n in "pbsum"])

    def answer(self, request: Asked) -> tuple[int, bytes]:
        url = urlsplit(request.path)
        query = (
            parse_qs(url.query) if request.method == "GET" else json.loads(request.body)
        )
        self.requests[url.path] = permissions = query["permissions"]
        resource = url.path.removesuffix("/iam/testPermissions").rpartition("/")[2]
        resource = resource.partition(":")[0]
        allowed = [
            permission
            for permission in permissions
            if (resource, permission) not in self.denied
        ]
        return 200, json.dumps({"permissions": allowed} if allowed else {}).encode()


@pytest.fixture
def google() -> Iterator[Google]:
    service = Google()
    with service.server:
        yield service


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
        for function in functions.load():
            assert _examined(function.target, google).report.findings == []
        permissions = google.requests[
            "/b/p/datasets/propensity/tables/inference_log:testIamPermissions"
        ]

        assert set(permissions) == {*READS_TABLE}
        assert google.requests["/u/p/topics/scores:testIamPermissions"] == [
            "pubsub.topics.publish"
        ]

    def test_that_are_missing_are_named(self, google):
        """What the account lacks, on what, and what to do."""
        google.denied = {
            ("ma_predictions_table", "bigquery.tables.getData"),
            ("p", "bigquery.jobs.create"),
        }
        messages = [
            finding.what for finding in _examined("get_proba", google).report.findings
        ]

        assert messages == [
            "the account of get_proba lacks bigquery.jobs.create on project p",
            "the account of get_proba lacks bigquery.tables.getData on table "
            "ma_predictions_table",
        ]

    def test_of_an_examination_are_asked_for_without_a_function(self, google):
        """Whoever examines needs to read tables, objects and topics."""
        google.denied = {("the-bucket", "storage.objects.list")}
        [finding] = _examined("", google).report.findings

        assert finding.what == (
            "this account lacks storage.objects.list on bucket the-bucket"
        )

    def test_on_single_prefixes_are_not_claimed(self, google):
        """A right that holds for some objects cannot be seen on the bucket."""
        exam = _examined("score", google)

        assert "single prefixes" in exam.report.not_checked[0].why


def test_what_is_not_asked_for_lack_of_credentials_says_what_to_do():
    """In sentences, whatever Google's own ends with."""
    message = r"no credentials: not found\. Run `gcloud auth"

    with pytest.raises(Unavailable, match=message), reaching("BigQuery"):
        raise GoogleAuthError("not found.")
