"""The files of a model version."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from propensity.ids import EVENT, USER
from propensity.learning.card import (
    CARD,
    DATASET,
    MODEL,
    PREPROCESSOR,
    REPORT,
    VALUE,
    Card,
)
from propensity.learning.report import version_page
from propensity.learning.trained import Trained
from propensity.learning.value import Valued
from propensity.registry import versions


def files(
    card: Card, trained: Trained, rows: pa.Table, *, valued: Valued | None = None
) -> dict[str, tuple[bytes, str]]:
    """Return bytes and content type of a version's files, by name."""
    binary = "application/octet-stream"
    contents = {
        MODEL: (versions.pickled(trained.live.classifier), binary),
        PREPROCESSOR: (versions.pickled(trained.live.preprocessor), binary),
        DATASET: (versions.parquet_of(pseudonymise(rows)), versions.PARQUET),
        CARD: (card.to_json(), versions.JSON),
        REPORT: (version_page(card).encode(), versions.HTML),
    }
    if valued is not None:
        contents[VALUE] = (versions.pickled(valued.model), binary)
    return contents


def pseudonymise(rows: pa.Table) -> pa.Table:
    """
    Return rows with numbers in the place of ids of users and events.

    A snapshot never changes while its version exists, so it must hold nothing that a
    user can have removed. Rows of a user share a number. The numbers are drawn at
    random, and rows are in their order, because ids in order could be named again by
    anyone who has a list of them.
    """
    names = [name for name in (USER, EVENT) if name in rows.column_names]
    for name in names:
        encoded = pc.dictionary_encode(rows[name].combine_chunks())
        numbers = np.random.default_rng().permutation(len(encoded.dictionary))
        numbered = pa.array(numbers, pa.int64()).take(encoded.indices)
        rows = rows.set_column(rows.column_names.index(name), name, numbered)
    return rows.sort_by([(name, "ascending") for name in names])
