"""
Removes users from kept features: their rows are made blank, the others stay in place.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from propensity.edges.artifacts import Artifacts, Generation
from propensity.errors import Conflict
from propensity.registry.feature_sets import TRIES, blanked, record_part, written
from propensity.registry.versions import PARQUET
from propensity.tables import USER


def remove_users(artifacts: Artifacts, folder: str, user_ids: Sequence[str]) -> None:
    """
    Make the rows of users blank in all parts of a set, and leave no older generation.

    `propensity forget` may do the same at the same time.

    Args:
        artifacts: The bucket.
        folder: Of the set; each of its parts is read.
        user_ids: The users.

    Raises:
        Conflict: Others wrote a part each time.
    """
    for _ in range(TRIES):
        try:
            for entry in artifacts.generations(folder):
                if entry.name.endswith(".parquet"):
                    _remove(artifacts, entry, user_ids)
            return
        except Conflict:
            # Another program wrote a part meanwhile: look at its new generation.
            continue
    raise Conflict(f"parts of {folder} are written again and again")


def _remove(artifacts: Artifacts, entry: Generation, user_ids: Sequence[str]) -> None:
    data = artifacts.read_generation(entry)
    if data is None:
        return
    rows = pq.read_table(io.BytesIO(data))
    named = pa.array(user_ids, rows.schema.field(USER).type)
    is_gone = pc.is_in(rows[USER], value_set=named)
    if not pc.any(is_gone).as_py():
        return
    if entry.is_live:
        replace_part(artifacts, entry, blanked(rows, is_gone))
    artifacts.delete_generation(entry)


def replace_part(artifacts: Artifacts, entry: Generation, rows: pa.Table) -> None:
    """
    Replace the live generation of a part, and its checksum in the manifest.

    Raises:
        Conflict: It is not the live one any more, or others wrote the manifest each
            time.
    """
    data = written(rows)
    # Before the object, so that after an interruption the ids are still found, and
    # behind it: the set's run may have written the manifest meanwhile.
    record_part(artifacts, entry.name, data)
    artifacts.replace(
        entry.name, data, generation=entry.generation, content_type=PARQUET
    )
    record_part(artifacts, entry.name, data)
