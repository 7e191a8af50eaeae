"""
A session of BigQuery: temporary tables, and queries of them.

It needs the right to create jobs, and no dataset: its tables are nobody else's, and go
with it. Statements name them alone; no table of a deployment is found by its name.

Source:
    https://cloud.google.com/bigquery/docs/sessions-intro
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions as api
from google.cloud import bigquery

from propensity.gcp.queries import Parameters
from propensity.gcp.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.settings import Settings


class Session(Warehouse):
    """Queries of one session, which the first statement begins."""

    def __init__(self, settings: Settings, *, client: bigquery.Client) -> None:
        super().__init__(settings, client=client)
        # Large results come by pages of JSON where this account may not use the
        # Storage Read API.
        self.is_paged = False
        self._session_id = ""

    def close(self) -> None:
        """End the session, which drops its tables, and close the connections."""
        # It would end by itself, a day later.
        with contextlib.suppress(Exception):
            if self._session_id:
                self._run("CALL BQ.ABORT_SESSION()", None)
        super().close()

    def _config(
        self, sql: str, parameters: Parameters | None, **options: Any
    ) -> bigquery.QueryJobConfig:
        config = super()._config(sql, parameters, **options)
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
        job, rows = super()._run(sql, parameters, page_size=page_size)
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
