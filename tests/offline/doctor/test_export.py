"""What the doctor says of the GA4 export, specified."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
import sqlglot
from sqlglot import exp

from offline.doctor.examination import DAY
from offline.doctor.export import EXPORT_COLUMNS, check_export
from offline.doctor.report import ERROR
from propensity import usecases
from propensity.statements import statement


class TestColumns:
    def test_are_those_that_the_view_reads(self):
        """EXPORT_COLUMNS are those of ga_events.sql, no more and no less."""
        tree = sqlglot.parse_one(statement("ga_events"), dialect="bigquery")
        lists = {"p": "event_params", "i": "items"}
        columns = set()
        for column in tree.find_all(exp.Column, exp.Dot):
            if isinstance(column.parent, exp.Dot):
                continue
            head, *rest = column.sql(dialect="bigquery").split(".")
            columns.add(".".join([lists.get(head, head), *rest]))
        columns -= {"_TABLE_SUFFIX", "table_suffix", "table_name"}
        columns -= {*lists.values(), "e", "id"}

        assert columns == {*EXPORT_COLUMNS}


@pytest.mark.runs
class TestExport:
    def test_looks_back_as_far_as_what_reads_it(self, place):
        """A use case that lives on the stream alone has no say in it."""
        place.drop_export(date(2026, 2, 27))
        names = ("ga4_purchase", "card_fraud")
        findings = place.checked(
            check_export, use_cases=[usecases.load(name) for name in names]
        )

        [missing] = [finding for finding in findings if "missing" in finding.what]
        assert "1 within the lookback of 60 days: 2026-02-27" in missing.what

    def test_takes_a_streamed_day_for_a_day(self, place):
        """A day that has an intraday table alone is no gap, and is looked at."""
        export = place.workplace.ga4_dataset
        with place.workplace.bigquery.client() as client:
            client.query_and_wait(
                f"CREATE TABLE {export}.events_intraday_20260227 AS "
                f"SELECT * EXCEPT (geo) FROM {export}.events_20260227"
            )
            place.drop_export(date(2026, 2, 27))
            findings = place.checked(check_export)
            client.delete_table(f"{export}.events_intraday_20260227")

        [changed] = findings
        assert "geo.country is missing in the tables of 2026-02-27" in changed.what

    @pytest.mark.parametrize("stray", ["20241231", "20991231"])
    def test_takes_a_table_that_lies_alone_for_no_end(self, place, stray):
        """An export that stopped has stopped, also where a clock was wrong."""
        export = place.workplace.ga4_dataset
        last = date(2026, 3, 3)
        for day in (last, last - DAY, last - 2 * DAY):
            place.drop_export(day)
        with place.workplace.bigquery.client() as client:
            client.query_and_wait(
                f"CREATE TABLE {export}.events_{stray} AS "
                f"SELECT * FROM {export}.events_20260227 LIMIT 1"
            )
            findings = place.checked(check_export)
            client.delete_table(f"{export}.events_{stray}")

        [late] = findings
        assert "newest day of the export is 2026-02-28: 3 days are late" in late.what

    def test_names_what_would_break_the_wildcards(self, place):
        """Beside days: views, tables with clusters, copies; nothing that begins
        otherwise."""
        export = place.workplace.ga4_dataset
        names = ("events_2026_flat", "events_20260227_backup", "events_flat")
        with place.workplace.bigquery.client() as client:
            client.query_and_wait(
                f"CREATE VIEW {export}.events_flat AS SELECT 1 AS n;"
                f"CREATE VIEW {export}.events_2026_flat AS SELECT 1 AS n;"
                f"CREATE TABLE {export}.events_20260227_backup AS SELECT 1 AS n"
            )
            findings = place.checked(check_export)
            for name in names:
                client.delete_table(f"{export}.{name}")
        flat, backup = sorted((one.what for one in findings), reverse=True)

        assert "events_2026_flat is a view" in flat
        assert "events_20260227_backup is no day" in backup

    def test_in_another_location_is_an_error_that_names_both(self, healthy):
        """Whoever runs doctor learns it before a run does."""
        settings = replace(healthy.settings, location="europe-west2")
        [finding] = healthy.checked(check_export, settings=settings)

        assert finding.severity == ERROR
        assert "is in US" in finding.what
        assert "europe-west2" in finding.what
