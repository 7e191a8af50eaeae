"""Errors of Google's clients as ours: class, permission, resource, and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests
from google.api_core import exceptions as api
from google.auth.exceptions import RefreshError

from local.processes import HOST, free_ports
from propensity.errors import (
    AccessDenied,
    Conflict,
    MissingTable,
    PropensityError,
    QueryTooExpensive,
    SchemaError,
    Unavailable,
)
from propensity.gcp.errors import BIGQUERY, PUBSUB, STORAGE, error_of
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from tests.proxy import Proxy

GOOGLE = Settings(project="p")


def refusal(code: int, message: str, *, reason: str) -> tuple[int, bytes]:
    """BigQuery's answer to a request that it refuses."""
    errors = [{"reason": reason, "message": message}]
    error = {"code": code, "message": message, "errors": errors}
    return code, json.dumps({"error": error}).encode()


class TestRights:
    @pytest.mark.parametrize(
        ("service", "text", "permission"),
        [
            (
                BIGQUERY,
                "Access Denied: Table p:d.t: Permission bigquery.tables.updateData "
                "denied on table (or it may not exist).",
                "bigquery.tables.updateData",
            ),
            (
                BIGQUERY,
                "Access Denied: Project my-project: User does not have "
                "bigquery.jobs.create permission in project my-project.",
                "bigquery.jobs.create",
            ),
            (
                STORAGE,
                "a@p.iam.gserviceaccount.com does not have storage.objects.get access "
                "to the Google Cloud Storage object.",
                "storage.objects.get",
            ),
            (BIGQUERY, "Access Denied: see www.example.com for help", ""),
        ],
    )
    def test_are_found_in_the_words_of_each_service(self, service, text, permission):
        error = error_of(api.Forbidden(text), GOOGLE, service)

        assert f"lacks {permission or 'a permission'}" in error.message

    def test_are_named_with_the_resource_and_what_to_do(self):
        error = error_of(
            api.PermissionDenied("User not authorized to perform this action."),
            GOOGLE,
            PUBSUB,
            needs="pubsub.topics.publish",
            on="projects/my-project/topics/scores",
        )

        assert (error.status, error.retryable) == (500, False)
        assert "pubsub.topics.publish on projects/my-project/topics" in error.message
        assert "deploy/setup.sh" in error.message

    @pytest.fixture
    def denying(self, opened, bigquery_emulator) -> Iterator[Warehouse]:
        """A warehouse that BigQuery denies everything about datasets."""
        answer = refusal(
            403,
            "Access Denied: Dataset theirs:analytics_1: Permission "
            "bigquery.tables.list denied on dataset theirs:analytics_1 (or it may not "
            "exist).",
            reason="accessDenied",
        )
        with Proxy(bigquery_emulator.url, lambda _: answer) as proxy:
            yield opened(bigquery_endpoint=proxy.url, ga4_dataset="theirs.analytics_1")

    @pytest.mark.parametrize(
        "ask",
        [
            lambda warehouse: warehouse.tables_of("theirs.analytics_1"),
            lambda warehouse: warehouse.rows("SELECT 1 FROM ga_events"),
        ],
    )
    def test_to_the_export_are_for_its_owner_to_grant(self, denying, ask):
        """The view is ours, and what it reads is theirs: the message has the role."""
        with pytest.raises(AccessDenied) as raised:
            ask(denying)

        role = "roles/bigquery.dataViewer on the dataset theirs.analytics_1"
        assert role in raised.value.message
        assert "its owner" in raised.value.message


