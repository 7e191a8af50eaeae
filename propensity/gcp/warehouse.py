"""
BigQuery with its tables: rows are written, tables and views are made.

``queries`` is what reads. A lookup only reads, and imports nothing of this.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions as api
from google.cloud import bigquery

from propensity.errors import SettingsError
from propensity.gcp.queries import LABELS, Parameters, Queries, count_of
from propensity.schema import in_sql
from propensity.tables.export_names import with_suffix

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.schema import Row, Table

_DAY_MS = 24 * 3600 * 1000


class Warehouse(Queries):
    """
    BigQuery for one run of a function or command: queries, rows, tables and views.

    All methods raise the project's errors, as those of ``Queries``.
    """

    def write(
        self, table: Table, rows: pa.Table | Iterable[Row | Mapping[str, object]]
    ) -> None:
        """
        Append rows to a table through the Storage Write API: all of them or none.

        It needs only the right to change the table's rows.
        """
        from propensity.gcp import writes

        writes.write(self.settings, self._named(table.stored), table.arrow(rows))

    def append(
        self, table: Table, rows: pa.Table | Iterable[Row | Mapping[str, object]]
    ) -> None:
        """
        Append a few rows as ``write`` does, in a fraction of the time.

        After a failure they may be there twice, so readers take the newest of a key.
        """
        from propensity.gcp import writes

        writes.append(self.settings, self._named(table.stored), table.arrow(rows))

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
            schema=_schema(table),
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            # They must be those of the table that is overwritten.
            time_partitioning=bigquery.TimePartitioning(field=table.partition),
            clustering_fields=list(table.clustering),
            labels=LABELS,
        )
        file = io.BytesIO()
        pq.write_table(table.arrow(rows), file)
        with self._translated():
            job: Any = self.client.load_table_from_file(
                file,
                self._id(table.stored),
                rewind=True,
                job_config=config,
                timeout=self._limits["timeout"],
            )
            job.result(retry=self._retry, timeout=self._query_s)

    def _named(self, text: str) -> str:
        """Return a statement or a name with the tables of the settings' export."""
        return with_suffix(text, self.settings.export_suffix)

    # -- tables, views and datasets: none of it bills anything ------------------------

    def create(self, table: Table) -> None:
        """Create a table of ``tables`` where it is missing, and its view."""
        definition = bigquery.Table(self._id(table.stored), schema=_schema(table))
        definition.description = table.description
        definition.clustering_fields = list(table.clustering)
        # None says nothing, where False would be a setting of its own.
        definition.require_partition_filter = True if table.requires_filter else None
        expiration_ms = None
        if table.expiration_days:
            expiration_ms = table.expiration_days * _DAY_MS
        definition.time_partitioning = bigquery.TimePartitioning(
            field=table.partition, expiration_ms=expiration_ms
        )
        with self._translated():
            self.client.create_table(definition, exists_ok=True, **self._limits)
        if table.newest:
            self.replace_view(table.name, table.view(self._dataset))

    def view_text(self, name: str) -> str:
        """Return the query of a view."""
        with self._translated():
            view = self.client.get_table(self._id(name), **self._limits)
        return "" if view.view_query is None else str(view.view_query)

    def types_of(self, path: tuple[str, str, str]) -> dict[str, str]:
        """Return the types of the columns of a table, by project, dataset and name."""
        name = ".".join(path)
        with self._translated(on=name):
            return _types(self.client.get_table(name, **self._limits).schema)

    def types_of_query(
        self, sql: str, parameters: Parameters | None = None
    ) -> dict[str, str]:
        """Return the types of a query's columns by a dry run, which bills nothing."""
        with self._translated():
            return _types(self._start(sql, parameters, dry_run=True).schema)

    def size_of(self, table: str) -> tuple[str, int, int]:
        """Return where a table is, its rows and its bytes; of a view 0 of them."""
        with self._translated(on=table):
            stored = self.client.get_table(table, **self._limits)
        return stored.location, count_of(stored.num_rows), count_of(stored.num_bytes)

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

    def tables_of(self, dataset: str) -> list[str]:
        """Return the names of the tables of ``project.dataset``."""
        self.check_location(dataset)
        with self._translated(dataset):
            # BigQuery's largest page.
            tables = self.client.list_tables(dataset, page_size=1_000, **self._limits)
            return [table.table_id for table in tables]

    def location_of(self, dataset: str) -> str:
        """Return where ``project.dataset`` is."""
        with self._translated(dataset):
            return str(self.client.get_dataset(dataset, **self._limits).location)

    def datasets_of(self, project: str) -> list[str]:
        """Return the names of the datasets of a project."""
        with self._translated(project):
            listed = self.client.list_datasets(project, **self._limits)
            return [dataset.dataset_id for dataset in listed]

    def check_location(self, dataset: str) -> None:
        """Make sure that queries can read ``project.dataset``."""
        location = self.location_of(dataset)
        expected = self.settings.location
        if location and location.casefold() != expected.casefold():
            raise SettingsError(
                f"the dataset {dataset} is in {location}, and queries run in "
                f"{expected} (PROPENSITY_LOCATION). BigQuery cannot join across "
                "locations",
                hint=f"Copy it, or put the dataset {self.settings.dataset} where it is",
                field="PROPENSITY_LOCATION",
            )


def _types(schema: Iterable[bigquery.SchemaField]) -> dict[str, str]:
    """Return the types of columns by name, as SQL spells them, or that it is a list."""
    types = {}
    for field in schema:
        kind = in_sql(field.field_type)
        types[field.name] = "a list" if field.mode == "REPEATED" else kind
    return types


def _schema(table: Table) -> list[bigquery.SchemaField]:
    of_api = bigquery.SchemaField.from_api_repr
    return [of_api(column.in_api) for column in table.columns]
