"""
Errors of BigQuery, specified: each becomes one of the project's, and nothing is hidden.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest
from google.api_core import exceptions as api
from google.auth.exceptions import RefreshError

from local.processes import free_ports
from propensity.edges.bigquery_errors import is_denied, translated
from propensity.edges.warehouse import Warehouse
from propensity.errors import (
    AccessDenied,
    Conflict,
    MissingTable,
    PropensityError,
    QueryTooExpensive,
    SchemaError,
    Unavailable,
)
from tests.proxy import Proxy


class TestErrors:
    @pytest.mark.parametrize(
        ("sql", "error"),
        [
            ("SELECT * FROM nowhere", MissingTable),
            ("SELECT * FROM no_dataset.nowhere", MissingTable),
            ("SELECT shoe_size FROM ma_predictions_staging", SchemaError),
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
        ("error", "ours", "retryable"),
        [
            (api.NotFound("Not found: Table t"), MissingTable, False),
            (
                api.BadRequest("analytics_1.events_* does not match any table."),
                MissingTable,
                False,
            ),
            (
                api.BadRequest("Query exceeded limit for bytes billed: 1."),
                QueryTooExpensive,
                False,
            ),
            (api.BadRequest("Unrecognized name: geo at [3:1]"), SchemaError, False),
            (
                api.BadRequest("Column value_gini is not present in table t"),
                SchemaError,
                False,
            ),
            (
                api.BadRequest("Field name refund_value does not exist in STRUCT<a>"),
                SchemaError,
                False,
            ),
            (
                api.BadRequest(
                    "Transaction is aborted due to concurrent update against table t"
                ),
                Conflict,
                True,
            ),
            (
                api.BadRequest(
                    "Could not serialize access to table t due to concurrent update"
                ),
                Conflict,
                True,
            ),
            (
                api.BadRequest(
                    "Resources exceeded during query execution: Too many DML "
                    "statements outstanding against table t, limit is 20."
                ),
                Unavailable,
                True,
            ),
            (api.BadRequest("Syntax error"), PropensityError, False),
            (api.Forbidden("Access Denied"), AccessDenied, False),
            (api.ServiceUnavailable("down"), Unavailable, True),
            (api.InternalServerError("oops"), Unavailable, True),
            (api.RetryError("deadline", None), Unavailable, True),
            (ConnectionError("reset"), Unavailable, True),
            (RefreshError("no metadata server"), Unavailable, True),
        ],
    )
    def test_of_bigquery_are_understood_by_their_words(self, error, ours, retryable):
        """What BigQuery says, and the emulator may not, has its class, too."""
        found = translated(error)

        assert type(found) is ours
        assert found.retryable is retryable

    def test_of_the_account_pass_as_well(self, settings):
        """While the metadata server fails there is no token; a retry may get one."""
        opened = Warehouse.open(settings)
        with (
            pytest.raises(Unavailable, match="BigQuery was not asked"),
            opened._translated(),
        ):
            raise RefreshError("no metadata server")
        opened.close()

    def test_say_who_was_asked_where_nobody_answers(self, settings):
        """An emulator's address with its variable, and what starts it: for queries and
        for rows, which come from an emulator of their own. Google needs no name."""
        [port] = free_ports(1)
        opened = Warehouse.open(
            replace(
                settings,
                retry_deadline_s=1,
                bigquery_endpoint=f"http://127.0.0.1:{port}",
                bigquery_storage_endpoint=f"127.0.0.1:{port}",
            )
        )
        with pytest.raises(Unavailable) as caught:
            opened.rows("SELECT 1 AS one")
        opened.close()

        told = caught.value.message
        assert told.startswith("BigQuery did not answer: the connection was refused")
        assert f"Nothing listens at http://127.0.0.1:{port} (BIGQUERY_EMULAT" in told
        assert "`make up`" in told
        with pytest.raises(Unavailable) as caught, opened._translated():
            raise api.from_grpc_status(grpc.StatusCode.UNAVAILABLE, "refused")
        told = caught.value.message
        assert f"at 127.0.0.1:{port} (BIGQUERY_STORAGE_EMULATOR_HOST)" in told
        opened = Warehouse.open(
            replace(
                settings,
                retry_deadline_s=1,
                bigquery_storage_endpoint=f"127.0.0.1:{port}",
            )
        )
        with pytest.raises(Unavailable) as caught:
            list(opened.batches("SELECT 1 AS one"))
        opened.close()
        assert "(BIGQUERY_STORAGE_EMULATOR_HOST)" in caught.value.message
        google = translated(ConnectionError("reset")).message
        assert google == "BigQuery did not answer in time: ConnectionError"

    @pytest.mark.parametrize("status", [500, 503])
    def test_that_pass_are_not_seen(self, settings, bigquery_emulator, status):
        """One failed request is sent again."""
        with Proxy(
            bigquery_emulator.url, lambda asked: status if asked.number == 0 else None
        ) as proxy:
            opened = Warehouse.open(replace(settings, bigquery_endpoint=proxy.url))
            [row] = opened.rows("SELECT 1 AS one")
            opened.close()

        assert row["one"] == 1
        assert len(proxy.asked) >= 2


class TestTransactions:
    """BigQuery ends one of two transactions that change a table, and queues none."""

    ABORTED = json.dumps(
        {
            "error": {
                "code": 400,
                "message": "Transaction is aborted due to concurrent update against "
                "table p.d.ma_predictions_table. Transaction ID: 1",
                "errors": [{"reason": "invalidQuery", "message": "aborted"}],
            }
        }
    ).encode()
    SCRIPT = (
        "BEGIN TRANSACTION; DELETE FROM ma_predictions_staging WHERE run_id = 'x'; "
        "COMMIT TRANSACTION; SELECT 1 AS one"
    )

    def _tried(
        self, settings, upstream: str, sql: str, *, aborted: int, timeout_s: int = 60
    ) -> tuple[list[str], int]:
        """What the rows of a statement were, and how often it was asked for, where
        BigQuery aborts it so many times."""
        started: list[int] = []

        def rule(asked):
            if asked.method == "POST" and asked.path.partition("?")[0].endswith(
                "/jobs"
            ):
                started.append(asked.number)
                if len(started) <= aborted:
                    return 400, self.ABORTED
            return None

        with Proxy(upstream, rule) as proxy:
            opened = Warehouse.open(
                replace(
                    settings, bigquery_endpoint=proxy.url, query_timeout_s=timeout_s
                )
            )
            try:
                opened.execute(sql)
                return ["done"], len(started)
            except Conflict as error:
                return [error.message], len(started)
            finally:
                opened.close()

    def test_are_tried_again_where_another_was_first(
        self, settings, warehouse, bigquery_emulator
    ):
        """What is aborted has changed nothing, and the run need not begin anew."""
        upstream = bigquery_emulator.url
        assert self._tried(settings, upstream, self.SCRIPT, aborted=2) == (["done"], 3)

    def test_are_given_up_after_the_time_of_a_query(
        self, settings, warehouse, bigquery_emulator
    ):
        """The error is the conflict itself, and nothing about tries."""
        [told], tries = self._tried(
            settings, bigquery_emulator.url, self.SCRIPT, aborted=99, timeout_s=3
        )

        assert told.startswith("another run wrote the same table meanwhile")
        assert 1 < tries < 99

    def test_only_are_tried_again(self, settings, warehouse, bigquery_emulator):
        """BigQuery itself queues a single statement, and tries it again."""
        alone = "DELETE FROM ma_predictions_staging WHERE run_id = 'x'"
        [told], tries = self._tried(settings, bigquery_emulator.url, alone, aborted=1)

        assert (told.partition(":")[0], tries) == (
            "another run wrote the same table meanwhile",
            1,
        )


class TestDenied:
    ACCOUNT = "propensity-predictions@my-project.iam.gserviceaccount.com"

    @pytest.fixture
    def denying(self, settings, bigquery_emulator) -> Iterator[Warehouse]:
        """A warehouse that BigQuery denies everything about datasets."""
        told = {
            "error": {
                "code": 403,
                "message": "Access Denied: Dataset theirs:analytics_1: Permission "
                "bigquery.tables.list denied on dataset theirs:analytics_1 (or it may "
                "not exist).",
                "errors": [{"reason": "accessDenied", "message": "Access Denied"}],
                "status": "PERMISSION_DENIED",
            }
        }
        denied = (403, json.dumps(told).encode())
        with Proxy(bigquery_emulator.url, lambda _: denied) as proxy:
            opened = Warehouse.open(
                replace(
                    settings,
                    bigquery_endpoint=proxy.url,
                    ga4_dataset="theirs.analytics_1",
                )
            )
            yield opened
            opened.close()

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
