"""
The list of suppressed users: recognised by keyed hashes, in whatever names them.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from propensity.errors import (
    AccessDenied,
    SettingsError,
    Unavailable,
)
from propensity.gcp.artifacts import Stored
from propensity.settings import Settings
from propensity.suppression import (
    EVERYWHERE,
    NOBODY,
    Suppressed,
    key_id,
    suppressed_list,
    user_hash,
)
from propensity.suppression.refreshed import suppressed_users
from tests.support.clocks import ManualClock
from tests.support.deployment import KEY

CHURN = "first_day_churn"
SHOP = "ga4_purchase"


def listed(*users: str, use_case: str = EVERYWHERE) -> Suppressed:
    return Suppressed(KEY, frozenset((use_case, user_hash(KEY, u)) for u in users))


class TestList:
    @pytest.mark.parametrize("user", ["anna", "\ud800", "人"])
    def test_the_list_covers_a_user_of_a_use_case(self, user):
        """By the HMAC of the id under the key."""
        in_churn = listed(user, use_case=CHURN)
        id_ = user.encode("utf-8", "surrogatepass")
        key = KEY.encode()

        assert user_hash(KEY, user) == hmac.new(key, id_, hashlib.sha256).hexdigest()
        assert listed(user).covers(user, CHURN)
        assert listed(user).covers(user, SHOP)
        assert not listed(user).covers(f"{user} ", CHURN)
        assert in_churn.covers(user, CHURN)
        assert not in_churn.covers(user, SHOP)
        assert not NOBODY.covers(user, CHURN)

    def test_the_list_leaves_a_user_out_of_rows(self):
        rows = pa.table({"user_id": ["a", "b", "a", None], "n": [1, 2, 3, 4]})

        assert listed("a").without(rows, SHOP)["n"].to_pylist() == [2, 4]

    @pytest.mark.parametrize(
        ("user", "data"),
        [
            ("anna", b'{"user_id": "anna"'),
            ("anna", b"user_id=anna&x=1"),
            ("anna", b"<user_id>anna</user_id>"),
            ("17", b'{"transaction_id": 17}'),
            ("ana", b'{"path": "users/ana/extra"}'),
            ("An\u00e9", b'{"user_id": "An\\u00e9"}'),
            ('a"b/c', b'{"user_id": "a\\"b\\/c"}'),
            # An id may have a sign in it, and stand between blanks.
            ("a|n (a", b'{"user_id": " a|n (a "}'),
            ("a|n (a", b'x "\xc2\xa0a|n (a\t"'),
        ],
    )
    def test_the_list_finds_a_user_in_what_is_no_event(self, user, data):
        assert listed(user).is_mentioned(data, [])
        assert listed(user).is_mentioned(b"", [f" {user} "])

    @pytest.mark.parametrize(
        ("user", "data"),
        [
            ("anna", b'{"user_id": "joanna"}'),
            ("1", b'{"user_id": "11", "n": 1.5}'),
            # A megabyte of what takes long to take apart.
            ("anna", b'{"a":' * 2**18),
        ],
    )
    def test_the_list_finds_nobody_in_other_texts(self, user, data):
        assert not listed(user).is_mentioned(data, [])


async def test_the_list_is_used_for_five_times_its_time():
    """Then an instance that cannot read it stops answering."""
    clock = ManualClock()
    lists = [NOBODY, listed("ana")]

    def read() -> Suppressed:
        if not lists:
            raise Unavailable("503")
        return lists.pop(0)

    async def after(seconds: float) -> Suppressed:
        """The list once it was read behind an answer."""
        clock.advance(seconds)
        await kept.current()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
        return await kept.current()

    settings = Settings(project="p", refresh_s=60)
    kept = suppressed_users(settings, read, function="f", clock=clock.monotonic)
    assert await after(0) == NOBODY
    assert await after(60) == listed("ana")
    assert await after(299) == listed("ana")
    with pytest.raises(Unavailable):
        await after(1)


def entries(*users: str) -> bytes:
    """The object's bytes."""
    rows = [("", user_hash(KEY, user), key_id(KEY)) for user in users]
    return json.dumps({"users": rows}).encode()


def published(answer: bytes | Exception | None, key: str = KEY) -> Suppressed:
    """The list that lookups read, with "tab" on the table's."""

    def read(_: str) -> Stored | None:
        if isinstance(answer, Exception):
            raise answer
        return None if answer is None else Stored(answer, 1)

    bucket: Any = SimpleNamespace(find=read, read=read)
    settings = Settings(project="p", suppression_key=key)
    return suppressed_list.read_published(bucket, settings, table=lambda: listed("tab"))


class TestPublished:
    def test_the_published_list_is_what_the_bucket_has(self):
        """And not what the table has, which is not asked."""
        assert published(entries("ana")) == listed("ana")
        assert published(None, key="") == NOBODY

    @pytest.mark.parametrize(
        "answer",
        [
            None,
            Unavailable("503"),
            AccessDenied("403"),
            b"[" * 100_000,
            b'{"users": [3]}',
            b'{"users": [["", "00"]]}',
        ],
    )
    def test_the_published_list_may_be_the_table(self, answer, capsys):
        """Lookups go on, and nobody on the list is answered for; the log says so."""
        assert published(answer) == listed("tab")
        assert "suppressed users" in capsys.readouterr().err

    @pytest.mark.parametrize("key", ["another key", ""])
    def test_a_list_under_another_key_is_refused(self, key):
        """Nobody on it could be recognised, in the table neither. So is one without a
        key."""
        with pytest.raises(SettingsError) as raised:
            published(entries("ana"), key=key)

        assert raised.value.field == "PROPENSITY_SUPPRESSION_KEY"
        assert KEY not in raised.value.message
