"""
Suppressed users, whose events are never kept: a list of keyed hashes of their ids.

The list has no ids. An entry is the HMAC-SHA256 of an id under a key that only the
functions have (PROPENSITY_SUPPRESSION_KEY), so a reader of the table can neither see
who is on it nor find out by trying ids. BigQuery has no HMAC, and a key in a statement
would be in the record of its job: so rows are filtered here, in Arrow batches.

An entry is for one use case or for all.
"""

from __future__ import annotations

import functools
import hmac
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from propensity import tables
from propensity.edges.log import log
from propensity.errors import MissingTable, SettingsError
from propensity.waiting.refreshed import Refreshed

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.edges.warehouse import Warehouse
    from propensity.settings import Settings

    Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)

EVERYWHERE = ""

# What is read of the table.
COLUMNS = ("use_case", "user_hash", "key_id")


class Entry(NamedTuple):
    """A user on the list: use case or EVERYWHERE, hash in hexadecimal, key."""

    use_case: str
    user_hash: str
    key_id: str


# Possible ids in a text that is not JSON: a string in quotes, and a word between
# punctuation. Each pattern takes one pass over any text.
_QUOTED = re.compile(r'(?<=")[^"]*+')
_BARE = re.compile(r"""[^\s",:;=&{}\[\]\\'<>()|]+""")


def user_hash(key: str, user_id: str) -> str:
    """Return the keyed hash of a user's id, in hexadecimal."""
    return _digest(key.encode(), user_id).hex()


def key_id(key: str) -> str:
    """Return a fingerprint of a key, which does not reveal it."""
    return user_hash(key, "")[:16]


def _digest(key: bytes, user_id: str) -> bytes:
    return hmac.digest(key, user_id.encode("utf-8", "surrogatepass"), "sha256")


class Suppressed:
    """The list, in memory; false if it is empty."""

    def __init__(self, key: str, entries: Iterable[tuple[str, str]]) -> None:
        """
        Args:
            key: Of the hashes.
            entries: Use case, or EVERYWHERE, and hash in hexadecimal.
        """
        self._key = key.encode()
        by_use_case: dict[str, set[bytes]] = defaultdict(set)
        for use_case, digest in entries:
            by_use_case[use_case].add(bytes.fromhex(digest))
        self._everywhere = frozenset(by_use_case.pop(EVERYWHERE, ()))
        self._narrow = {name: frozenset(users) for name, users in by_use_case.items()}
        self._any = self._everywhere.union(*self._narrow.values())

    def __bool__(self) -> bool:
        return bool(self._any)

    def __len__(self) -> int:
        return len(self._any)

    def __eq__(self, other: object) -> bool:
        """Tell whether another list, of whatever time, has the same users."""
        return isinstance(other, Suppressed) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def covers(self, user_id: str, use_case: str) -> bool:
        """Return whether a user is on the list for a use case."""
        if not self._any:
            return False
        digest = _digest(self._key, user_id)
        if digest in self._everywhere:
            return True
        return digest in self._narrow.get(use_case, ())

    def without(self, rows: Rows, use_case: str) -> Rows:
        """
        Return rows without those of users on the list.

        Args:
            rows: With a column ``user_id``; each id is hashed once.
            use_case: Of all rows.
        """
        if not self._any:
            return rows
        import pyarrow as pa  # a lookup never needs Arrow
        import pyarrow.compute as pc

        users = pc.unique(rows["user_id"]).to_pylist()
        covered_ids = [user for user in users if user and self.covers(user, use_case)]
        if not covered_ids:
            return rows
        value_set = pa.array(covered_ids, rows["user_id"].type)
        is_covered = pc.is_in(rows["user_id"], value_set=value_set)
        return rows.filter(pc.invert(is_covered))

    def those_of(self, user_ids: Iterable[str], use_case: str) -> list[str]:
        """Return the users who are on the list for a use case."""
        return [user for user in user_ids if self.covers(user, use_case)]

    def is_mentioned(self, data: bytes, attributes: Mapping[str, str]) -> bool:
        """
        Return whether a message names a user on the list, for any use case.

        It is for messages that are not valid events, so the user id may be anywhere in
        the clear: every text, number and field name is tried.

        Args:
            data: JSON, valid or not.
            attributes: Of the message.
        """
        if not self._any:
            return False
        texts = {*tokens(data), *attributes.values()}
        return any(_digest(self._key, text) in self._any for text in texts)


