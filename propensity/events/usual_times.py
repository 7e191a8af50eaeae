"""
Times in the usual format, a batch at once: ISO 8601 in UTC, with as many decimals each.

Their digits are checked by their places, and numpy reads them: for a batch of 64 that
takes a quarter of a cast by Arrow. All others are left to the parsers of ``rows`` and
``values``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from propensity.events.values import EARLIEST_US, microseconds_of

# To the second, the millisecond, the microsecond; by their length.
_FORMATS = {
    len(one): one
    for one in (
        b"0000-00-00T00:00:00Z",
        b"0000-00-00T00:00:00.000Z",
        b"0000-00-00T00:00:00.000000Z",
    )
}
# Digits to zeros.
TO_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
MICROSECONDS = np.dtype("M8[us]")


def usual_times(texts: Sequence[str]) -> NDArray[np.int64] | None:
    """Return times in microseconds since 1970; None if one is in another format."""
    usual = _FORMATS.get(len(texts[0])) if texts else None
    if usual is None:
        return None
    try:
        lines = "\n".join([*texts, ""]).encode()
    except UnicodeEncodeError:
        return None
    return times_in(lines, usual + b"\n", len(texts))


def times_in(lines: bytes, usual: bytes, count: int) -> NDArray[np.int64] | None:
    """
    Return times in microseconds since 1970; None if one is otherwise or in no calendar.

    Args:
        lines: Of each time one, which ends in a line feed.
        usual: What each line is but for its digits: zeros in their places, up to a Z.
        count: Of the lines.
    """
    if not count:
        return np.empty(0, np.int64)
    if lines.translate(TO_ZEROS) != usual * count:
        return None
    try:
        times: NDArray[np.int64] = (
            np.frombuffer(lines, _digits_of(usual))["time"]
            .astype(MICROSECONDS)
            .view(np.int64)
        )
    except ValueError:  # the 30th of February
        return None
    return times


def are_within(times: NDArray[np.int64], latest: datetime) -> bool:
    """Say whether times in microseconds since 1970 are none too early nor too late."""
    return not len(times) or bool(
        np.minimum.reduce(times) >= EARLIEST_US
        and np.maximum.reduce(times) <= microseconds_of(latest)
    )


@cache
def _digits_of(usual: bytes) -> Any:
    """Return the type of lines: their times are texts without zone."""
    start, end = usual.index(b"0"), usual.index(b"Z")
    return np.dtype(
        {
            "names": ["time"],
            "formats": [f"S{end - start}"],
            "offsets": [start],
            "itemsize": len(usual),
        }
    )
