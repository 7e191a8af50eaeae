"""
Times in the usual format, specified: they are what Arrow reads, or left to it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from propensity.events.usual_times import usual_times

USUAL = "2026-03-01T12:00:00.123Z"
TIMES = st.one_of(
    st.datetimes().map(lambda at: f"{at.isoformat(timespec='seconds')}Z"),
    st.datetimes().map(lambda at: f"{at.isoformat(timespec='milliseconds')}Z"),
    st.datetimes().map(lambda at: f"{at.isoformat(timespec='microseconds')}Z"),
    st.sampled_from(
        [
            "",
            "now",
            "NaT",
            "2026-02-30T12:00:00.123Z",
            "2024-02-29T12:00:00.123Z",
            "2026-13-01T12:00:00.123Z",
            "2026-03-01T24:00:00.000Z",
            "2026-03-01T12:60:00.000Z",
            "2026-03-01T12:00:60.000Z",
            "0000-01-01T00:00:00.000Z",
            "2026-03-01 12:00:00.123Z",
            "2026-03-01T12:00:00.123z",
            "2026-03-01T12:00:00.12+0",
            "+026-03-01T12:00:00.123Z",
            "2026-W09-7T12:00:00.123Z",
            "2026-03-01T12:00:00.123Z\n",
            "2026-03-01T12:00:00.123Z\n2026-03-01T12:00:00.123Z",
            "\u0662\u0660\u0662\u0666-03-01T12:00:00.123Z",
            "\ud800026-03-01T12:00:00.123Z",
        ]
    ),
)


def read_by_arrow(texts: list[str]) -> list[int]:
    times = pa.array(texts, pa.string()).cast(pa.timestamp("us", "UTC"))
    return times.view(pa.int64()).to_pylist()


class TestUsualTimes:
    @given(st.lists(TIMES, max_size=4))
    @example(["2026-03-01T12:00:00.123z"])
    def test_are_those_that_arrow_reads(self, texts):
        """In whatever company; what is in no calendar or otherwise written is not."""
        times = usual_times(texts)

        assert times is None or times.tolist() == read_by_arrow(texts)

    @given(st.lists(st.datetimes(), min_size=1, max_size=4), st.data())
    def test_have_as_many_decimals_each(self, moments, data):
        """None, three or six: those are read here."""
        to = data.draw(st.sampled_from(["seconds", "milliseconds", "microseconds"]))
        texts = [f"{at.isoformat(timespec=to)}Z" for at in moments]
        times = usual_times(texts)

        assert times is not None
        assert times.dtype == np.int64
        assert times.tolist() == read_by_arrow(texts)

    @pytest.mark.parametrize("cut", range(len(USUAL) + 1))
    def test_stand_in_a_text_each(self, cut):
        """Two texts are not two times because they are when put together."""
        both = 2 * USUAL
        end = len(USUAL) + cut
        texts = [both[:end], both[end:]]

        assert (usual_times(texts) is None) is (texts != [USUAL, USUAL])
