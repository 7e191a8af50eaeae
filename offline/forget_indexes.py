"""
Prediction indexes in the bucket: those that have users, and indexes without them.

An index has no ids, but hashes of ids under a key that it names itself: whoever has the
file can look an id up. So it is built anew of the table, from which the users have been
removed, and every generation that has them is deleted.
"""

from __future__ import annotations

import tempfile
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

from offline.forget_report import Place, Request
from propensity.errors import ArtifactError
from propensity.gcp.artifacts import Artifacts, Generation
from propensity.gcp.warehouse import Warehouse
from propensity.registry import index
from propensity.registry.index import INDEXES, Index, folder_of, pointer_name


def places(
    warehouse: Warehouse, artifacts: Artifacts, request: Request, *, is_search: bool
) -> Iterator[Place]:
    """
    Count the generations with users, by use case; unless searching, replace them.

    Args:
        warehouse: Has the table, without the users already.
    """
    prefix = folder_of(request.use_case) if request.use_case else INDEXES
    files: dict[str, list[Generation]] = defaultdict(list)
    for entry in artifacts.generations(prefix):
        use_case = entry.name.split("/")[1]
        if entry.name != pointer_name(use_case):
            files[use_case].append(entry)
    for use_case, entries in files.items():
        with_users = [
            entry
            for entry in entries
            if _has_users(artifacts.read_generation(entry), request.user_ids)
        ]
        if with_users and not is_search:
            if artifacts.find(pointer_name(use_case)):
                index.publish(warehouse, artifacts, use_case, run_id=uuid.uuid4().hex)
            for entry in with_users:
                artifacts.delete_generation(entry)
        yield Place(what="indexes", name=folder_of(use_case), before=len(with_users))


def _has_users(data: bytes | None, user_ids: Collection[str]) -> bool:
    if data is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        path.write_bytes(data)
        try:
            opened = Index(path)
        except ArtifactError:
            # Whom it has cannot be told, so it goes as well.
            return True
    return any(opened.find(user_id) for user_id in user_ids)
