"""What lookups from the prediction index use in a month."""

from __future__ import annotations

from collections.abc import Iterator

from offline.cost.prices import GIB, MIB, Line
from offline.limits import MONTH_S, WEEKS, instances, requests
from offline.partitions import PARTITIONS, Size

# The prediction index: bytes a user, as docs/benchmarks.md has measured; seconds
# between two looks for a newer index; and the largest index that fits twice into
# memory. A test holds the last two against the function.
INDEX_USER_BYTES = 18.1
INDEX_LOOK_S = 10.0
INDEX_MEMORY = (512 - 128) * MIB / 2


def index_bytes(size: Size) -> float:
    """Return the bytes of the index of a use case: all users of its table."""
    rows = sum(PARTITIONS["ma_predictions_table"](size, size.days_kept))
    return rows / size.use_cases * INDEX_USER_BYTES


def is_loaded(size: Size) -> bool:
    """Tell whether an instance of ``get_proba`` holds all indexes twice."""
    return index_bytes(size) * size.publishing <= INDEX_MEMORY


def lines(size: Size) -> Iterator[Line]:
    """Yield what the index uses in a month: its files, and how they are read."""
    yield Line(
        "object_gib_month",
        "prediction index, and the one before",
        amount=2 * index_bytes(size) * size.publishing / GIB,
    )
    yield Line(
        "object_write_thousand",
        "indexes and their pointers",
        amount=2 * WEEKS * size.publishing / 1e3,
        function="predictions",
    )
    calls = requests(size)["get_proba"]
    if not calls:
        return
    # At most so often while an instance serves, and no more often than it serves.
    looks = min(calls, instances("get_proba", size) * MONTH_S / INDEX_LOOK_S)
    yield Line(
        "object_read_thousand",
        "looks at the index's pointer",
        amount=looks / 1e3,
        function="get_proba",
    )
    if not is_loaded(size):
        yield Line(
            "object_read_thousand",
            "blocks of the index, one a user",
            amount=size.lookups / 1e3,
            function="get_proba",
        )
