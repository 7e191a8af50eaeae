"""
BigQuery's clients: their limits, the bytes billed, and the project's own errors.

02-GetProba imports this, so the Storage API and gRPC are imported on their first use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar

from google.api_core import exceptions as api
from google.api_core import retry as api_retry
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from propensity.errors import Conflict, PropensityError
from propensity.gcp.bigquery_errors import (
    BYTES_LIMIT,
    TRANSPORT,
    denied,
    is_denied,
    translated,
)
from propensity.gcp.columns import query_parameter

if TYPE_CHECKING:
    from google.cloud.bigquery_storage_v1 import BigQueryReadClient

    from propensity.settings import Settings

Parameters = Mapping[str, Any]
Result = TypeVar("Result")

# Errors of the Storage API that a retry may mend.
_UNREACHABLE = (api.ServiceUnavailable, api.InternalServerError)

# What a statement begins with that changes several tables, all or none.
_TRANSACTION = "BEGIN TRANSACTION"

# No limit for the size of a message from the Storage API.
_UNLIMITED = ("grpc.max_receive_message_length", -1)


class BigQuery:
    """The clients of one dataset; ``bytes_billed`` is the sum over its queries."""

    def __init__(self, settings: Settings, *, client: bigquery.Client) -> None:
        self.settings = settings
        self.client = client
        self.bytes_billed = 0

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the client; nothing is sent yet."""
        endpoint = settings.bigquery_endpoint
        client = bigquery.Client(
            project=settings.project,
            location=settings.location,
            # An emulator asks for none.
            credentials=AnonymousCredentials() if endpoint else None,  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": endpoint} if endpoint else None,
        )
        return cls(settings, client=client)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self.client.close()  # type: ignore[no-untyped-call]
        reader = self.__dict__.pop("_read_client", None)
        if reader is not None:
            reader.transport.close()

    def for_run(self) -> Self:
        """Return an object with the same clients and a meter of its own."""
        run = type(self)(self.settings, client=self.client)
        run.__dict__["_read_client"] = self._read_client
        return run

    @cached_property
    def _read_client(self) -> BigQueryReadClient:
        from google.cloud import bigquery_storage_v1

        limits: Any = {
            "retry": api_retry.Retry(
                predicate=api_retry.if_exception_type(*_UNREACHABLE),
                initial=0.1,
                maximum=2.0,
                timeout=self._request,
            ),
            "timeout": self._timeout,
        }

        class Reader(bigquery_storage_v1.BigQueryReadClient):
            """Reads with our deadlines; its own are ten minutes, a day, or none."""

            def create_read_session(self, *arguments: Any, **named: Any) -> Any:
                return super().create_read_session(*arguments, **{**named, **limits})

            def read_rows(self, *arguments: Any, **named: Any) -> Any:
                read: Any = super().read_rows
                return read(*arguments, **{**named, **limits})

        from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (  # noqa: PLC0415, E501
            BigQueryReadGrpcTransport,
        )

        from propensity.gcp.clients import open_client

        return open_client(
            Reader,
            BigQueryReadGrpcTransport,
            endpoint=self.settings.bigquery_storage_endpoint,
            options=[_UNLIMITED],
        )

    def execute(self, sql: str, parameters: Parameters | None = None) -> int:
        """Run a statement that writes; return the number of rows it changed."""
        return self._in_turn(
            sql, parameters, lambda job, _: int(job.num_dml_affected_rows or 0)
        )

    def _in_turn(
        self,
        sql: str,
        parameters: Parameters | None,
        take: Callable[[Any, Any], Result],
    ) -> Result:
        """
        Run a statement, and return what ``take`` makes of its job and its rows; run a
        transaction again while others change its tables.

        BigQuery queues single statements that change a table, and aborts one of two
        transactions. What is aborted has changed nothing. It happens whenever the runs
        of two use cases publish at the same time.

        Raises:
            Conflict: There was always another, for the time that a query may take.

        Source:
            https://cloud.google.com/bigquery/docs/transactions, concurrency.
        """

        def run() -> Result:
            with self._translated():
                return take(*self._run(sql, parameters))

        if _TRANSACTION not in sql:
            return run()
        again = api_retry.Retry(
            predicate=api_retry.if_exception_type(Conflict),
            initial=1.0,
            maximum=30.0,
            timeout=self._timeout,
        )
        try:
            return again(run)()
        except api.RetryError as error:
            raise error.cause from None

    def _run(self, sql: str, parameters: Parameters | None) -> tuple[Any, Any]:
        """Run a statement to its end; return its job and its rows."""
        job = self._start(sql, parameters)
        return job, job.result(retry=self._retry, timeout=self._timeout)

    def _start(
        self, sql: str, parameters: Parameters | None, *, dry_run: bool = False
    ) -> bigquery.QueryJob:
        config = self._config(parameters)
        config.dry_run = dry_run
        # A query that timed out here must not go on beside the next try.
        config.job_timeout_ms = 1000 * self.settings.query_timeout_s
        if not dry_run:  # it bills nothing, and says how much it would be
            config.maximum_bytes_billed = self.settings.maximum_bytes_billed
        job = self.client.query(
            sql,
            job_config=config,
            retry=self._retry,
            job_retry=None,
            timeout=self._request,
        )
        if not dry_run:
            job.add_done_callback(self._count)  # type: ignore[no-untyped-call]
        return job

    def _config(self, parameters: Parameters | None) -> bigquery.QueryJobConfig:
        return bigquery.QueryJobConfig(
            default_dataset=f"{self.settings.project}.{self.settings.dataset}",
            query_parameters=[
                query_parameter(name, value)
                for name, value in (parameters or {}).items()
            ],
            labels=self._labels,
        )

    def _count(self, job: Any) -> None:
        self.bytes_billed += int(job.total_bytes_billed or 0)

    def _table_id(self, name: str) -> str:
        return f"{self.settings.project}.{self.settings.dataset}.{name}"

    @property
    def _labels(self) -> dict[str, str]:
        return {"application": "propensity"}

    @property
    def _retry(self) -> Any:
        return bigquery.DEFAULT_RETRY.with_timeout(self.settings.deadline_s)

    @property
    def _timeout(self) -> float:
        return float(self.settings.query_timeout_s)

    @property
    def _request(self) -> float:
        return float(self.settings.deadline_s)

    @property
    def _limits(self) -> dict[str, Any]:
        """The retries and the deadline of a call that runs no statement."""
        return {"retry": self._retry, "timeout": self._request}

    @contextlib.contextmanager
    def _translated(
        self, dataset: str = "", *, limit: str = BYTES_LIMIT
    ) -> Iterator[None]:
        try:
            yield
        except PropensityError:
            raise
        except api.Forbidden as error:
            if not is_denied(error):
                raise translated(error, limit=limit) from error
            raise denied(
                error,
                settings=self.settings,
                credentials=self._credentials,
                dataset=dataset,
            ) from error
        except (api.GoogleAPICallError, api.RetryError, *TRANSPORT) as error:
            # Rows come by gRPC, from an emulator of their own.
            last = getattr(error, "cause", None) or error
            is_read = getattr(last, "grpc_status_code", None) is not None
            raise translated(
                error,
                self._credentials,
                limit=limit,
                emulator=self.settings.emulator(
                    "bigquery_storage_endpoint" if is_read else "bigquery_endpoint"
                ),
            ) from error

    @property
    def _credentials(self) -> Any:
        return getattr(self.client, "_credentials", None)
