"""
Suppressed users, whose events are never kept: a list of keyed hashes of their ids.

An entry is the HMAC-SHA256 of an id under a key that only the functions and
``propensity forget`` have (PROPENSITY_SUPPRESSION_KEY): a reader of the table can
neither see who is on it nor find out by trying ids. BigQuery has no HMAC, and records
statements with the keys in them, so rows are filtered here, in Arrow batches.

An entry is for one use case or for all. The list is a table; lookups read its copy, of
``suppressed_list``, which ``refreshed`` keeps in memory.

It may import ``gcp`` and what stands below it. Tests: ``tests/propensity/suppression``.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from propensity.errors import MissingTable, SettingsError

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.gcp.queries import Queries

    Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)

EVERYWHERE = ""

TABLE = "suppressed_users"

# Words of a text, between punctuation; and the parts of a word such as ana@example.com
# or users/ana. Ids that are numbers or UUIDs have dots and hyphens.
_WORDS = re.compile(r"""[^\s",:;=&{}\[\]\\'<>()|]+""")
_PARTS = re.compile(r"[\w.-]+")
PARTS_OF_ID = 4

# A message of more texts is not searched, since each is hashed.
MOST_TEXTS = 2_000


class ListEntry(NamedTuple):
    """A user on the list: use case or EVERYWHERE, hash in hexadecimal, key."""

    use_case: str
    user_hash: str
    key_id: str


def user_hash(key: str, user_id: str) -> str:
    """Return the keyed hash of a user's id, in hexadecimal."""
    user = user_id.encode("utf-8", "surrogatepass")
    return hmac.digest(key.encode(), user, "sha256").hex()


def key_id(key: str) -> str:
    """Return a fingerprint of a key, which does not reveal it."""
    return user_hash(key, "")[:16]


@dataclass(frozen=True)
class Suppressed:
    """
    The list, in memory; false if it is empty.

    ``users`` are use case, or EVERYWHERE, and hash of each.
    """

    key: str = field(repr=False)
    users: Collection[tuple[str, str]]

    def __len__(self) -> int:
        return len(self._hashes)

    @cached_property
    def _hashes(self) -> frozenset[str]:
        return frozenset(user for _, user in self.users)

    def covers(self, user_id: str, use_case: str) -> bool:
        """Return whether a user is on the list for a use case."""
        if not self.users:
            return False
        user = user_hash(self.key, user_id)
        return (EVERYWHERE, user) in self.users or (use_case, user) in self.users

    def without(self, rows: Rows, use_case: str) -> Rows:
        """Return rows of a use case without those whose ``user_id`` is on the list."""
        if not self.users:
            return rows
        import pyarrow as pa  # a lookup never needs Arrow
        import pyarrow.compute as pc

        users = filter(None, pc.unique(rows["user_id"]).to_pylist())
        suppressed_ids = [user for user in users if self.covers(user, use_case)]
        value_set = pa.array(suppressed_ids, rows["user_id"].type)
        return rows.filter(pc.invert(pc.is_in(rows["user_id"], value_set=value_set)))

    def is_mentioned(self, data: bytes, attributes: Iterable[str]) -> bool:
        """
        Return whether a message names a user on the list, for any use case.

        It is for messages that are not valid events, so the user id may be anywhere,
        also within a word, or escaped where the message is JSON.
        """
        texts = possible_ids(data, attributes) if self.users else ()
        return any(user_hash(self.key, text) in self._hashes for text in set(texts))


def has_many_texts(data: bytes) -> bool:
    """Return whether a message has more texts than ``is_mentioned`` is to look at."""
    return next(islice(possible_ids(data, ()), MOST_TEXTS, None), None) is not None


def possible_ids(data: bytes, attributes: Iterable[str]) -> Iterator[str]:
    """Yield every text in a message that may be a user's id."""
    for text in chain(attributes, _strings(data.decode("utf-8", "replace"))):
        yield text
        yield text.strip()
        for word in _WORDS.findall(text):
            yield word
            parts = [part.span() for part in _PARTS.finditer(word)]
            for first, (start, _) in enumerate(parts):
                for _, end in parts[first : first + PARTS_OF_ID]:
                    yield word[start:end]


def _strings(text: str) -> Iterator[str]:
    """Yield the names and values of JSON; of anything else the texts between quotes."""
    as_text: Any = dict.fromkeys(("parse_int", "parse_float", "parse_constant"), str)
    try:
        values = [json.loads(text, object_pairs_hook=list, **as_text)]
    except (ValueError, RecursionError):
        values = [text] + text.split('"')
    while values:
        value = values.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | tuple):
            values.extend(value)


NOBODY = Suppressed("", frozenset())


def read_suppressed(warehouse: Queries) -> Suppressed:
    """
    Read the list from the table; it bills nothing.

    Raises:
        SettingsError: It was made under another key, or no key is set: no user on it
            could be recognised.
        MissingTable: A key is set, and there is no table.
    """
    key = warehouse.settings.suppression_key
    try:
        return recognised(read_entries(warehouse), key)
    except MissingTable:
        # A deployment with neither key nor table has no list.
        if key:
            raise
        return NOBODY


def read_entries(warehouse: Queries) -> list[ListEntry]:
    """Return what the table has, or raise MissingTable."""
    rows = warehouse.read_small_table(TABLE, ListEntry._fields)
    return [ListEntry(row.use_case, row.user_hash, row.key_id) for row in rows]


def recognised(entries: Sequence[ListEntry], key: str) -> Suppressed:
    """Return the list of entries, or raise SettingsError if another key made them."""
    expected = key_id(key) if key else None
    if any(entry.key_id != expected for entry in entries):
        setting = "another key" if key else "not set"
        raise SettingsError(
            f"PROPENSITY_SUPPRESSION_KEY is {setting}, so the users of "
            f"{TABLE} cannot be recognised",
            hint="Set the key that the list was made with",
            field="PROPENSITY_SUPPRESSION_KEY",
        )
    return Suppressed(
        key, frozenset((entry.use_case, entry.user_hash) for entry in entries)
    )
