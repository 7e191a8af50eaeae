"""Tables, views and datasets of BigQuery: made, changed, looked at and dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.api_core import exceptions as api
from google.cloud import bigquery

from propensity.edges.bigquery import BigQuery
from propensity.edges.columns import schema_of
from propensity.errors import SettingsError

if TYPE_CHECKING:
    from datetime import datetime

    from propensity.tables import Table

_DAY_MS = 24 * 3600 * 1000

# Names of tables in one answer: the most that BigQuery gives.
_TABLES_PAGE = 1_000


class Definitions(BigQuery):
    """Tables, views and datasets; none of it bills anything but ``keep``'s rewrite."""

    def create(self, table: Table, *, expires: datetime | None = None) -> None:
        """Create a table of ``tables.py`` where it is missing."""
        if expires is None:
            self.execute(table.ddl())
            return
        reference = bigquery.Table(self._named(table.name), schema=schema_of(table))
        reference.expires = expires
        with self._translated():
            self.client.create_table(
                reference, exists_ok=True, retry=self._retry, timeout=self._request
            )

    def keep(self, table: Table) -> None:
        """
        Have a table, which exists, be as it says: its columns, how long partitions are
        kept, and whether a query must name them.

        A column that is missing is added at the end, unless it is required. Whole
        numbers in a struct that have become fractions are cast; other types stay.
        """
        wanted = table.expiration_days * _DAY_MS or None
        with self._translated():
            found = self.client.get_table(
                self._named(table.name), retry=self._retry, timeout=self._request
            )
            changed = []
            there = {field.name for field in found.schema}
            missing = [
                field
                for field in schema_of(table)
                if field.name not in there and field.mode != "REQUIRED"
            ]
            if missing:
                found.schema = [*found.schema, *missing]
                changed.append("schema")
            partitioning = found.time_partitioning
            if partitioning is not None and partitioning.expiration_ms != wanted:
                partitioning.expiration_ms = wanted
                found.time_partitioning = partitioning
                changed.append("time_partitioning")
            if bool(found.require_partition_filter) != table.requires_filter:
                found.require_partition_filter = table.requires_filter
                changed.append("require_partition_filter")
            if changed:
                self.client.update_table(
                    found, changed, retry=self._retry, timeout=self._request
                )
            there_now = [field.to_api_repr() for field in found.schema]
        if table.is_narrower(there_now):
            self.execute(table.rewritten())

    def view_text(self, name: str) -> str:
        """
        Return the query of a view; it bills nothing.

        Raises:
            MissingTable: There is none.
        """
        with self._translated():
            found = self.client.get_table(
                self._named(name), retry=self._retry, timeout=self._request
            )
        return found.view_query or ""

    def check_location(self, dataset: str) -> None:
        """
        Make sure that a dataset is where queries run; it bills nothing.

        Args:
            dataset: As ``project.dataset``.

        Raises:
            SettingsError: It is elsewhere: a query does not cross locations.
            MissingTable, AccessDenied, Unavailable: As named.
        """
        with self._translated(dataset):
            found = self.client.get_dataset(
                dataset, retry=self._retry, timeout=self._request
            )
        wanted, there = self.settings.location, found.location or ""
        if there and there.casefold() != wanted.casefold():
            raise SettingsError(
                f"the dataset {dataset} is in {there}, and queries run in {wanted} "
                "(PROPENSITY_LOCATION): BigQuery joins nothing across locations. Put "
                f"{self.settings.project}.{self.settings.dataset} where the export "
                "is, or copy the export",
                field="PROPENSITY_LOCATION",
            )

    def table_names(self, dataset: str) -> list[str]:
        """Return the names of the tables of ``project.dataset``; it bills nothing."""
        with self._translated(dataset):
            listed = self.client.list_tables(
                dataset,
                page_size=_TABLES_PAGE,
                retry=self._retry,
                timeout=self._request,
            )
            return [str(one.table_id) for one in listed]

    def row_count(self, dataset: str, table: str) -> int:
        """Return the rows of a table, 0 where there is none; it bills nothing."""
        with self._translated(dataset):
            try:
                found = self.client.get_table(
                    f"{dataset}.{table}", retry=self._retry, timeout=self._request
                )
            except api.NotFound:
                return 0
            return int(found.num_rows or 0)

    def create_dataset(self, name: str) -> None:
        """Create a dataset of the project where it is missing."""
        dataset = bigquery.Dataset(f"{self.settings.project}.{name}")
        dataset.location = self.settings.location
        with self._translated():
            self.client.create_dataset(
                dataset, exists_ok=True, retry=self._retry, timeout=self._request
            )

    def replace_view(self, name: str, sql: str) -> None:
        """
        Give the view ``name`` another query, or create it where it is missing.

        In this order, so that who replaces a view need not be allowed to create one.
        """
        view = bigquery.Table(self._named(name))
        view.view_query = sql
        with self._translated():
            try:
                self._give_query(view)
            except api.NotFound:
                try:
                    self.client.create_table(
                        view, retry=self._retry, timeout=self._request
                    )
                except api.Conflict:
                    self._give_query(view)

    def _give_query(self, view: bigquery.Table) -> None:
        self.client.update_table(
            view, ["view_query"], retry=self._retry, timeout=self._request
        )

    def drop(self, name: str) -> None:
        """Drop a table; it need not exist."""
        with self._translated():
            self.client.delete_table(
                self._named(name),
                not_found_ok=True,
                retry=self._retry,
                timeout=self._request,
            )
