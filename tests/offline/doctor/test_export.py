"""What the doctor asks of the export's tables, specified: what the view reads."""

from __future__ import annotations

import sqlglot
from sqlglot import exp

from offline.doctor.export import EXPORT_COLUMNS
from propensity.statements import statement


class TestColumns:
    def test_are_those_that_the_view_reads(self):
        """EXPORT_COLUMNS are those of ga_events.sql, no more and no less."""
        tree = sqlglot.parse_one(statement("ga_events"), dialect="bigquery")
        lists = {"p": "event_params", "i": "items"}
        found = set()
        for column in tree.find_all(exp.Column, exp.Dot):
            if isinstance(column.parent, exp.Dot):
                continue
            head, *rest = column.sql(dialect="bigquery").split(".")
            found.add(".".join([lists.get(head, head), *rest]))
        found -= {"_TABLE_SUFFIX", "table_suffix", "table_name"}
        found -= {"daily.*", "streamed.*"}
        found -= {*lists.values()}

        assert found == {*EXPORT_COLUMNS}
