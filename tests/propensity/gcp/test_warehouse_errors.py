"""
Errors of BigQuery, specified: each becomes one of the project's, and nothing is hidden.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from google.api_core import exceptions as api
from google.auth.exceptions import RefreshError

from local.processes import free_ports
from propensity.errors import (
    AccessDenied,
    Conflict,
    MissingTable,
    PropensityError,
    QueryTooExpensive,
    SchemaError,
    Unavailable,
)
from propensity.gcp.bigquery_errors import is_denied, translated
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from tests.proxy import Proxy


def refusal(code: int, message: str, *, reason: str) -> tuple[int, bytes]:
    """BigQuery's answer to a request that it refuses."""
    errors = [{"reason": reason, "message": message}]
    error = {"code": code, "message": message, "errors": errors}
    return code, json.dumps({"error": error}).encode()


class TestErrors:
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
        """A missing table, a missing column and nonsense each have their class."""
        with pytest.raises(PropensityError) as caught:
            warehouse.rows(sql)

        assert type(caught.value) is error
        assert caught.value.retryable is False
        assert "\n" not in caught.value.message

    @pytest.mark.parametrize(
        ("text", "ours"),
        [
            ("analytics_1.events_* does not match any table.", MissingTable),
            ("Query exceeded limit for bytes billed: 1.", QueryTooExpensive),
            ("Unrecognized name: geo at [3:1]", SchemaError),
            ("Column value_observed is not present in table t", SchemaError),
            ("Field name refund_value does not exist in STRUCT<a>", SchemaError),
            ("Transaction is aborted due to concurrent update against t", Conflict),
            ("Could not serialize access to t due to concurrent update", Conflict),
            (
                "Resources exceeded during query execution: Too many DML statements "
                "outstanding against table t, limit is 20.",
                Unavailable,
            ),
            ("Syntax error", PropensityError),
        ],
    )
    def test_of_bigquery_are_understood_by_their_words(self, text, ours):
        """What BigQuery says, and the emulator may not, has its class, too."""
        assert type(translated(api.BadRequest(text))) is ours

    @pytest.mark.parametrize(
        ("error", "ours"),
        [
            (api.NotFound("Not found: Table t"), MissingTable),
            (api.Forbidden("Access Denied"), AccessDenied),
            (api.ServiceUnavailable("down"), Unavailable),
            (api.InternalServerError("oops"), Unavailable),
            (api.RetryError("deadline", None), Unavailable),
            (ConnectionError("reset"), Unavailable),
            (RefreshError("no metadata server"), Unavailable),
        ],
    )
    def test_of_other_kinds_have_their_class(self, error, ours):
        """An outage passes; a table or a right that is missing does not."""
        assert type(translated(error)) is ours

    def test_of_the_account_pass_as_well(self, warehouse):
        """While the metadata server fails there is no token; a retry may get one."""
        with (
            pytest.raises(Unavailable, match="BigQuery was not asked"),
            warehouse._translated(),
        ):
            raise RefreshError("no metadata server")

    def test_say_who_was_asked_where_nobody_answers(self, opened):
        """An emulator's address with its variable, and what starts it: for queries and
        for rows, which come from an emulator of their own. Google needs no name."""
        [port] = free_ports(1)
        queries = opened(deadline_s=1, bigquery_endpoint=f"http://127.0.0.1:{port}")
        rows = opened(deadline_s=1, bigquery_storage_endpoint=f"127.0.0.1:{port}")

        with pytest.raises(Unavailable) as caught:
            queries.rows("SELECT 1 AS one")
        assert (
            f"Nothing listens at http://127.0.0.1:{port} (BIGQUERY_EMULATOR_HOST)"
            in caught.value.message
        )
        with pytest.raises(Unavailable) as caught:
            list(rows.batches("SELECT 1 AS one"))
        assert (
            f"at 127.0.0.1:{port} (BIGQUERY_STORAGE_EMULATOR_HOST)"
            in caught.value.message
        )
        google = translated(ConnectionError("reset")).message
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
        assert len(proxy.asked) >= 2


