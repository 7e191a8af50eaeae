"""
BigQuery's FARM_FINGERPRINT: FarmHash's Fingerprint64, of many texts at once.

Texts of one length are the rows of a matrix, so that each step is one of arrays.
Numbers of 64 bits wrap, as they do in C++.

Source: Geoff Pike, https://github.com/google/farmhash, ``farmhashna::Hash64``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Words = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
Fetch = Callable[[int], Words]

K0 = np.uint64(0xC3A5C85C97CB3127)
K1 = np.uint64(0xB492B66FBE98F273)
K2 = np.uint64(0x9AE16A3B2F90404F)


def farm_fingerprint(texts: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return the fingerprint of each text, INT64; null of null."""
    values = texts.to_pylist()
    found = np.zeros(len(values), np.uint64)
    encoded: dict[int, bytes] = {}
    lengths: dict[int, list[int]] = {}
    for place, text in enumerate(values):
        if text is not None:
            encoded[place] = text.encode()
            lengths.setdefault(len(encoded[place]), []).append(place)
    for length, places in lengths.items():
        joined = b"".join(encoded[place] for place in places)
        matrix = np.frombuffer(joined, np.uint8).reshape(len(places), length)
        found[places] = _hash(matrix, length)
    is_null = np.array([text is None for text in values], bool)
    return pa.array(found.view(np.int64), mask=is_null)


def _hash(texts: Bytes, length: int) -> Words:
    def fetch(offset: int) -> Words:
        return _words(texts, offset, "<u8")

    if length <= 16:
        return _hash_16(texts, length, fetch)
    if length <= 32:
        return _hash_32(length, fetch)
    if length <= 64:
        return _hash_64(length, fetch)
    return _hash_more(length, fetch)


def _words(texts: Bytes, offset: int, kind: str) -> Words:
    """Return a number of each text, from a byte on."""
    size = np.dtype(kind).itemsize
    part = np.ascontiguousarray(texts[:, offset : offset + size])
    return part.view(kind)[:, 0].astype(np.uint64)


def _of(number: int) -> Any:
    return np.uint64(number)


def _rotated(word: Words, by: int) -> Words:
    rotated: Words = (word >> _of(by)) | (word << _of(64 - by))
    return rotated


def _mixed(word: Words) -> Words:
    mixed: Words = word ^ (word >> _of(47))
    return mixed


def _pair(left: Words, right: Words, factor: Any) -> Words:
    mixed = _mixed((left ^ right) * factor)
    paired: Words = _mixed((right ^ mixed) * factor) * factor
    return paired


def _hash_16(texts: Bytes, length: int, fetch: Fetch) -> Words:
    factor = K2 + _of(2 * length)
    if length >= 8:
        first = fetch(0) + K2
        last = fetch(length - 8)
        left = _rotated(last, 37) * factor + first
        right = (_rotated(first, 25) + last) * factor
        return _pair(left, right, factor)
    if length >= 4:
        first = _words(texts, 0, "<u4")
        last = _words(texts, length - 4, "<u4")
        return _pair(_of(length) + (first << _of(3)), last, factor)
    if length == 0:
        return np.full(len(texts), K2)
    column = texts.astype(np.uint64)
    low = column[:, 0] + (column[:, length >> 1] << _of(8))
    high = _of(length) + (column[:, length - 1] << _of(2))
    return _mixed(low * K2 ^ high * K0) * K2


def _hash_32(length: int, fetch: Fetch) -> Words:
    factor = K2 + _of(2 * length)
    a = fetch(0) * K1
    b = fetch(8)
    c = fetch(length - 8) * factor
    d = fetch(length - 16) * K2
    left = _rotated(a + b, 43) + _rotated(c, 30) + d
    return _pair(left, a + _rotated(b + K2, 18) + c, factor)


def _hash_64(length: int, fetch: Fetch) -> Words:
    factor = K2 + _of(2 * length)
    a = fetch(0) * K2
    b = fetch(8)
    c = fetch(length - 8) * factor
    d = fetch(length - 16) * K2
    y = _rotated(a + b, 43) + _rotated(c, 30) + d
    z = _pair(y, a + _rotated(b + K2, 18) + c, factor)
    e = fetch(16) * factor
    f = fetch(24)
    g = (y + fetch(length - 32)) * factor
    h = (z + fetch(length - 24)) * factor
    left = _rotated(e + f, 43) + _rotated(g, 30) + h
    return _pair(left, e + _rotated(f + a, 18) + g, factor)


def _weak(fetch: Fetch, at: int, a: Any, b: Any) -> tuple[Words, Words]:
    """Return the weak hash of 32 bytes with two seeds."""
    first = a + fetch(at)
    last = _rotated(b + first + fetch(at + 24), 21)
    middle = first + fetch(at + 8) + fetch(at + 16)
    return middle + fetch(at + 24), last + _rotated(middle, 44) + first


def _hash_more(length: int, fetch: Fetch) -> Words:
    zero = np.zeros_like(fetch(0))
    x = zero + _of(81)
    y = x * K1 + _of(113)
    z = _mixed(y * K2 + _of(113)) * K2
    v = (zero, zero)
    w = (zero, zero)
    x = x * K2 + fetch(0)
    end = (length - 1) // 64 * 64
    for at in range(0, end, 64):
        x = _rotated(x + y + v[0] + fetch(at + 8), 37) * K1 ^ w[1]
        y = _rotated(y + v[1] + fetch(at + 48), 42) * K1 + v[0] + fetch(at + 40)
        z = _rotated(z + w[0], 33) * K1
        v = _weak(fetch, at, v[1] * K1, x + w[0])
        w = _weak(fetch, at + 32, z + w[1], y + fetch(at + 16))
        x, z = z, x
    factor = K1 + ((z & _of(0xFF)) << _of(1))
    rest = _of((length - 1) & 63)
    last = length - 64
    w = (w[0] + rest, w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    x = _rotated(x + y + v[0] + fetch(last + 8), 37) * factor ^ w[1] * _of(9)
    y = _rotated(y + v[1] + fetch(last + 48), 42) * factor
    y = y + v[0] * _of(9) + fetch(last + 40)
    z = _rotated(z + w[0], 33) * factor
    v = _weak(fetch, last, v[1] * factor, x + w[0])
    w = _weak(fetch, last + 32, z + w[1], y + fetch(last + 16))
    # The reference exchanges x and z once more here.
    left = _pair(v[0], w[0], factor) + _mixed(y) * K0 + x
    return _pair(left, _pair(v[1], w[1], factor) + z, factor)
