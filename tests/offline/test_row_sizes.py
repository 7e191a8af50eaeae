"""
Bytes of a row, specified: those of the rows that are written, and of a real export.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest

from benchmarks.features import size_of
from offline import row_sizes
from offline.partitions import Size
from propensity import tables, usecases
from propensity.learning.metrics import outcomes
from propensity.learning.thresholds import by_threshold
from tests.events import bet, registration
from tests.functions.streaming import rows_of
from tests.offline.reading import EXPORTED
from tests.offline.sizes import SMALL

# Views, and what follows a statement in its script and reads what that has written.
VALUES = ("expected_value", "expected_value_low", "expected_value_high")


class TestRows:
    def test_of_the_stream_are_as_large_as_those_that_are_written(self):
        """What is taken for a row is what the code makes of one, and not less."""
        at = datetime(2026, 3, 2, tzinfo=UTC)
        events = [
            make(
                user_id="0b0f6c1e-9d4f-4b35-9d0b-0c9a0b1f0d11",
                event_id="5b0f6c1e-9d4f-4b35-9d0b-0c9a0b1f0d12",
                event_time="2026-03-01T12:00:00Z",
            )
            for make in (*[bet] * 9, registration)
        ]
        rows = rows_of(events, received_at=at).to_pylist()
        for column in tables.STREAM_EVENTS.columns:
            mean = sum(size_of(row[column.name], column) for row in rows) / len(rows)
            taken = row_sizes.row_bytes("stream_events", (column.name,), SMALL)

            assert mean - 0.1 <= taken <= max(2.5 * mean, mean + 10), column.name

    def test_of_predictions_are_those_that_are_written(self):
        """A row of the tables that lookups read."""
        at = datetime(2026, 3, 2, tzinfo=UTC)
        row = {
            "use_case": "first_day_churn",
            "user_id": "1234567890.1234567890",
            "as_of": at.date(),
            "probability": 0.1,
            "percentile": 3,
            "model_version": 3,
            "scored_at": at,
            "data_until": at.date(),
            "feature_row": 7,
            "log_odds_shift": 0.1,
            "base_log_odds": None,
            "reasons": [],
            **dict.fromkeys(VALUES, Decimal(1)),
        }

        for table in (tables.PREDICTIONS, tables.PREDICTIONS_HISTORY):
            mean = sum(size_of(row[column.name], column) for column in table.columns)
            assert row_sizes.row_bytes(table.name, (), SMALL) == mean

    def test_of_an_evaluation_have_as_many_thresholds_as_are_written(self):
        """Of few users each one, of a million some hundreds."""
        for users in (1, 40, 1_000, 100_000):
            probability = np.linspace(0.01, 0.99, users)
            written = by_threshold(outcomes(probability, np.zeros(users)))
            taken = row_sizes.row_bytes(
                "ma_model_evaluation",
                ("thresholds",),
                Size(users=users, events_a_day=users),
            )

            assert 24 * len(written) == pytest.approx(taken, rel=0.1)

    def test_of_the_log_hold_a_transaction(self):
        """An inference has the fields that the model was given."""
        at = datetime(2026, 3, 2, tzinfo=UTC)
        names = usecases.load("card_fraud").features
        row = {
            "use_case": "card_fraud",
            "inference_id": "0" * 64,
            "event_id": "5b0f6c1e-9d4f-4b35-9d0b-0c9a0b1f0d12",
            "user_id": "5b0f6c1e-9d4f-4b35-9d0b-0c9a0b1f0d12",
            "event_time": at,
            "event_date": at.date(),
            "model_version": 3,
            "probability": 0.1,
            "is_warm": True,
            "is_shadow": False,
            "epoch": 4,
            "source": "stream",
            "features": json.dumps(dict.fromkeys(names, -1.359807133673)),
            "scored_at": at,
            "scored_on": at.date(),
            "latency_ms": 3.0,
        }
        mean = sum(
            size_of(row.get(column.name), column)
            for column in tables.INFERENCE_LOG.columns
        )

        taken = row_sizes.row_bytes("inference_log", (), SMALL)
        assert mean <= taken <= 1.15 * mean

    def test_of_the_export_are_those_of_real_rows(self, data_folder):
        """Each column of a real export, as BigQuery counts its bytes."""
        import orjson
        import zstandard

        data = (data_folder / "ga4_sample.ndjson.zst").read_bytes()
        reader = zstandard.ZstdDecompressor().stream_reader(data)
        rows = [orjson.loads(line) for line in reader.read().splitlines()]
        integers = {"event_timestamp", "user_first_touch_timestamp"}

        def size(value, path, name):
            if isinstance(value, list):
                return sum(size(one, path, name) for one in value)
            if isinstance(value, dict) and not path:
                return sum(size(one, [], name) for one in value.values())
            if path:
                return size(value.get(path[0]), path[1:], name) if value else 0
            if isinstance(value, str) and name not in integers:
                return 2 + len(value.encode())
            return 8 if value is not None else 0

        for name, taken in row_sizes.EXPORTED.items():
            total = sum(size(row, name.split("."), name) for row in rows)
            if name != "user_id":
                mean = total / len(rows)
                assert mean - 0.1 <= taken <= 1.1 * mean + 0.2, name

    def test_of_the_export_are_all_that_the_view_reads(self):
        """The view names no column that has no size."""
        read = frozenset().union(*EXPORTED.values()) - {"table_suffix"}

        assert read == set(row_sizes.EXPORTED)
