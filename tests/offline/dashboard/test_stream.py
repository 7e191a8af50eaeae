"""The page of the stream: its figures where there are several use cases."""

from __future__ import annotations

import pytest

from tests.offline.dashboard.rows import hour_of, latency
from tests.offline.dashboard.test_site import pages, words


@pytest.mark.parametrize("slow", ["card_fraud", "zoo"])
def test_the_lag_of_scores_is_that_of_the_slowest_use_case(slow):
    """As in the chart below it, whichever use case comes first by its name."""
    rows = [latency(), latency(use_case=slow, latency_p50_ms=7000.0)]
    ordered = sorted(rows, key=lambda row: row["use_case"])
    text = words(pages({"stream": [hour_of()], "latency": ordered})["stream.html"])

    assert "Lag of scores 7,000 ms median of the newest hour" in text
