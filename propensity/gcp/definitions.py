"""Tables, views and datasets of BigQuery: create, change, inspect and drop them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.api_core import exceptions as api
from google.cloud import bigquery

from propensity.errors import SettingsError
from propensity.gcp.bigquery import BigQuery
from propensity.gcp.columns import definition_of
from propensity.schema import in_sql

if TYPE_CHECKING:
    from propensity.schema import Table

# Names of tables in one answer: BigQuery's maximum.
_TABLES_PAGE = 1_000


class Definitions(BigQuery):
    """Tables, views and datasets; none of it bills anything."""

    def create(self, table: Table) -> None:
        """Create a table of ``tables`` where it is missing, and its view."""
        definition = definition_of(table, self._table_id(table.stored))
        with self._translated():
            self.client.create_table(definition, exists_ok=True, **self._limits)
        if table.newest:
            dataset = f"{self.settings.project}.{self.settings.dataset}"
            self.replace_view(table.name, table.view(dataset))

    def view_text(self, name: str) -> str:
        """
        Return the query of a view; it bills nothing.

        Raises:
            MissingTable: There is none.
        """
        with self._translated():
            view = self.client.get_table(self._table_id(name), **self._limits)
        return view.view_query or ""

    def check_location(self, dataset: str) -> None:
        """
        Make sure that a dataset is in the location of queries; it bills nothing.

        Args:
            dataset: As ``project.dataset``.

        Raises:
            SettingsError: It is in another: a query does not cross locations.
            MissingTable, AccessDenied, Unavailable: As named.
        """
        with self._translated(dataset):
            metadata = self.client.get_dataset(dataset, **self._limits)
        expected, actual = self.settings.location, metadata.location or ""
        if actual and actual.casefold() != expected.casefold():
            raise SettingsError(
                f"the dataset {dataset} is in {actual}, and queries run in {expected} "
                "(PROPENSITY_LOCATION): BigQuery joins nothing across locations. Put "
                f"{self.settings.project}.{self.settings.dataset} where the export "
                "is, or copy the export",
                field="PROPENSITY_LOCATION",
            )

    def table_names(self, dataset: str) -> list[str]:
        """Return the names of the tables of ``project.dataset``; it bills nothing."""
        return [one["tableReference"]["tableId"] for one in self.table_list(dataset)]

    def table_list(self, dataset: str) -> list[dict[str, Any]]:
        """Return the tables of ``project.dataset`` as the API lists them."""
        with self._translated(dataset):
            tables = self.client.list_tables(
                dataset, page_size=_TABLES_PAGE, **self._limits
            )
            return [table.to_api_repr() for table in tables]

    def row_count(self, dataset: str, table: str) -> int:
        """Return the number of rows of a table, 0 without one; it bills nothing."""
        metadata = self._metadata(dataset, table)
        return int(metadata.num_rows or 0) if metadata else 0

    def _metadata(self, dataset: str, table: str) -> bigquery.Table | None:
        with self._translated(dataset):
            try:
                return self.client.get_table(f"{dataset}.{table}", **self._limits)
            except api.NotFound:
                return None

    def described(self, table: str) -> tuple[str, dict[str, str]]:
        """
        Return a table's location, and the types of its columns; it bills nothing.

        Args:
            table: As ``project.dataset.table``.

        Raises:
            MissingTable, AccessDenied, Unavailable: As named.
        """
        with self._translated(table):
            found = self.client.get_table(table, **self._limits)
        types = {column.name: in_sql(column.field_type) for column in found.schema}
        return found.location or "", types

    def create_dataset(self, name: str) -> None:
        """Create a dataset of the project where it is missing."""
        dataset = bigquery.Dataset(f"{self.settings.project}.{name}")
        dataset.location = self.settings.location
        with self._translated():
            self.client.create_dataset(dataset, exists_ok=True, **self._limits)

    def replace_view(self, name: str, sql: str) -> None:
        """
        Change the query of the view ``name``, or create the view if it is missing.

        In this order, so that a change does not need the right to create views.
        """
        view = bigquery.Table(self._table_id(name))
        view.view_query = sql
        with self._translated():
            try:
                self._give_query(view)
            except api.NotFound:
                try:
                    self.client.create_table(view, **self._limits)
                except api.Conflict:
                    self._give_query(view)

    def _give_query(self, view: bigquery.Table) -> None:
        self.client.update_table(view, ["view_query"], **self._limits)

    def drop(self, name: str) -> None:
        """Drop a table; it need not exist."""
        with self._translated():
            self.client.delete_table(
                self._table_id(name), not_found_ok=True, **self._limits
            )
