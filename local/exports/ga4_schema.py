"""
The GA4 export's columns, for BigQuery and Arrow.

``ga4_schema.json`` lists them as BigQuery does. Left out of it are the columns of ad
platforms in session_traffic_source_last_click and the ad revenue of apps in publisher:
the emulator's every shard pays for each column.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pyarrow as pa

from propensity.schema import Column, arrow_type, in_sql

_FILE = resources.files(__package__).joinpath("ga4_schema.json")


def _column(described: dict[str, Any]) -> Column:
    return Column(
        described["name"],
        in_sql(described["type"]),
        "of the export",
        repeated=described.get("mode") == "REPEATED",
        fields=tuple(map(_column, described.get("fields", ()))),
    )


COLUMNS = tuple(map(_column, json.loads(_FILE.read_text())))
ARROW_SCHEMA = pa.schema([(column.name, arrow_type(column)) for column in COLUMNS])
