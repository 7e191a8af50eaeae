"""
The bytes of a prediction index. All numbers are little-endian.

    file     = head, blocks
    head     = fixed part (48 bytes), pairs, offsets
    fixed    = magic and version (8), key (16), users (u64), bits (u32), pairs (u32),
               bytes of a pair's number (u32), CRC-32 of the head (u32, itself as 0)
    pairs    = for each: day of as-of (i64, 1 is 1 January of the year 1), version (i64)
    offsets  = 2**bits + 1 times (u64): where each block begins, and the last one ends
    block    = CRC-32 of what follows but the zeros at the end (u32), users n (u32),
               n hashes (u64, ascending), n probabilities (f64, bit for bit as
               published), n percentiles (u8, 0 for none), n numbers of pairs (u8, u16
               or u32), zeros to a multiple of 8

A user is in the block that the first ``bits`` bits of the hash number. The hash is
BLAKE2b of the id in UTF-8, 64 bits of it, under a random key: who does not know the key
cannot choose ids that collide. The builder refuses a collision and takes another key,
so no user of the file gets the answer of another one. An id that is not in the file
has the hash of one that is with probability users / 2**64: 3e-12 for 50 millions.

Source: RFC 7693, BLAKE2, section 2.9, keyed hashing.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b

MAGIC = b"PROPIDX\x01"
KEY_BYTES = 16
HASH_BITS = 64

# Users of a block: twice that at most on average. A block is a range of some 5 KB.
BLOCK_USERS = 256

FIXED = struct.Struct(f"<8s{KEY_BYTES}sQIIII")
BLOCK = struct.Struct("<II")
_PAIR = struct.Struct("<qq")
_CRC_AT = FIXED.size - 4
WORD = 8

Pair = tuple[date, int]


class DamagedIndex(ValueError):
    """The bytes are not a prediction index, or not as they were written."""


def hash_of(user_id: str, *, key: bytes) -> int:
    """Return the hash of a user's id under an index's key."""
    digest = blake2b(user_id.encode(), digest_size=WORD, key=key).digest()
    return int.from_bytes(digest, "little")


@dataclass(frozen=True, kw_only=True)
class Head:
    """
    The head of an index.

    Attributes:
        key: Of the hashes.
        users: In the file.
        bits: Logarithm of the number of blocks.
        pairs: As-of date and model version, by number.
        pair_bytes: Bytes of such a number in a block: 1, 2 or 4.
        offsets: Of the blocks and the end of the file, in bytes.
    """

    key: bytes
    users: int
    bits: int
    pairs: Sequence[Pair]
    pair_bytes: int
    offsets: Sequence[int]

    def encoded(self) -> bytes:
        """Return the head's bytes."""
        fixed = FIXED.pack(
            MAGIC, self.key, self.users, self.bits, len(self.pairs), self.pair_bytes, 0
        )
        head = bytearray(fixed)
        for as_of, version in self.pairs:
            head += _PAIR.pack(as_of.toordinal(), version)
        head += struct.pack(f"<{len(self.offsets)}Q", *self.offsets)
        head[_CRC_AT : FIXED.size] = zlib.crc32(head).to_bytes(4, "little")
        return bytes(head)

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview) -> Head:
        """
        Read the head at the beginning of a file; more may follow.

        Raises:
            DamagedIndex: It is none, or its checksum is wrong.
        """
        if sys.byteorder != "little":
            raise DamagedIndex("an index is read on little-endian machines only")
        view = memoryview(data)
        if len(view) < FIXED.size:
            raise DamagedIndex(f"it has only {len(view)} bytes")
        magic, key, users, bits, n_pairs, pair_bytes, crc = FIXED.unpack_from(view)
        if magic != MAGIC:
            raise DamagedIndex("it does not begin as a prediction index")
        size = head_bytes(bits=bits, pairs=n_pairs) if bits <= HASH_BITS else 0
        if not FIXED.size < size <= len(view) or pair_bytes not in (1, 2, 4):
            raise DamagedIndex("its head is cut short, or contradicts itself")
        checked = bytearray(view[:size])
        checked[_CRC_AT : FIXED.size] = bytes(4)
        if zlib.crc32(checked) != crc:
            raise DamagedIndex("its head is not as it was written")
        pairs_end = FIXED.size + n_pairs * _PAIR.size
        return cls(
            key=key,
            users=users,
            bits=bits,
            pairs=[
                (date.fromordinal(day), version)
                for day, version in _PAIR.iter_unpack(view[FIXED.size : pairs_end])
            ],
            pair_bytes=pair_bytes,
            offsets=view[pairs_end:size].cast("Q"),
        )

    def block_of(self, user_hash: int) -> int:
        """Return the number of the block that a hash is in."""
        return user_hash >> (HASH_BITS - self.bits)


def head_bytes(*, bits: int, pairs: int) -> int:
    """Return the size of a head."""
    return FIXED.size + pairs * _PAIR.size + ((1 << bits) + 1) * WORD


def block_bytes(users: int, *, pair_bytes: int) -> int:
    """Return the size of a block with its zeros."""
    size = BLOCK.size + users * (2 * WORD + 1 + pair_bytes)
    return -(-size // WORD) * WORD
