"""How a program shows how far it is: what calls it hands in who shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Watched(Protocol):
    """Yields items, and shows how many of them are done."""

    def __call__(self, items: Sequence[Item], label: str, /) -> Iterable[Item]:
        """Yield the items; ``label`` says what is done with them."""


def unwatched(items: Sequence[Item], label: str, /) -> Iterable[Item]:
    """Yield the items, and show nothing."""
    return items
