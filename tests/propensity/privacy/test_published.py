"""
The list of suppressed users in the bucket, specified: the table stands in for it.
"""

from __future__ import annotations

import json

import pytest

from propensity.edges.objects import Stored
from propensity.errors import AccessDenied, SettingsError, Unavailable
from propensity.privacy.published import PublishedList
from propensity.privacy.suppression import Suppressed, key_id, user_hash

KEY = "a key of the deployment"


def entries(*users: str, key: str = KEY) -> bytes:
    """The object's bytes."""
    rows = [("", user_hash(key, user), key_id(key)) for user in users]
    return json.dumps({"users": rows}).encode()


class Bucket:
    """Gives one object, or fails."""

    def __init__(self, answer: bytes | Exception | None) -> None:
        self._answer = answer

    def find_newer(self, name: str, *, than: int) -> Stored | None:
        if isinstance(self._answer, Exception):
            raise self._answer
        return None if self._answer is None else Stored(self._answer, 1)


def read(answer: bytes | Exception | None) -> Suppressed:
    """The list, with "tab" on the table's."""

    def table() -> Suppressed:
        return Suppressed(KEY, [("", user_hash(KEY, "tab"))])

    return PublishedList(Bucket(answer), KEY, "getProba", table=table).read()


class TestPublishedList:
    def test_is_what_the_bucket_has(self):
        """And not what the table has, which is not asked."""
        assert read(entries("ana")).those_of(["ana", "tab"], "c") == ["ana"]

    @pytest.mark.parametrize(
        "answer",
        [
            None,
            Unavailable("503"),
            AccessDenied("403"),
            b"",
            b"\xff",
            b"[",
            b"[" * 100_000,
            b"[]",
            b"{}",
            b'{"users": 3}',
            b'{"users": [3]}',
            b'{"users": [["", "00"]]}',
            # A hash that is none, under the right key.
            json.dumps({"users": [["", "no hash", key_id(KEY)]]}).encode(),
        ],
    )
    def test_is_the_table_where_the_bucket_has_none(self, answer, capsys):
        """Lookups go on, and nobody on the list is answered for; the log says so."""
        assert read(answer).those_of(["ana", "tab"], "c") == ["tab"]
        assert bool(capsys.readouterr().out) == (answer is not None)

    def test_under_another_key_is_refused(self):
        """Nobody on it could be recognised, in the table neither."""
        with pytest.raises(SettingsError):
            read(entries("ana", key="another key"))
