"""
A session of BigQuery: temporary tables, and queries of them.

It needs the right to create jobs, and no dataset: its tables are nobody else's, and go
with it. Statements name them alone. No table of a deployment is found by its name, but
in a session of the deployment (``session_of``).

Source:
    https://cloud.google.com/bigquery/docs/sessions-intro
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions as api
from google.cloud import bigquery

from propensity.errors import Unavailable
from propensity.gcp.queries import Parameters
from propensity.gcp.warehouse import Warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from propensity.settings import Settings

# What BigQuery says of a session that it does not have any more.
_ENDED = re.compile(r"\bsession\b.*\b(not found|expired|terminated)|session id", re.I)


@contextlib.contextmanager
def session_of(warehouse: Warehouse) -> Iterator[Session]:
    """Hold a session with the dataset of a warehouse, which counts its bytes."""
    session = Session(
        warehouse.settings, client=warehouse.client, finds_tables_of_dataset=True
    )
    try:
        yield session
    finally:
        session.end()
        warehouse.bytes_billed += session.bytes_billed


class Session(Warehouse):
    """Queries of one session, which the first statement begins."""

    def __init__(
        self,
        settings: Settings,
        *,
        client: bigquery.Client,
        finds_tables_of_dataset: bool = False,
    ) -> None:
        super().__init__(settings, client=client)
        self._finds_tables_of_dataset = finds_tables_of_dataset
        # Large results come by pages of JSON where this account may not use the
        # Storage Read API.
        self.is_paged = False
        self._session_id = ""

    def end(self) -> None:
        """End the session, which drops its tables."""
        # It would end by itself, a day later.
        with contextlib.suppress(Exception):
            if self._session_id:
                self._run("CALL BQ.ABORT_SESSION()", None)

    def close(self) -> None:
        """End the session, and close the connections."""
        self.end()
        super().close()

    def _config(
        self, sql: str, parameters: Parameters | None, **options: Any
    ) -> bigquery.QueryJobConfig:
        config = super()._config(sql, parameters, **options)
        if not self._finds_tables_of_dataset:
            config.default_dataset = None
        if self._session_id:
            session = bigquery.ConnectionProperty("session_id", self._session_id)
            config.connection_properties = [session]
        # A dry run has none: it would begin one.
        elif not config.dry_run:
            config.create_session = True
        return config

    def _run(
        self, sql: str, parameters: Parameters | None, *, page_size: int | None = None
    ) -> tuple[Any, Any]:
        try:
            job, rows = super()._run(sql, parameters, page_size=page_size)
        except api.BadRequest as error:
            if self._session_id and _ENDED.search(str(error)):
                raise Unavailable(
                    "the session at BigQuery has ended", hint="Run the same again"
                ) from error
            raise
        if not self._session_id:
            self._session_id = job.session_info.session_id
        return job, rows

    def _whole(self, job: Any, result: Any) -> pa.Table:
        if not self.is_paged:
            try:
                return super()._whole(job, result)
            except api.Forbidden:
                self.is_paged = True
        pages = job.result(retry=self._retry, timeout=self._query_s)
        return pages.to_arrow(create_bqstorage_client=False)
