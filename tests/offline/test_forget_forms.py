"""Forgetting, specified by one run: whatever form a user has, it is removed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from offline.forget import users_of
from propensity.learning.files import pseudonymise
from propensity.registry.versions import parquet_of
from propensity.tables.stream import (
    DEAD_LETTERS,
    INFERENCE_LOG,
    STREAM_EVENTS,
    TRUTH_EVENTS,
)
from tests.functions.streaming import new_versioned_site
from tests.offline.forgetting import (
    EXPORT,
    GONE,
    KEPT,
    SCORES,
    forget,
    parquet,
    row_of,
    users_in,
)
from tests.support.deployment import KEY, Deployment, entered

# The export has such ids: longer than a lookup takes, with control characters.
ODD = ["a" * 5000, "two\nlines", "nul\0", " ", "'; --"]
SNAPSHOT = "models/x/0/dataset/rows.parquet"
ALONE, OTHERS = (SCORES.replace("run=a", f"run={run}") for run in "bc")
GENERATIONS, DELETED = (
    EXPORT.replace("run=a", f"run={run}") for run in ("generations", "deleted")
)


def of_all_types() -> dict[str, pa.Table]:
    """Files with an id in the first row: data frames write ids as large strings or as
    categories; and a number may be an id, outside of training sets."""
    files = []
    for kind in (
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.binary_view(),
        pa.dictionary(pa.int8(), pa.string()),
    ):
        ids = pa.array([GONE, KEPT, None]).cast(kind)
        files.append(pa.table({"user_id": ids, "n": [1, 2, 3]}))
    for kind in (pa.string(), pa.binary()):
        ids = [pa.array([GONE, KEPT, None]).cast(kind), pa.array([1, 2, 3])]
        user = pa.StructArray.from_arrays(ids, ["user_id", "age"])
        lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3]), user)
        for column in ({"user": user}, {"users": lists}, {"user_id": lists}):
            files.append(pa.table({**column, "n": [1, 2, 3]}))
    for kind in (pa.int64(), pa.float64()):
        files.append(pa.table({"user_id": pa.array([7, 8, 9], kind)}))
    return {EXPORT.replace("run=a", f"run={n}"): rows for n, rows in enumerate(files)}


@pytest.fixture(scope="module")
def forgotten(emulators) -> Iterator[tuple[Deployment, dict[str, Any], dict[str, int]]]:
    """A deployment with users in many forms, after they were forgotten: with the
    report, and generations of objects before."""
    log = INFERENCE_LOG
    truths = TRUTH_EVENTS
    letters = DEAD_LETTERS
    users = users_of([GONE, "7", *ODD], None)
    with new_versioned_site(emulators, PROPENSITY_SUPPRESSION_KEY=KEY) as made:
        made.append(log, row_of(log, GONE, event_id="e7"))
        made.append(log, row_of(log, KEPT, event_id="e8"))
        for event_id in ("e7", "e8", GONE):
            made.append(truths, row_of(truths, GONE, event_id=event_id))
        for raw in (b'{"user_id": "player-1"', b'[{"who": "player-1"}]'):
            made.append(letters, row_of(letters, GONE, raw=raw, attributes="{}"))
        rows = (row_of(STREAM_EVENTS, user) for user in (*ODD, KEPT))
        made.append(STREAM_EVENTS, *rows)
        create = made.artifacts.create
        create(EXPORT, parquet(GONE, KEPT, GONE))
        create(SCORES, parquet(KEPT, GONE))
        create(ALONE, parquet(GONE, GONE))
        create(GENERATIONS, parquet(GONE, KEPT))
        made.artifacts.overwrite(GENERATIONS, parquet(KEPT, GONE))
        create(DELETED, parquet(GONE))
        made.artifacts.delete(DELETED)
        assert len(made.artifacts.generations(DELETED)) == 1
        for name, rows in of_all_types().items():
            create(name, parquet_of(rows))
        numbers = pa.table({"user_id": [KEPT, GONE, KEPT], "n": [1, 2, 3]})
        generations = {
            OTHERS: create(OTHERS, parquet(KEPT)),
            SNAPSHOT: create(SNAPSHOT, parquet_of(pseudonymise(numbers))),
        }
        with entered(made.environment):
            report = forget(made, *users)
        yield made, report, generations


class TestForms:
    """Whatever has the user: all is removed by one run."""

    def test_truths_are_removed_by_the_user_s_events(self, forgotten):
        """A truth names no user: its event does, while it is there."""
        [left] = forgotten[0].rows("SELECT event_id FROM truth_events")

        assert left["event_id"] == "e8"

    def test_dead_letters_are_removed_however_they_name_the_user(self, forgotten):
        """Cut or nested."""
        assert forgotten[0].count("dead_letters") == 0

    def test_ids_are_removed_as_the_export_has_them(self, forgotten):
        [row] = forgotten[0].rows("SELECT DISTINCT user_id FROM stream_events")

        assert row["user_id"] == KEPT

    def test_the_bucket_has_files_without_the_user(self, forgotten):
        """Exports are written again; a file of nobody else is deleted; one without
        the user keeps its bytes and its generation, as have rows of a training, whose
        numbers are no ids."""
        site, report, generations = forgotten
        read = {name: site.artifacts.find(name) for name in (EXPORT, SCORES, ALONE)}

        assert users_in(read[EXPORT].data) == users_in(read[SCORES].data) == [KEPT]
        assert read[ALONE] is None
        for name, generation in generations.items():
            assert site.artifacts.read(name).generation == generation
        counted = [
            (place["what"], place["before"])
            for place in report["places"]
            if place["where"] == "exports/inference_log"
        ]
        assert counted == [("objects", 2)]
        assert report["left"] == 0

    def test_the_bucket_has_no_generation_with_the_user(self, forgotten):
        """A bucket with versioning keeps what is overwritten and deleted: not this."""
        site = forgotten[0]
        every = site.artifacts.generations("exports/")
        [left] = [one for one in every if one.name == GENERATIONS]

        stored = site.artifacts.find(left.name, generation=left.generation)
        assert users_in(stored.data) == [KEPT]
        assert not {ALONE, DELETED} & {one.name for one in every}

    def test_a_file_loses_the_user_at_any_depth(self, forgotten):
        for name, rows in of_all_types().items():
            data = forgotten[0].read(name)
            left = pq.read_table(io.BytesIO(data)).to_pylist()
            assert left == rows.to_pylist()[1:], rows.schema
