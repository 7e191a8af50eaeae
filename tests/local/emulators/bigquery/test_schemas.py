"""Changes of a table's schema, specified by what BigQuery takes and refuses."""

from __future__ import annotations

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud.bigquery import SchemaField, Table

INNER = SchemaField("x", "INT64")
BEFORE = [
    SchemaField("n", "INT64", mode="REQUIRED"),
    SchemaField("word", "STRING"),
    SchemaField("many", "INT64", mode="REPEATED"),
    SchemaField("inner", "RECORD", fields=[INNER]),
]


@pytest.fixture
def table(warehouse):
    table = Table(warehouse.full_name("t"), schema=BEFORE)
    return warehouse.client.create_table(table)


def changed(table, field: SchemaField) -> list[SchemaField]:
    columns = [column for column in table.schema if column.name != field.name]
    return [*columns, field]


class TestChanges:
    @pytest.mark.parametrize(
        ("field", "why"),
        [
            (SchemaField("word", "INT64"), "type from STRING to INTEGER"),
            (SchemaField("word", "STRING", mode="REQUIRED"), "mode from NULLABLE"),
            (SchemaField("many", "INT64"), "mode from REPEATED to NULLABLE"),
            (SchemaField("new", "STRING", mode="REQUIRED"), "a required field"),
            (
                SchemaField(
                    "inner", "RECORD", fields=[INNER, SchemaField("y", "DATE")]
                ),
                "fields of a record",
            ),
            (
                SchemaField("inner", "RECORD", fields=[SchemaField("x", "STRING")]),
                "x has changed type",
            ),
        ],
    )
    def test_that_would_not_be_made_are_refused(self, warehouse, table, field, why):
        """The schema stays what the rows are."""
        before = table.schema
        table.schema = changed(table, field)
        with pytest.raises(BadRequest, match=why):
            warehouse.client.update_table(table, ["schema"])

        assert warehouse.client.get_table(table.reference).schema == before

    @pytest.mark.parametrize(
        "field",
        [
            SchemaField("new", "STRING"),
            SchemaField("new", "INT64", mode="REPEATED"),
            SchemaField("n", "INTEGER"),
            SchemaField("word", "STRING", description="A word"),
        ],
    )
    def test_that_add_or_relax_are_made(self, warehouse, table, field):
        """Two names of a type are one."""
        table.schema = changed(table, field)
        warehouse.client.update_table(table, ["schema"])
        schema = warehouse.client.get_table(table.reference).schema
        [changed_field] = [column for column in schema if column.name == field.name]

        assert {column.name for column in schema} == {
            column.name for column in table.schema
        }
        assert (changed_field.mode, changed_field.description) == (
            field.mode,
            field.description,
        )