def names_any(data: bytes, attributes: Iterable[str], user_ids: frozenset[str]) -> bool:
    """Return whether a message names one of some users; see ``is_mentioned``."""
    return not user_ids.isdisjoint(chain(tokens(data), attributes))


def tokens(data: bytes) -> Iterator[str]:
    """Yield every text in a message that may be a user's id."""
    text = data.decode("utf-8", "replace")
    try:
        # Of a field that is there twice both values.
        fields = json.loads(
            text,
            parse_int=str,
            parse_float=str,
            object_pairs_hook=lambda pairs: [*chain.from_iterable(pairs)],
        )
    except (ValueError, RecursionError):
        yield from _QUOTED.findall(text)
        yield from _BARE.findall(text)
        return
    waiting = [fields]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            waiting.extend(item)


NOBODY = Suppressed("", ())


def read(warehouse: Warehouse) -> Suppressed:
    """
    Read the list; it bills nothing.

    Raises:
        SettingsError: It was made under another key, or no key is set: no user on it
            could be recognised.
        MissingTable: A key is set, and there is no table.
        Unavailable: BigQuery did not answer in time.
    """
    key = warehouse.settings.suppression_key
    try:
        rows = warehouse.listed(tables.SUPPRESSED_USERS, COLUMNS)
    except MissingTable:
        # A deployment with neither key nor table has no list.
        if key:
            raise
        return NOBODY
    entries = [Entry(row.use_case, row.user_hash, row.key_id) for row in rows]
    return recognised(entries, key=key)


class Followed:
    """
    The list for work that may take hours: read again once it is as old as its TTL.

    Instances that serve follow the list, too. So whoever forgets a user knows when
    nothing writes about the user any more.
    """

    def __init__(self, warehouse: Warehouse, *, clock: Callable[[], float]) -> None:
        """
        Args:
            warehouse: Source of the list, which is read here for the first time.
            clock: Monotonic, in seconds.

        Raises:
            SettingsError, MissingTable, Unavailable: As ``read``; ``now``, too.
        """
        self._warehouse = warehouse
        self._clock = clock
        self._read()

    def now(self) -> Suppressed:
        """Return the list, no older than PROPENSITY_REFRESH_S."""
        if self._clock() >= self._expires:
            self._read()
        return self._list

    def _read(self) -> None:
        # It dates from the start of the read.
        self._expires = self._clock() + self._warehouse.settings.refresh_s
        self._list = read(self._warehouse)


def recognised(entries: Sequence[Entry], *, key: str) -> Suppressed:
    """
    Return the list of some entries.

    Raises:
        SettingsError: It was made under another key, or no key is set.
    """
    own = key_id(key) if key else None
    if any(entry.key_id != own for entry in entries):
        setting = "another one" if key else "none"
        raise SettingsError(
            f"{tables.SUPPRESSED_USERS.name} has users, hashed with a key, and "
            f"PROPENSITY_SUPPRESSION_KEY is {setting}: nobody on the list could be "
            "recognised. Set the key that it was made with",
            field="PROPENSITY_SUPPRESSION_KEY",
        )
    return Suppressed(key, [(entry.use_case, entry.user_hash) for entry in entries])


def suppressed_users(
    warehouse: Warehouse, *, function: str, clock: Callable[[], float]
) -> Refreshed[Suppressed] | None:
    """
    Return the list of suppressed users, kept fresh; None if no key is set.

    Args:
        warehouse: Source of the list, read on first use.
        function: In the log.
        clock: Monotonic, in seconds.
    """
    return kept_fresh(
        functools.partial(read, warehouse),
        warehouse.settings,
        function=function,
        clock=clock,
    )


def kept_fresh(
    read: Callable[[], Suppressed],
    settings: Settings,
    *,
    function: str,
    clock: Callable[[], float],
) -> Refreshed[Suppressed] | None:
    """Return the list as ``read`` has it; see ``suppressed_users``."""
    if not settings.suppression_key:
        return None
    return Refreshed(
        read,
        ttl_s=settings.refresh_s,
        grace_s=4 * settings.refresh_s,
        clock=clock,
        tell=lambda error: log(
            "WARNING", f"suppressed users not read: {error}", function=function
        ),
    )


async def suppressed_now(users: Refreshed[Suppressed] | None) -> Suppressed:
    """
    Return the suppressed users as of now; nobody if there is no list.

    Raises:
        PropensityError: The list cannot be read.
    """
    return NOBODY if users is None else await users.current()
