"""
Suppressed users, whose events are never kept: a list of keyed hashes of their ids.

The list holds no id. An entry is the HMAC-SHA256 of one under a key that only the
functions have (PROPENSITY_SUPPRESSION_KEY), so that a reader of the table can neither
see who is on it nor find out by trying ids. BigQuery has no HMAC, and the key in a
statement would be in the record of its job: rows are left out here, in Arrow batches.

An entry counts in every use case, or in the one that it names.
"""

from __future__ import annotations

import functools
import hmac
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from propensity import tables
from propensity.edges.log import log
from propensity.errors import MissingTable, SettingsError
from propensity.waiting.refreshed import Refreshed

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.edges.warehouse import Warehouse

    Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)

EVERYWHERE = ""

# What an id can be in a text that is no JSON: what is in quotes, closed or not, and
# what is between signs that structure texts. Each is found in one pass, whatever the
# text.
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)', re.DOTALL)
_BARE = re.compile(r'[^\s",:;=&{}\[\]\\]+')


def user_hash(key: str, user_id: str) -> str:
    """Return the keyed hash of a user's id, in hexadecimal."""
    return _digest(key.encode(), user_id).hex()


def key_id(key: str) -> str:
    """Return a fingerprint of a key, which says nothing else about it."""
    return user_hash(key, "")[:16]


def _digest(key: bytes, user_id: str) -> bytes:
    return hmac.digest(key, user_id.encode("utf-8", "surrogatepass"), "sha256")


class Suppressed:
    """The list, in memory; false where nobody is on it."""

    def __init__(self, key: str, entries: Iterable[tuple[str, str]]) -> None:
        """
        Args:
            key: The hashes are under.
            entries: Use case, or EVERYWHERE, and hash in hexadecimal.
        """
        self._key = key.encode()
        found: dict[str, set[bytes]] = defaultdict(set)
        for use_case, hashed in entries:
            found[use_case].add(bytes.fromhex(hashed))
        self._everywhere = frozenset(found.pop(EVERYWHERE, ()))
        self._narrow = {name: frozenset(one) for name, one in found.items()}
        self._any = self._everywhere.union(*self._narrow.values())

    def __bool__(self) -> bool:
        return bool(self._any)

    def __len__(self) -> int:
        return len(self._any)

    def covers(self, user_id: str, use_case: str) -> bool:
        """Return whether nothing may be kept of a user in a use case."""
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
            rows: With a column ``user_id``; each id is hashed once, however many rows
                it has.
            use_case: Of all rows.
        """
        if not self._any:
            return rows
        import pyarrow as pa  # a lookup never needs Arrow
        import pyarrow.compute as pc

        users = pc.unique(rows["user_id"]).to_pylist()
        covered = [user for user in users if user and self.covers(user, use_case)]
        if not covered:
            return rows
        named = pa.array(covered, rows["user_id"].type)
        is_covered = pc.is_in(rows["user_id"], value_set=named)
        return rows.filter(pc.invert(is_covered))

    def is_mentioned(self, data: bytes, attributes: Mapping[str, str]) -> bool:
        """
        Return whether a message names a user on the list, in whatever use case.

        For messages that are no events, in which nobody knows where the user stands:
        every text, number and name in it is tried.

        Args:
            data: JSON, or what was meant to be.
            attributes: Of the message.
        """
        if not self._any:
            return False
        found = {*tokens(data), *attributes.values()}
        return any(_digest(self._key, one) in self._any for one in found)


def names_any(data: bytes, attributes: Iterable[str], user_ids: frozenset[str]) -> bool:
    """Return whether a message names one of some users; see ``is_mentioned``."""
    return not user_ids.isdisjoint(chain(tokens(data), attributes))


def tokens(data: bytes) -> Iterator[str]:
    """Yield every text that a user's id can be in a message, escaped or not."""
    # UTF-16 and UTF-32 have their ASCII between zero bytes.
    text = data.replace(b"\0", b"").decode("utf-8", "replace")
    try:
        yield from _texts_of(json.loads(text, parse_int=str, parse_float=str))
    except (ValueError, RecursionError):
        yield from _BARE.findall(text)
        at = 0
        while (found := _QUOTED.search(text, at)) is not None:
            # What closes one text opens none.
            at = found.end() + 1
            quoted = found[1]
            yield quoted
            if "\\" in quoted:
                try:
                    yield json.loads(f'"{quoted}"', strict=False)
                except ValueError:
                    continue


def _texts_of(value: Any) -> Iterator[str]:
    """Yield texts and numbers of decoded JSON, those within a text that is JSON too."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
            if one[:1] in ("{", "["):
                yield from tokens(one.encode("utf-8", "replace"))
        elif isinstance(one, dict):
            waiting.extend(chain(one, one.values()))
        elif isinstance(one, list):
            waiting.extend(one)


NOBODY = Suppressed("", ())


def read(warehouse: Warehouse) -> Suppressed:
    """
    Read the list; it bills nothing.

    Raises:
        SettingsError: It was made under another key, or there is none to read it by: it
            would let everybody back in.
        MissingTable: A key is set, and there is no table.
        Unavailable: BigQuery did not answer in time.
    """
    key = warehouse.settings.suppression_key
    try:
        rows = warehouse.listed(
            tables.SUPPRESSED_USERS, ("use_case", "user_hash", "key_id")
        )
    except MissingTable:
        # A deployment that has neither is as it was before there were lists.
        if key:
            raise
        return NOBODY
    own = key_id(key) if key else None
    if any(row.key_id != own for row in rows):
        found = "another one" if key else "none"
        raise SettingsError(
            f"{tables.SUPPRESSED_USERS.name} has users under a key, and "
            f"PROPENSITY_SUPPRESSION_KEY is {found}: nobody on the list could be "
            "recognised. Set the key that it was made with",
            field="PROPENSITY_SUPPRESSION_KEY",
        )
    return Suppressed(key, [(row.use_case, row.user_hash) for row in rows])


def suppressed_users(
    warehouse: Warehouse, *, function: str, clock: Callable[[], float]
) -> Refreshed[Suppressed] | None:
    """
    Return the list of suppressed users, kept fresh; None where there is no key to it.

    Args:
        warehouse: That it is read from, when somebody asks first.
        function: In the log.
        clock: Seconds that only grow.
    """
    settings = warehouse.settings
    if not settings.suppression_key:
        return None
    return Refreshed(
        functools.partial(read, warehouse),
        ttl_s=settings.suppression_ttl_s,
        grace_s=settings.suppression_ttl_s,
        clock=clock,
        tell=lambda error: log(
            "WARNING", f"suppressed users not read: {error}", function=function
        ),
    )


async def suppressed_now(listed: Refreshed[Suppressed] | None) -> Suppressed:
    """
    Return the suppressed users as of now; nobody where there is no list.

    Raises:
        PropensityError: It is not known.
    """
    return NOBODY if listed is None else await listed.current()