class TestClasses:
    @pytest.mark.parametrize(
        ("sql", "error"),
        [
            ("SELECT * FROM nowhere", MissingTable),
            ("SELECT * FROM no_dataset.nowhere", MissingTable),
            ("SELECT shoe_size FROM ma_predictions_runs", SchemaError),
            ("SELEC 1", PropensityError),
        ],
    )
    def test_are_those_of_the_emulator(self, warehouse, sql, error):
        with pytest.raises(PropensityError) as caught:
            warehouse.rows(sql)

        assert type(caught.value) is error
        assert caught.value.retryable is False
        assert "\n" not in caught.value.message

    @pytest.mark.parametrize(
        ("error", "ours"),
        [
            ("analytics_1.events_* does not match any table.", MissingTable),
            ("Query exceeded limit for bytes billed: 1.", QueryTooExpensive),
            ("Unrecognized name: geo at [3:1]", SchemaError),
            ("Column value_observed is not present in table t", SchemaError),
            ("Field name refund_value does not exist in STRUCT<a>", SchemaError),
            ("Transaction is aborted due to concurrent update to t", Conflict),
            ("Could not serialize access to t", Conflict),
            ("Too many DML statements outstanding against table t", Unavailable),
            ("Syntax error", PropensityError),
            (api.NotFound("Not found: Table t"), MissingTable),
            (api.Forbidden("Access Denied"), AccessDenied),
            # A quota that is used up is 403, too, and no permission.
            (api.Forbidden("Quota", errors=[{"reason": "quota"}]), PropensityError),
            (api.InvalidArgument("Schema mismatch due to extra fields"), SchemaError),
            (api.Aborted("the stream was moved"), Unavailable),
            (api.ServiceUnavailable("down"), Unavailable),
            (api.InternalServerError("oops"), Unavailable),
            (api.RetryError("deadline", None), Unavailable),
            (ConnectionError("reset"), Unavailable),
            (TimeoutError(), Unavailable),
            (RefreshError("no metadata server"), Unavailable),
        ],
    )
    def test_tell_what_passes_from_what_stays(self, error, ours):
        """An outage passes; a table, a column or a right that is missing does not."""
        raised = api.BadRequest(error) if isinstance(error, str) else error

        assert type(error_of(raised, GOOGLE, BIGQUERY)) is ours

    @pytest.mark.parametrize("status", [500, 503])
    def test_that_pass_are_not_seen(self, opened, bigquery_emulator, status):
        """One failed request is sent again."""
        with Proxy(
            bigquery_emulator.url,
            lambda request: status if request.number == 0 else None,
        ) as proxy:
            [row] = opened(bigquery_endpoint=proxy.url).rows("SELECT 1 AS one")

        assert row["one"] == 1


class TestConflicts:
    """BigQuery ends one of two statements that change the same rows."""

    @pytest.mark.usefixtures("warehouse")
    @pytest.mark.parametrize(("aborted", "is_done"), [(1, True), (99, False)])
    def test_are_tried_again_for_the_time_of_a_query(
        self, opened, bigquery_emulator, monkeypatch, aborted, is_done
    ):
        """What is aborted has changed nothing. The error is the conflict itself."""
        answer = refusal(
            400,
            "Transaction is aborted due to concurrent update against table "
            "p.d.ma_predictions_table. Transaction ID: 1",
            reason="invalidQuery",
        )
        started: list[int] = []

        def rule(request):
            path = request.path.partition("?")[0]
            if request.method == "POST" and path.endswith("/jobs"):
                started.append(request.number)
                if len(started) <= aborted:
                    return answer
            return None

        monkeypatch.setattr(Settings, "query_timeout_s", 60 if is_done else 3)
        sql = "DELETE FROM ma_predictions_runs WHERE run_id = 'x'"
        with Proxy(bigquery_emulator.url, rule) as proxy:
            warehouse = opened(bigquery_endpoint=proxy.url)
            if is_done:
                warehouse.execute(sql)
            else:
                with pytest.raises(Conflict, match="another run wrote the same table"):
                    warehouse.execute(sql)

        assert 1 < len(started) < 99


@pytest.mark.parametrize("is_refused", [True, False])
def test_an_outage_names_who_was_asked_and_what_starts_it(is_refused):
    """A refused connection is no matter of time. Google needs no name."""
    [port] = free_ports(1)
    address = f"http://{HOST}:{port}"
    cause: Exception = TimeoutError()
    if is_refused:
        with pytest.raises(requests.ConnectionError) as caught:
            requests.get(address, timeout=5)
        cause = caught.value
    # As Google's clients, which wrap the failure that they gave up with.
    error = api.RetryError("gave up", cause)
    message = error_of(
        error, Settings(project="p", bigquery_endpoint=address), BIGQUERY
    ).message

    assert ("the connection was refused" in message) == is_refused
    assert f"{address} (BIGQUERY_EMULATOR_HOST)" in message
    assert "`make up`" in message
    assert "make up" not in error_of(error, GOOGLE, BIGQUERY).message
