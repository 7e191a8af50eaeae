"""A table that is written in groups, as slowly as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from propensity.waiting.groups import GroupCommit

BOUNDS: dict[str, Any] = {
    "writers": 1,
    "items": 10,
    "size": 1_000,
    "waiting": 100,
    "waiting_size": 10_000,
}


class Table:
    """Takes groups; while it is held each waits to be told how it ends."""

    def __init__(self, *, is_held: bool = False, **bounds: Any) -> None:
        self.begun: list[list[Any]] = []
        self.written: list[Any] = []
        self.under_way: list[tuple[list[Any], asyncio.Future[None]]] = []
        self.most_at_once = 0
        self.is_held = is_held
        self.commit: GroupCommit[Any, Any] = GroupCommit(
            self.write, **{**BOUNDS, **bounds}
        )

    async def write(self, items: Sequence[Any]) -> Sequence[Any]:
        group = list(items)
        self.begun.append(group)
        if self.is_held:
            end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.under_way.append((group, end))
            self.most_at_once = max(self.most_at_once, len(self.under_way))
            try:
                await end
            finally:
                self.under_way.remove((group, end))
        self.written += group
        return [f"stored {item}" for item in group]

    def end(self, place: int = 0, error: BaseException | None = None) -> None:
        """End a write that is under way."""
        end = self.under_way[place][1]
        if error is None:
            end.set_result(None)
        else:
            end.set_exception(error)

    def cancel(self, place: int = 0) -> None:
        """Cancel what a write under way waits for."""
        self.under_way[place][1].cancel()

    async def end_all(self) -> None:
        """End what is under way, and what follows on it, until all is written."""
        while self.under_way:
            self.end()
            await settle()

    def submit(self, item: Any, size: int = 1) -> asyncio.Task[Any]:
        """Submit an item; it is in the queue once the loop has turned."""

        async def submitted() -> Any:
            return await self.commit.submit(item, size=size)

        return asyncio.create_task(submitted())


async def settle() -> None:
    """Let everything happen that waits for nothing."""
    for _ in range(10):
        await asyncio.sleep(0)
