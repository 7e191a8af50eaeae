"""
Build a prediction index of Arrow batches, in the memory of the index and little more.

Batches become sorted runs of some 200,000 users. Stripes of all runs, each a range of
hashes, are then merged and written one after another. No loop runs over users but the
one that hashes their ids.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from propensity.index.layout import (
    BLOCK,
    BLOCK_USERS,
    HASH_BITS,
    WORD,
    Head,
    Pair,
    block_bytes,
    head_bytes,
)

# Users that are sorted at once, as they come and as they are merged.
RUN_USERS = 200_000

_EPOCH = date(1970, 1, 1).toordinal()


class Collision(Exception):
    """Two rows have the same hash: two users under this key, or a user twice."""


@dataclass(frozen=True)
class _Rows:
    """Columns of users: hash, probability, percentile (0: none), number of the pair."""

    hashes: NDArray[np.uint64]
    probability: NDArray[np.float64]
    percentile: NDArray[np.uint8]
    pair: NDArray[np.unsignedinteger[Any]]

    def part(self, of: slice | NDArray[np.intp]) -> _Rows:
        return _Rows(
            self.hashes[of], self.probability[of], self.percentile[of], self.pair[of]
        )


def _sorted(parts: list[_Rows]) -> _Rows:
    """Return all rows by hash; of sorted parts it is a merge."""
    rows = _Rows(
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.probability for part in parts]),
        np.concatenate([part.percentile for part in parts]),
        np.concatenate([part.pair for part in parts]),
    )
    return rows.part(np.argsort(rows.hashes, kind="stable"))


class Builder:
    """Takes rows in any order, and then gives the file."""

    def __init__(self, key: bytes) -> None:
        """Take a random key of ``layout.KEY_BYTES`` bytes."""
        self._key = key
        self._pairs: dict[Pair, int] = {}
        self._waiting: list[_Rows] = []
        self._waiting_users = 0
        self._runs: list[_Rows] = []
        self.users = 0

    def add(self, rows: pa.RecordBatch) -> None:
        """
        Take rows of the predictions table.

        Args:
            rows: ``user_id`` string, ``probability`` float64, ``as_of`` date32,
                ``percentile`` int64 from 1 to 100 or null, ``model_version`` int64.
        """
        key = self._key
        digests = [
            blake2b(user, digest_size=WORD, key=key).digest()
            for user in rows["user_id"].cast(pa.binary()).to_pylist()
        ]
        percentile = rows["percentile"].fill_null(0).cast(pa.uint8())
        self._waiting.append(
            _Rows(
                np.frombuffer(b"".join(digests), dtype="<u8"),
                # Copies: views would keep the whole batch in memory.
                np.array(rows["probability"], dtype=np.float64),
                np.array(percentile, dtype=np.uint8),
                self._pairs_of(rows),
            )
        )
        self._waiting_users += len(digests)
        self.users += len(digests)
        if self._waiting_users >= RUN_USERS:
            self._finish_run()

    def _finish_run(self) -> None:
        if self._waiting_users:
            self._runs.append(_sorted(self._waiting))
        self._waiting, self._waiting_users = [], 0

    def _pairs_of(self, rows: pa.RecordBatch) -> NDArray[np.unsignedinteger[Any]]:
        """Return each row's number of its as-of date and version."""
        days = rows["as_of"].cast(pa.int32()).dictionary_encode()
        versions = rows["model_version"].dictionary_encode()
        both = np.array(days.indices, dtype=np.intp) * len(versions.dictionary)
        both += np.array(versions.indices, dtype=np.intp)
        number = np.zeros(len(days.dictionary) * len(versions.dictionary), np.uint32)
        for code in np.flatnonzero(np.bincount(both, minlength=len(number))):
            day, version = divmod(int(code), len(versions.dictionary))
            as_of = date.fromordinal(_EPOCH + days.dictionary[day].as_py())
            pair = (as_of, versions.dictionary[version].as_py())
            number[code] = self._pairs.setdefault(pair, len(self._pairs))
        return number[both].astype(_pair_type(len(self._pairs)))

    def finish(self) -> Iterator[bytes]:
        """
        Yield the file, its head first.

        Raises:
            Collision: Take another key, or there are users twice. What was yielded
                before is to be thrown away.
        """
        self._finish_run()
        stripe_bits = (self.users // RUN_USERS).bit_length()
        bits = max(stripe_bits, (self.users // (2 * BLOCK_USERS)).bit_length())
        starts = np.arange(1 << bits, dtype=np.uint64)
        if bits:
            starts <<= np.uint64(HASH_BITS - bits)
        counts = np.zeros(1 << bits, dtype=np.int64)
        edges = []
        for run in self._runs:
            of_blocks = np.searchsorted(run.hashes, starts)
            of_blocks = np.append(of_blocks, len(run.hashes))
            counts += np.diff(of_blocks)
            # Of all blocks they would take much memory.
            edges.append(of_blocks[:: 1 << (bits - stripe_bits)].copy())
        pair_type = np.dtype(_pair_type(len(self._pairs)))
        yield self._head(bits, counts, pair_type.itemsize).encoded()
        for stripe, of_blocks in enumerate(np.split(counts, 1 << stripe_bits)):
            parts = [
                run.part(slice(ends[stripe], ends[stripe + 1]))
                for run, ends in zip(self._runs, edges, strict=True)
            ]
            yield _blocks(parts, of_blocks, pair_type=pair_type)

    def _head(self, bits: int, counts: NDArray[np.int64], pair_bytes: int) -> Head:
        begin = head_bytes(bits=bits, pairs=len(self._pairs))
        sizes = [block_bytes(int(users), pair_bytes=pair_bytes) for users in counts]
        return Head(
            key=self._key,
            users=self.users,
            bits=bits,
            pairs=list(self._pairs),
            pair_bytes=pair_bytes,
            offsets=[begin, *(begin + np.cumsum(sizes)).tolist()],
        )


def _blocks(
    parts: list[_Rows], counts: NDArray[np.int64], *, pair_type: np.dtype[Any]
) -> bytes:
    """Return the blocks of a stripe."""
    columns: list[NDArray[Any]] = []
    if parts:
        rows = _sorted(parts)
        if np.any(rows.hashes[1:] == rows.hashes[:-1]):
            raise Collision("two rows have the same hash")
        columns = [
            rows.hashes,
            rows.probability,
            rows.percentile,
            rows.pair.astype(pair_type),
        ]
    blocks = []
    first = 0
    for users in counts.tolist():
        content = users.to_bytes(4, "little")
        if users:
            of = slice(first, first + users)
            content += b"".join([column[of].tobytes() for column in columns])
        crc = zlib.crc32(content).to_bytes(4, "little")
        size = block_bytes(users, pair_bytes=pair_type.itemsize)
        blocks.append((crc + content).ljust(size, b"\0"))
        first += users
    assert BLOCK.size == len(crc) + 4
    return b"".join(blocks)


def _pair_type(pairs: int) -> type[np.unsignedinteger[Any]]:
    if pairs <= 1 << 8:
        return np.uint8
    return np.uint16 if pairs <= 1 << 16 else np.uint32
