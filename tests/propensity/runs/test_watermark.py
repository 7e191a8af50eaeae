"""
The watermark of the stream, specified: a damaged one is named, and nothing is counted.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from propensity.errors import ArtifactError
from propensity.runs.watermark import (
    EPOCH,
    WATERMARK,
    Watermark,
    read_watermark,
    write_watermark,
)

NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)


class TestWatermark:
    def test_is_what_was_written(self, artifacts):
        written = write_watermark(artifacts, Watermark(NOW, 0))

        watermark = read_watermark(artifacts)
        assert (watermark.moment, watermark.generation) == (NOW, written.generation)

    def test_is_1970_where_nothing_was_compacted(self, artifacts):
        assert read_watermark(artifacts) == Watermark(EPOCH, 0)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"{}",
            b"\xff",
            *(
                json.dumps({"watermark": NOW.isoformat(), **wrong}).encode()
                for wrong in (
                    {"watermark": None},
                    {"watermark": "2026-03-02"},
                    {"open_days": []},
                    {"open_days": {"stream_events": ["x"]}},
                    {"users_since": 1},
                    {"steps": [{}]},
                    {"target": "soon"},
                )
            ),
        ],
    )
    def test_that_is_damaged_is_an_error_that_names_it(self, artifacts, data):
        """Defect: the compaction answered 500 `internal`, and logged a traceback."""
        artifacts.create(WATERMARK, data)

        with pytest.raises(ArtifactError, match=f"{WATERMARK} does not say .*delete"):
            read_watermark(artifacts)
