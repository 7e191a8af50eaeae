"""
Find a user in a prediction index: in the whole file, or in one block of it.

A lookup is a hash and a binary search, about 2 µs. 02-GetProba imports this, so nothing
heavy may be imported here.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_left
from functools import partial
from hashlib import blake2b

from propensity.index.layout import (
    BLOCK,
    HASH_BITS,
    WORD,
    DamagedIndex,
    Head,
    Pair,
    block_bytes,
)

_NUMBER = struct.Struct("<Q").unpack

# Probability, percentile (0 for none), and as-of date and version.
Entry = tuple[float, int, Pair]


class Index:
    """A whole file in memory."""

    def __init__(self, data: bytes | bytearray) -> None:
        """
        Args:
            data: The file. Its blocks are not checked one by one: compare the checksum
                of the whole first.

        Raises:
            DamagedIndex: Its head is not sound, or the file is not as long as it says.
        """
        self.head = head = Head.parse(data)
        if head.offsets[-1] != len(data):
            raise DamagedIndex(
                f"it has {len(data)} bytes, and {head.offsets[-1]} by its head"
            )
        octets = memoryview(data)
        self._octets = octets
        self._words = octets.cast("Q")
        self._doubles = octets.cast("d")
        self._offsets = head.offsets
        # As ``layout.hash_of``, in two thirds of the time.
        self._hash = partial(blake2b, digest_size=WORD, key=head.key)
        # Without bits there is one block, and a shift by 64 leaves its number.
        self._shift = HASH_BITS - head.bits

    def __len__(self) -> int:
        return self.head.users

    def find(self, user_id: str) -> Entry | None:
        """Return a user's entry, None for a user who has none."""
        [user_hash] = _NUMBER(self._hash(user_id.encode()).digest())
        words = self._words
        start = self._offsets[user_hash >> self._shift] // WORD
        users = words[start] >> 32
        first = start + 1
        at = bisect_left(words, user_hash, first, first + users)
        if at == first + users or words[at] != user_hash:
            return None
        octets = self._octets
        place = (first + 2 * users) * WORD + at - first
        pair_bytes = self.head.pair_bytes
        if pair_bytes == 1:
            pair = octets[place + users]
        else:
            row = place + users + (at - first) * (pair_bytes - 1)
            pair = int.from_bytes(octets[row : row + pair_bytes], "little")
        return self._doubles[at + users], octets[place], self.head.pairs[pair]


def find_in_block(
    block: bytes | bytearray, user_hash: int, *, head: Head
) -> Entry | None:
    """
    Return the entry of a hash in the block that it belongs to, None if it has none.

    Args:
        block: Its bytes, read alone.
        user_hash: By ``layout.hash_of``.
        head: Of the file.

    Raises:
        DamagedIndex: The block's checksum is wrong.
    """
    if len(block) < BLOCK.size:
        raise DamagedIndex("a block of it is cut short")
    crc, users = BLOCK.unpack_from(block)
    used = BLOCK.size + users * (2 * WORD + 1 + head.pair_bytes)
    if len(block) != block_bytes(users, pair_bytes=head.pair_bytes):
        raise DamagedIndex("a block of it is cut short")
    octets = memoryview(block)
    if zlib.crc32(octets[4:used]) != crc:
        raise DamagedIndex("a block of it is not as it was written")
    hashes = octets[BLOCK.size :][: users * WORD].cast("Q")
    row = bisect_left(hashes, user_hash)
    if row == users or hashes[row] != user_hash:
        return None
    probability_at = BLOCK.size + (users + row) * WORD
    [probability] = octets[probability_at:][:WORD].cast("d")
    percentiles_at = BLOCK.size + 2 * users * WORD
    pair_at = percentiles_at + users + row * head.pair_bytes
    pair = int.from_bytes(octets[pair_at:][: head.pair_bytes], "little")
    return probability, octets[percentiles_at + row], head.pairs[pair]
