"""
BigQuery, to write and to set up: statements, appends, tables and views.

``queries`` is the other half: what answers callers reads and writes no more than that.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions as api
from google.api_core import retry as api_retry
from google.cloud import bigquery

from propensity.errors import Conflict, SettingsError
from propensity.gcp import writes
from propensity.gcp.columns import conforming, definition_of, schema_of
from propensity.gcp.queries import LABELS, Parameters, Queries
from propensity.schema import in_sql

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.schema import Table


class Warehouse(Queries):
    """BigQuery for one run of a function, with all that ``Queries`` reads."""

    # -- statements -------------------------------------------------------------------

    def execute(self, sql: str, parameters: Parameters | None = None) -> int:
        """
        Run a statement that writes; return the number of rows it changed.

        Two statements may change a table at once, as where the runs of two use cases
        publish: BigQuery aborts one, which has changed nothing and is run again.

        Raises:
            Conflict: There was always another, for the time that a query may take.

        Source:
            https://cloud.google.com/bigquery/docs/transactions, concurrency.
        """

        def run() -> int:
            with self._translated():
                return int(self._run(sql, parameters)[0].num_dml_affected_rows or 0)

        again = api_retry.Retry(
            predicate=api_retry.if_exception_type(Conflict),
            initial=1.0,
            maximum=30.0,
            timeout=self._query_s,
        )
        try:
            return int(again(run)())
        except api.RetryError as error:
            raise error.cause from None

    def dry_run(self, sql: str, parameters: Parameters | None = None) -> int:
        """Return the bytes that a statement would scan, without running it."""
        with self._translated():
            job = self._start(sql, parameters, dry_run=True)
            return int(job.total_bytes_processed or 0)

    # -- rows of a table --------------------------------------------------------------

    def write(self, table: Table, rows: pa.Table) -> None:
        """
        Append rows to a table through the Storage Write API: all of them or none.

        It needs only the right to change the table's rows.

        Args:
            table: Of ``tables``.
            rows: In ``table.arrow_schema()``, columns in any order.
        """
        writes.write(self.settings, table.stored, conforming(rows, table))

    def replace(self, table: Table, rows: pa.Table) -> None:
        """
        Replace all rows of an existing table by one load job.

        Readers see the old rows or the new ones; a failed job leaves the old ones.
        People do it, whose rights are wide: a load job also needs those to create and
        to alter tables.
        """
        import pyarrow.parquet as pq

        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=schema_of(table),
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            # They must be those of the table that is overwritten.
            time_partitioning=bigquery.TimePartitioning(field=table.partition),
            clustering_fields=list(table.clustering),
            labels=LABELS,
        )
        file = io.BytesIO()
        pq.write_table(conforming(rows, table), file)
        with self._translated():
            job: Any = self.client.load_table_from_file(
                file,
                self._id(table.stored),
                rewind=True,
                job_config=config,
                timeout=self._limits["timeout"],
            )
            job.result(retry=self._retry, timeout=self._query_s)

    # -- tables, views and datasets: none of it bills anything ------------------------

    def create(self, table: Table) -> None:
        """Create a table of ``tables`` where it is missing, and its view."""
        definition = definition_of(table, self._id(table.stored))
        with self._translated():
            self.client.create_table(definition, exists_ok=True, **self._limits)
        if table.newest:
            dataset = f"{self.settings.project}.{self.settings.dataset}"
            self.replace_view(table.name, table.view(dataset))

    def view_text(self, name: str) -> str:
        """Return the query of a view."""
        with self._translated():
            view = self.client.get_table(self._id(name), **self._limits)
        return view.view_query or ""

    def replace_view(self, name: str, sql: str) -> None:
        """
        Change the query of the view ``name``, or create the view if it is missing.

        In this order, so that a change does not need the right to create views.
        """
        view = bigquery.Table(self._id(name))
        view.view_query = sql
        with self._translated():
            try:
                self.client.update_table(view, ["view_query"], **self._limits)
            except api.NotFound:
                self.client.create_table(view, **self._limits)

    def create_dataset(self, name: str) -> None:
        """Create a dataset of the project where it is missing."""
        dataset = bigquery.Dataset(f"{self.settings.project}.{name}")
        dataset.location = self.settings.location
        with self._translated():
            self.client.create_dataset(dataset, exists_ok=True, **self._limits)

    def tables_of(self, dataset: str) -> dict[str, dict[str, Any]]:
        """
        Return the tables of ``project.dataset`` as the API lists them, by name.

        Raises:
            SettingsError: It is in another location than queries.
        """
        with self._translated(dataset):
            location = self.client.get_dataset(dataset, **self._limits).location
            # BigQuery's largest page.
            listed = self.client.list_tables(dataset, page_size=1_000, **self._limits)
            tables = {table.table_id: table.to_api_repr() for table in listed}
        self._check_location(f"the dataset {dataset}", location)
        return tables

    def types_of(self, table: str) -> dict[str, str]:
        """
        Return the types of the columns of ``project.dataset.table``, as SQL names them.

        Raises:
            SettingsError: It is in another location than queries.
        """
        with self._translated(table):
            found = self.client.get_table(table, **self._limits)
        self._check_location(f"the table {table}", found.location)
        return {column.name: in_sql(column.field_type) for column in found.schema}

    def _check_location(self, what: str, location: str | None) -> None:
        expected = self.settings.location
        if location and location.casefold() != expected.casefold():
            raise SettingsError(
                f"{what} is in {location}, and queries run in {expected} "
                "(PROPENSITY_LOCATION): BigQuery joins nothing across locations. Copy "
                f"it, or put the dataset {self.settings.dataset} where it is",
                field="PROPENSITY_LOCATION",
            )
