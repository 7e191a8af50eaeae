"""
Prediction indexes in the bucket: those that have users, and indexes without them.

An index has no ids, but hashes of ids under a key that it names itself: whoever has the
file can look an id up. So it is built anew of the table, from which the users have been
removed, and every generation that has them is deleted.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from datetime import UTC, datetime

from offline.forget_report import Place, Request
from propensity.edges.artifacts import Artifacts, Generation
from propensity.edges.warehouse import Warehouse
from propensity.index.layout import DamagedIndex
from propensity.index.reader import Index
from propensity.registry import index_writer
from propensity.registry.prediction_index import ENDING, INDEXES, folder_of


def places(
    warehouse: Warehouse, artifacts: Artifacts, request: Request, *, is_search: bool
) -> Iterator[Place]:
    """
    Count the generations with users, by use case; unless searching, replace them.

    Args:
        warehouse: Has the table, without the users already.
    """
    prefix = folder_of(request.use_case) if request.use_case else INDEXES
    generations_of: dict[str, list[Generation]] = {}
    for entry in artifacts.generations(prefix):
        if entry.name.endswith(ENDING):
            its_users = generations_of.setdefault(entry.name.split("/")[1], [])
            if _has_users(artifacts.read_generation(entry), request.user_ids):
                its_users.append(entry)
    for use_case, generations in generations_of.items():
        if generations and not is_search:
            _replace(warehouse, artifacts, use_case, generations)
        yield Place(what="indexes", name=folder_of(use_case), before=len(generations))


def _has_users(data: bytes | None, user_ids: Collection[str]) -> bool:
    if data is None:
        return False
    try:
        index = Index(data)
        return any(index.find(user_id) for user_id in user_ids)
    except (DamagedIndex, IndexError):
        # Whom it has cannot be told, so it goes as well.
        return True


def _replace(
    warehouse: Warehouse,
    artifacts: Artifacts,
    use_case: str,
    generations: list[Generation],
) -> None:
    """Publish an index without the users, and delete the generations with them."""
    if index_writer.find_pointer(artifacts, use_case)[0]:
        index_writer.publish(
            warehouse,
            artifacts,
            use_case,
            run_id=uuid.uuid4().hex,
            at=datetime.now(UTC),
            keeps_previous=False,
        )
    for generation in generations:
        artifacts.delete_generation(generation)
