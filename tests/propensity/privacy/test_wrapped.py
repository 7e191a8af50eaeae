"""
Wrapped payloads, specified: what anybody can unpack is unpacked, within limits.
"""

from __future__ import annotations

import base64
import gzip
import random
import time

import pytest
import zstandard

from propensity.privacy.wrapped import MAXIMUM_BYTES, unwrapped

EVENT = b'{"user_id": "anna", "note": "\xc3\xa4\xc3\xb6?>"}'


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        zstandard.compress,
        base64.b64encode,
        base64.urlsafe_b64encode,
        base64.encodebytes,
    ],
)
def test_are_unpacked_and_packed_again(pack):
    """By gzip, Zstandard, or base64 of either alphabet, with line breaks or without."""
    inner, wrap, is_whole = unwrapped(pack(EVENT)) or pytest.fail("it wraps an event")

    assert inner == EVENT
    assert is_whole
    assert (unwrapped(wrap(b"another")) or (b"",))[0] == b"another"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        EVENT,
        EVENT[:-1],
        b"\x1f\x8b",
        b"\x1f\x8bx",
        b"=",
        b"\x28\xb5\x2f\xfd",
        b"\x28\xb5\x2f\xfdxxxxxxxx",
    ],
)
def test_may_wrap_nothing(data):
    """What is packed in no such way, or not at all."""
    wrapped = unwrapped(data)
    assert wrapped is None or wrapped[0] == b""


def test_give_what_is_left_of_them():
    """A payload is cut where it is longer than a dead letter may be."""
    for packed in (gzip.compress(EVENT * 50), base64.b64encode(EVENT * 50)):
        for cut in range(20, len(packed), 7):
            inner, *_ = unwrapped(packed[:cut]) or (b"",)
            assert (EVENT * 50).startswith(inner)


def test_of_zstandard_give_their_whole_blocks():
    """A block of it is read whole or not at all."""
    text = bytes(random.Random(7).choices(b"abcdefghijklmnop", k=2**19))
    packed = zstandard.compress(text)
    inner, *_ = unwrapped(packed[: len(packed) // 2]) or (b"",)

    assert len(inner) >= 2**17
    assert text.startswith(inner)


def test_of_gzip_may_have_several_members():
    """One behind the other, as files are joined: all programs that unpack read all."""
    joined = gzip.compress(b"{}") + gzip.compress(b"") + gzip.compress(EVENT)

    assert (unwrapped(joined) or (b"",))[0] == gzip.decompress(joined) == b"{}" + EVENT


@pytest.mark.parametrize("at", [-8, -7, -4, -1])
def test_of_gzip_are_read_up_to_their_damage(at):
    """A wrong checksum hides nothing: whoever unpacks is told of it, and has the text.

    Nor does what stands behind a member and is none: it is told that there is more.
    """
    packed = bytearray(gzip.compress(EVENT))
    packed[at] ^= 1

    for damaged in (packed, gzip.compress(b"") + packed, gzip.compress(EVENT) + b"!"):
        wrapped = unwrapped(bytes(damaged)) or pytest.fail("it wraps an event")
        assert wrapped.inner == EVENT
        assert not wrapped.is_whole


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_do_not_fill_the_memory(pack):
    """A few kilobytes may hold gigabytes."""
    inner, *_ = unwrapped(pack(bytes(2**26))) or (b"",)
    assert len(inner) == MAXIMUM_BYTES


def test_are_read_in_one_pass():
    """A megabyte of what base64 may have between its lines takes no time, nor do tens
    of thousands of members without content."""
    began = time.monotonic()
    unwrapped(b"A" + b"\n" * 2**20 + b"!")
    unwrapped(b"A" * 2**20 + b"=" * 2**20 + b"!")
    unwrapped(gzip.compress(b"") * 2**15)
    assert time.monotonic() - began < 2.0
