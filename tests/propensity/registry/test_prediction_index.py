"""
The pointer to a prediction index, specified: what is none is damage, no other error.
"""

from __future__ import annotations

import json

import pytest

from propensity.edges.objects import Stored
from propensity.errors import ArtifactError
from propensity.registry.prediction_index import IndexPointer

FILE = {
    "name": "indexes/c/a.index",
    "size": 4_096,
    "head_bytes": 64,
    "sha256": "0" * 64,
    "users": 1,
    "published_at": "2026-03-02T00:00:00.000000+00:00",
}


def pointer(**changed: object) -> bytes:
    """A pointer with another content."""
    return json.dumps({"newest": {**FILE, **changed}, "previous": None}).encode()


class TestIndexPointer:
    def test_is_read_as_written(self):
        """To the byte."""
        parsed = IndexPointer.parse(Stored(pointer(), 1), "c")
        assert json.loads(parsed.encoded()) == json.loads(pointer())

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\xff",
            b"[]",
            b"{}",
            b"[" * 100_000,
            b'{"newest": 3}',
            b'{"newest": {}, "previous": null}',
            pointer().replace(b"null", b"3"),
            pointer().replace(b"4096", b"1e999"),
            *(pointer(size=size) for size in (-1, 0, 63, None, "much", float("nan"))),
            *(pointer(head_bytes=size) for size in (-1, 0, 4_097)),
            pointer(name="\ud800"),
        ],
        ids=lambda content: content[:99],
    )
    def test_that_is_damaged_is_said_to_be(self, content):
        """Lookups then read the table; any other error would be their answer."""
        with pytest.raises(ArtifactError):
            IndexPointer.parse(Stored(content, 1), "c")
