"""Errors of Google's clients as ours: class, permission, resource, and what to do."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import grpc
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
from propensity.gcp.errors import denied, of_bigquery, unavailable
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from tests.proxy import Proxy

ACCOUNT = "propensity-predictions@my-project.iam.gserviceaccount.com"
GOOGLE = Settings(project="p")


def refusal(code: int, message: str, *, reason: str) -> tuple[int, bytes]:
    """BigQuery's answer to a request that it refuses."""
    errors = [{"reason": reason, "message": message}]
    error = {"code": code, "message": message, "errors": errors}
    return code, json.dumps({"error": error}).encode()


class TestRights:
    @pytest.mark.parametrize(
        ("text", "permission"),
        [
            (
                "Access Denied: Table p:d.t: Permission bigquery.tables.updateData "
                "denied on table (or it may not exist).",
                "bigquery.tables.updateData",
            ),
            (
                "Access Denied: Project my-project: User does not have "
                "bigquery.jobs.create permission in project my-project.",
                "bigquery.jobs.create",
            ),
            (
                f"{ACCOUNT} does not have storage.objects.get access to the Google "
                "Cloud Storage object.",
                "storage.objects.get",
            ),
            ("Access Denied: see www.example.com for help", ""),
        ],
    )
    def test_are_found_in_the_words_of_each_service(self, text, permission):
        assert denied(text, service="S").detail["permission"] == permission

    @pytest.mark.parametrize("email", [ACCOUNT, "", "default", None])
    def test_are_named_with_resource_account_and_what_to_do(self, email):
        """Credentials that have fetched no token yet do not know whose they are."""
        error = denied(
            "User not authorized to perform this action.",
            service="Pub/Sub",
            credentials=SimpleNamespace(service_account_email=email),
            needs="pubsub.topics.publish",
            on="projects/my-project/topics/scores",
        )

        known = email == ACCOUNT
        assert (error.status, error.retryable) == (500, False)
        assert (ACCOUNT if known else "that this runs as") in error.message
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
            lambda warehouse: warehouse.table_names("theirs.analytics_1"),
            lambda warehouse: warehouse.check_location("theirs.analytics_1"),
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


class TestOfBigQuery:
    @pytest.mark.parametrize(
        ("sql", "error"),
        [
            ("SELECT * FROM nowhere", MissingTable),
            ("SELECT * FROM no_dataset.nowhere", MissingTable),
            ("SELECT shoe_size FROM ma_predictions_runs", SchemaError),
            ("SELEC 1", PropensityError),
        ],
    )
    def test_are_our_own(self, warehouse, sql, error):
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
            (api.ServiceUnavailable("down"), Unavailable),
            (api.InternalServerError("oops"), Unavailable),
            (api.RetryError("deadline", None), Unavailable),
            (ConnectionError("reset"), Unavailable),
            (RefreshError("no metadata server"), Unavailable),
        ],
    )
    def test_have_their_class(self, error, ours):
        """An outage passes; a table, a column or a right that is missing does not."""
        raised = api.BadRequest(error) if isinstance(error, str) else error

        assert type(of_bigquery(raised, GOOGLE)) is ours

    def test_say_who_was_asked_where_nobody_answers(self, opened):
        """An emulator's address with its variable, and what starts it: for queries and
        for rows, which come from an emulator of their own. Google needs no name."""
        [port] = free_ports(1)
        queries = opened(deadline_s=1, bigquery_endpoint=f"http://127.0.0.1:{port}")
        rows = opened(deadline_s=1, bigquery_storage_endpoint=f"127.0.0.1:{port}")

        with pytest.raises(Unavailable, match=r"\(BIGQUERY_EMULATOR_HOST\)"):
            queries.rows("SELECT 1 AS one")
        with pytest.raises(Unavailable, match=r"\(BIGQUERY_STORAGE_EMULATOR_HOST\)"):
            list(rows.batches("SELECT 1 AS one"))
        google = of_bigquery(ConnectionError("reset"), GOOGLE).message
        assert google == "BigQuery did not answer in time: ConnectionError"

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

    @pytest.fixture
    def outcome(self, opened, bigquery_emulator, monkeypatch):
        """Run a statement that BigQuery aborts so many times; return the error's
        message, or "done", and the number of tries."""
        answer = refusal(
            400,
            "Transaction is aborted due to concurrent update against table "
            "p.d.ma_predictions_table. Transaction ID: 1",
            reason="invalidQuery",
        )

        def run(*, aborted: int, timeout_s: int = 60) -> tuple[str, int]:
            started: list[int] = []

            def rule(request):
                path = request.path.partition("?")[0]
                if request.method == "POST" and path.endswith("/jobs"):
                    started.append(request.number)
                    if len(started) <= aborted:
                        return answer
                return None

            monkeypatch.setattr(Settings, "query_timeout_s", timeout_s)
            with Proxy(bigquery_emulator.url, rule) as proxy:
                try:
                    opened(bigquery_endpoint=proxy.url).execute(
                        "DELETE FROM ma_predictions_runs WHERE run_id = 'x'"
                    )
                except Conflict as error:
                    return error.message, len(started)
                return "done", len(started)

        return run

    @pytest.mark.usefixtures("warehouse")
    def test_are_tried_again_where_another_was_first(self, outcome):
        """What is aborted has changed nothing, and the run need not begin anew."""
        assert outcome(aborted=1) == ("done", 2)

    def test_are_given_up_after_the_time_of_a_query(self, outcome):
        """The error is the conflict itself, and nothing about tries."""
        message, tries = outcome(aborted=99, timeout_s=3)

        assert message.startswith("another run wrote the same table meanwhile")
        assert 1 < tries < 99


def by_requests(port: int) -> None:
    """As Google's clients, which wrap the failure that they gave up with."""
    try:
        requests.get(f"http://{HOST}:{port}/", timeout=0.2)
    except requests.RequestException as error:
        raise api.RetryError("gave up", error) from error


def by_grpc(port: int) -> None:
    """As rows are read."""
    with grpc.insecure_channel(f"{HOST}:{port}") as channel:
        try:
            channel.unary_unary("/a.B/C")(b"", timeout=1)
        except grpc.RpcError as error:
            raise api.from_grpc_error(error) from error


@pytest.mark.parametrize("call", [by_requests, by_grpc])
class TestUnavailable:
    @staticmethod
    def message_of(call: Callable[[int], None], port: int) -> str:
        with pytest.raises(Exception) as caught:  # noqa: PT011 any client's
            call(port)
        return unavailable("It", caught.value, emulator=f"{HOST}:{port} (X)").message

    def test_says_that_nothing_listens(self, call):
        """A refused connection is no matter of time."""
        [port] = free_ports(1)
        message = self.message_of(call, port)

        assert message.startswith("It did not answer: the connection was refused. ")
        assert f"Nothing listens at {HOST}:{port} (X)" in message
        assert "`make up`" in message

    def test_says_that_it_took_too_long(self, call):
        """Somebody takes connections there, and answers nothing."""
        with socket.create_server((HOST, 0)) as server:
            message = self.message_of(call, server.getsockname()[1])

        assert message.startswith("It did not answer in time: ")
