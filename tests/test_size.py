"""A large company, specified by its size alone: nothing outgrows an instance."""

from __future__ import annotations

from propensity.gcp.writes import APPEND_BYTES
from propensity.online import indexes
from propensity.streaming.events import messages
from propensity.streaming.features import consumer

GIB = 1024**3


def test_the_index_of_a_large_shop_fits_twice():
    """At 56 bytes each, in 1 GiB of memory, as 02-GetProba/README.md says."""
    users = 8_000_000

    assert 56 * users < (GIB - indexes.RESERVED_BYTES) / 2


def test_the_memory_of_an_instance_is_bounded():
    """By its memory, 1 GiB, and by BigQuery's 10 MB for one append."""
    held = consumer.READING_BYTES + consumer.WAITING_BYTES + 4 * consumer.GROUP_BYTES

    assert messages.MAXIMUM_BODY_BYTES <= consumer.READING_BYTES
    assert 4 * held < GIB
    assert APPEND_BYTES < 10_000_000