class TestTransactions:
    """BigQuery ends one of two transactions that change a table, and queues none."""

    ABORTED = refusal(
        400,
        "Transaction is aborted due to concurrent update against table "
        "p.d.ma_predictions_table. Transaction ID: 1",
        reason="invalidQuery",
    )
    SCRIPT = (
        "BEGIN TRANSACTION; DELETE FROM ma_predictions_runs WHERE run_id = 'x'; "
        "COMMIT TRANSACTION; SELECT 1 AS one"
    )

    @pytest.fixture
    def outcome(self, opened, warehouse, bigquery_emulator, monkeypatch):
        """Run a statement that BigQuery aborts so many times; return the error's
        message, or "done", and the number of tries."""

        def run(sql: str, *, aborted: int, timeout_s: int = 60) -> tuple[str, int]:
            started: list[int] = []

            def rule(request):
                path = request.path.partition("?")[0]
                if request.method == "POST" and path.endswith("/jobs"):
                    started.append(request.number)
                    if len(started) <= aborted:
                        return self.ABORTED
                return None

            monkeypatch.setattr(Settings, "query_timeout_s", timeout_s)
            with Proxy(bigquery_emulator.url, rule) as proxy:
                try:
                    opened(bigquery_endpoint=proxy.url).execute(sql)
                except Conflict as error:
                    return error.message, len(started)
                return "done", len(started)

        return run

    def test_are_tried_again_where_another_was_first(self, outcome):
        """What is aborted has changed nothing, and the run need not begin anew."""
        assert outcome(self.SCRIPT, aborted=2) == ("done", 3)

    def test_are_given_up_after_the_time_of_a_query(self, outcome):
        """The error is the conflict itself, and nothing about tries."""
        message, tries = outcome(self.SCRIPT, aborted=99, timeout_s=3)

        assert message.startswith("another run wrote the same table meanwhile")
        assert 1 < tries < 99

    def test_only_are_tried_again(self, outcome):
        """BigQuery itself queues a single statement, and tries it again."""
        alone = "DELETE FROM ma_predictions_runs WHERE run_id = 'x'"
        message, tries = outcome(alone, aborted=1)

        assert message.startswith("another run wrote the same table meanwhile:")
        assert tries == 1


class TestDenied:
    ACCOUNT = "propensity-predictions@my-project.iam.gserviceaccount.com"

    @pytest.fixture
    def denying(self, opened, bigquery_emulator) -> Iterator[Warehouse]:
        """A warehouse that BigQuery denies everything about datasets."""
        denied = refusal(
            403,
            "Access Denied: Dataset theirs:analytics_1: Permission "
            "bigquery.tables.list denied on dataset theirs:analytics_1 (or it may not "
            "exist).",
            reason="accessDenied",
        )
        with Proxy(bigquery_emulator.url, lambda _: denied) as proxy:
            yield opened(bigquery_endpoint=proxy.url, ga4_dataset="theirs.analytics_1")

    def test_names_account_dataset_and_role(self, denying):
        """Whoever reads the error knows what to grant, to whom, and who can."""
        vars(denying.client._credentials)["service_account_email"] = self.ACCOUNT

        for ask in (denying.table_names, denying.check_location):
            with pytest.raises(AccessDenied) as raised:
                ask("theirs.analytics_1")

            assert f"the account {self.ACCOUNT}" in raised.value.message
            assert "theirs.analytics_1" in raised.value.message
            assert "roles/bigquery.dataViewer" in raised.value.message
            assert "its owner" in raised.value.message
            assert (raised.value.status, raised.value.retryable) == (500, False)

    def test_of_a_query_names_the_dataset_that_it_reads(self, denying):
        """The view is ours, and what it reads is theirs."""
        with pytest.raises(AccessDenied) as raised:
            denying.rows("SELECT 1 FROM ga_events")

        assert "roles/bigquery.dataViewer on the dataset theirs.analytics_1" in str(
            raised.value
        )
        assert "the account that this runs as" in str(raised.value)

    def test_of_a_quota_is_something_else(self):
        """A quota that is used up is 403, too, and no permission."""
        error = api.Forbidden(
            "Quota exceeded", errors=[{"reason": "quotaExceeded", "message": "x"}]
        )

        assert not is_denied(error)
