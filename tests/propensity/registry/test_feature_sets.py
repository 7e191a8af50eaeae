"""
The features of publications, specified against the storage emulator.
"""

from __future__ import annotations

import io
import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.edges.artifacts import Artifacts, sha256
from propensity.edges.objects import Stored
from propensity.errors import ArtifactError, PropensityError
from propensity.registry import feature_sets
from propensity.registry.feature_sets import Manifest, Part, Writer, in_parts
from propensity.waiting.threads import DaemonThreads

AS_OF = date(2026, 3, 1)
NOW = datetime(2026, 3, 2, 17, 0, 3, 123456, tzinfo=UTC)
DAY = timedelta(days=1)


def rows(n: int, first: int = 0) -> pa.RecordBatch:
    """Users with a feature of each type that BigQuery gives."""
    numbers = range(first, first + n)
    return pa.RecordBatch.from_pydict(
        {
            "as_of": pa.array([AS_OF] * n),
            "user_id": pa.array([f"u{number}" for number in numbers]),
            "ratio": pa.array(
                [None if number % 5 == 0 else 1 / (number + 3) for number in numbers],
                pa.float64(),
            ),
            "count": pa.array([*numbers], pa.int64()),
            "money": pa.array([Decimal(n) / 8 for n in numbers], pa.decimal128(38, 9)),
            "country": pa.array(
                [f"c{n}" if n % 3 else None for n in numbers], pa.string()
            ),
            "is_new": pa.array([n % 2 == 0 for n in numbers]),
        }
    )


FEATURES = ("ratio", "count", "money", "country", "is_new")


def store(
    artifacts: Artifacts,
    batch: pa.RecordBatch,
    *,
    as_of: date = AS_OF,
    at: datetime = NOW,
    part_rows: int = 10,
    use_case: str = "ga4_purchase",
) -> Manifest:
    """Write a set as a run does."""
    writer = Writer(
        artifacts,
        use_case=use_case,
        as_of=as_of,
        run_id="r",
        scored_at=at,
        features=FEATURES,
        threads=DaemonThreads(),
    )
    for _ in writer.keeping(in_parts([batch], rows=part_rows)):
        pass
    return writer.finish(model_version=4)


def find_manifest(artifacts: Artifacts, **changed) -> Manifest | None:
    """The manifest of the publication."""
    publication = {"use_case": "ga4_purchase", "as_of": AS_OF, "scored_at": NOW}
    return feature_sets.find(artifacts, **{**publication, **changed})


class Held:
    """A bucket that holds one manifest."""

    NAME = "features/ga4_purchase/set/manifest.json"

    def __init__(self, content: bytes) -> None:
        self.content = content

    def names(self, _: str) -> list[str]:
        return [self.NAME]

    def read(self, _: str) -> Stored:
        return Stored(self.content, 1)


MANIFEST = Manifest(
    name=Held.NAME,
    use_case="ga4_purchase",
    as_of=AS_OF,
    run_id="r",
    scored_at=NOW,
    model_version=4,
    rows=12,
    part_rows=10,
    columns={"user_id": "string"},
    libraries={"numpy": "2"},
    parts=[
        Part(name=f"part-{n}", rows=rows, size_bytes=9, sha256="0")
        for n, rows in enumerate((10, 2))
    ],
)


class TestParts:
    @given(
        sizes=st.lists(st.integers(0, 25), max_size=8),
        most=st.integers(1, 12),
    )
    def test_hold_the_same_rows_however_they_come(self, sizes, most):
        """All parts but the last have the same number of rows, whatever batches a
        stream of BigQuery is cut into: a row's part follows from its number."""
        batches, first = [], 0
        for size in sizes:
            batches.append(rows(size, first))
            first += size
        parts = [*in_parts(batches, rows=most)]
        users = [user for part in parts for user in part["user_id"].to_pylist()]

        assert users == [f"u{number}" for number in range(first)]
        assert [len(part) for part in parts[:-1]] == [most] * (len(parts) - 1)
        assert all(0 < len(part) <= most for part in parts)


class TestSets:
    def test_hold_features_as_they_were_scored(self, artifacts):
        """Every type, null and last bit; no column beside the user and the features;
        one part is read for a user."""
        batch = rows(33)
        stored = store(artifacts, batch)
        manifest = find_manifest(artifacts)

        assert manifest == stored
        assert [part.rows for part in manifest.parts] == [10, 10, 10, 3]
        assert (manifest.rows, manifest.model_version) == (33, 4)
        part, place = manifest.part_of(27)
        read = feature_sets.read(artifacts, part)
        assert (part.name, place) == (manifest.parts[2].name, 7)
        assert read.equals(batch.select(["user_id", *FEATURES]).slice(20, 10))
        assert dict(manifest.columns) == {
            field.name: str(field.type) for field in read.schema
        }

    def test_keep_what_a_float_can_be(self, artifacts):
        """Not a number is no null, and minus zero is not zero."""
        values = [math.nan, None, -0.0, 5e-324, math.inf]
        batch = pa.RecordBatch.from_pydict(
            {name: rows(5)[name] for name in rows(5).schema.names}
            | {"ratio": pa.array(values, pa.float64())}
        )
        store(artifacts, batch)
        [part] = find_manifest(artifacts).parts
        read = feature_sets.read(artifacts, part)["ratio"]

        assert read.null_count == 1
        bits = read.drop_null().to_numpy().tobytes()
        assert (
            bits == np.array([value for value in values if value is not None]).tobytes()
        )

    def test_are_parquet_that_others_can_search(self, artifacts):
        """Compressed by Zstandard, with bounds of the users in each part."""
        store(artifacts, rows(12))
        data = artifacts.read(find_manifest(artifacts).parts[1].name).data
        column = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0)

        assert column.path_in_schema == "user_id"
        assert column.compression == "ZSTD"
        assert (column.statistics.min, column.statistics.max) == ("u10", "u11")

    def test_name_no_user_outside_their_parts(self, artifacts):
        """Manifest and names of objects may be read by who may not read the rows."""
        manifest = store(artifacts, rows(12))
        names = artifacts.names("features/")

        assert b'"u1' not in artifacts.read(manifest.name).data
        assert names == [
            f"features/ga4_purchase/as_of=2026-03-01/20260302T170003.123456Z-r/{name}"
            for name in ("manifest.json", "part-00000.parquet", "part-00001.parquet")
        ]

    def test_without_a_manifest_are_not_complete(self, artifacts):
        """It is written last: what a run that died has left is not taken for one."""
        manifest = store(artifacts, rows(12))
        artifacts.delete(manifest.name)

        assert find_manifest(artifacts) is None

    def test_are_of_one_publication(self, artifacts):
        """Of a date that was published twice each run has its own."""
        store(artifacts, rows(3))
        store(artifacts, rows(4), at=NOW + DAY)

        assert find_manifest(artifacts).rows == 3
        assert find_manifest(artifacts, scored_at=NOW + DAY).rows == 4
        assert find_manifest(artifacts, as_of=AS_OF + DAY) is None
        assert find_manifest(artifacts, use_case="ga4") is None

    def test_of_other_bytes_are_refused(self, artifacts):
        """A part must have the checksum of the manifest."""
        [part] = store(artifacts, rows(3)).parts
        stored = artifacts.read(part.name)
        other = feature_sets.written(pa.Table.from_batches([rows(3, first=9)]))
        artifacts.replace(part.name, other, generation=stored.generation)

        with pytest.raises(ArtifactError, match="not what was recorded"):
            feature_sets.read(artifacts, part)

    @pytest.mark.parametrize("content", [b"{}", b"[]", b"\xff", b'{"as_of": 1}'])
    def test_with_a_damaged_manifest_are_refused(self, content):
        """The object is named."""
        with pytest.raises(ArtifactError, match="manifest.json"):
            find_manifest(Held(content))

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("part_rows", "10"),
            ("part_rows", 0),
            ("part_rows", 9),
            ("part_rows", 10.0),
            ("rows", 11),
            ("scored_at", "2026-03-03T06:00:00"),
            ("model_version", True),
            ("columns", [["user_id", "string"]]),
        ],
    )
    def test_with_a_manifest_that_a_person_has_changed_are_refused(self, field, value):
        """Defect: part_rows as a text was a TypeError where a row was looked for."""
        changed = json.loads(MANIFEST.content()) | {field: value}

        with pytest.raises(ArtifactError, match=rf"manifest\.json .*\b{field}\b"):
            find_manifest(Held(json.dumps(changed).encode()))

    @given(st.data())
    def test_have_their_rows_or_are_refused(self, data):
        """Whatever stands in the place of one value of a manifest."""
        values = json.loads(MANIFEST.content())
        places = [(values, name) for name in values]
        places += [(part, name) for part in values["parts"] for name in part]
        holder, name = data.draw(st.sampled_from(places))
        holder[name] = data.draw(
            st.none()
            | st.booleans()
            | st.integers(-1, 12)
            | st.floats(0, 12)
            | st.text("01\x00", max_size=2)
            | st.lists(st.integers(), max_size=2)
            | st.dictionaries(st.text(max_size=1), st.integers(), max_size=1)
        )
        try:
            kept = find_manifest(Held(json.dumps(values).encode()))
        except ArtifactError:
            return

        assert [kept.part_of(row)[1] for row in range(12)] == [*range(10), 0, 1]
        assert kept.rows == 12
        kept.content()

    @pytest.mark.parametrize("row", [-1, 12, 20])
    def test_have_no_rows_beyond_their_last(self, artifacts, row):
        manifest = store(artifacts, rows(12))

        with pytest.raises(ArtifactError, match="no row"):
            manifest.part_of(row)

    def test_that_cannot_be_written_fail_the_run(self, artifacts, monkeypatch):
        """The error of any part, also of one that was written in the background."""

        def refused(self, name, data, **named):
            if name.endswith("part-00001.parquet"):
                raise PropensityError("refused")
            return 1

        monkeypatch.setattr(Artifacts, "create", refused)

        with pytest.raises(PropensityError, match="refused"):
            store(artifacts, rows(100))


class TestForgetting:
    def test_leaves_the_rows_of_others_in_their_places(self):
        """All values of the user are null, and every other row is as it was."""
        table = pa.Table.from_batches([rows(7)])
        is_gone = pa.chunked_array([[n in (0, 4) for n in range(7)]])
        left = feature_sets.blanked(table, is_gone)

        assert left.slice(4, 1).to_pylist() == [dict.fromkeys(table.column_names)]
        assert left["user_id"].to_pylist() == [
            None, "u1", "u2", "u3", None, "u5", "u6",
        ]  # fmt: skip
        kept = pa.array([1, 2, 3, 5, 6])
        assert left.take(kept).to_pylist() == table.take(kept).to_pylist()
        assert left.schema.types == table.schema.types

    def test_is_filled_for_a_model_by_another_row(self):
        """A model may refuse nulls, and places matter: a copy of some other row."""
        table = pa.Table.from_batches([rows(4)])
        left = feature_sets.blanked(
            table, pa.chunked_array([[True, False, True, False]])
        )
        filled = feature_sets.filled(left.combine_chunks().to_batches()[0])

        assert filled["user_id"].to_pylist() == ["u1", "u1", "u1", "u3"]
        assert filled["count"].to_pylist() == [1, 1, 1, 3]

    def test_keeps_the_checksums_true(self, artifacts):
        """Of the part that was rewritten; of the others they stay."""
        before = store(artifacts, rows(12))
        data = b"other bytes"
        feature_sets.record_part(artifacts, before.parts[1].name, data)
        after = find_manifest(artifacts)

        assert after.parts[0] == before.parts[0]
        assert after.parts[1].sha256 == sha256(data)
        assert after.parts[1].rows == before.parts[1].rows

    def test_works_in_a_set_that_is_not_complete(self, artifacts):
        """There is no checksum to keep."""
        manifest = store(artifacts, rows(3))
        artifacts.delete(manifest.name)

        feature_sets.record_part(artifacts, manifest.parts[0].name, b"x")
        assert artifacts.find(manifest.name) is None


class TestRemoval:
    def names(self, artifacts: Artifacts) -> set[str]:
        return {name.rpartition("/")[0] for name in artifacts.names("features/")}

    def remove(self, artifacts: Artifacts, *, days: int = 90, at=NOW) -> int:
        return feature_sets.remove_old(
            artifacts,
            "ga4_purchase",
            as_of=AS_OF,
            published_at=at,
            keep_since=at - timedelta(days=days),
        )

    def test_is_of_what_was_replaced_and_what_is_old(self, artifacts):
        """A date has the set of its newest publication alone; a date that nobody
        published again keeps its own until it is too old. Other use cases decide for
        themselves."""
        replaced = store(artifacts, rows(3), at=NOW - DAY)
        old = store(artifacts, rows(3), as_of=AS_OF - 91 * DAY, at=NOW - 91 * DAY)
        kept = [
            store(artifacts, rows(3)),
            store(artifacts, rows(3), as_of=AS_OF - 7 * DAY, at=NOW - 7 * DAY),
            # A past week that was published again lately.
            store(artifacts, rows(3), as_of=AS_OF - 91 * DAY, at=NOW - DAY),
            store(artifacts, rows(3), use_case="other", at=NOW - 91 * DAY),
        ]
        removed = self.remove(artifacts)

        assert removed == sum(len(manifest.parts) + 1 for manifest in (replaced, old))
        assert self.names(artifacts) == {
            manifest.name.rpartition("/")[0] for manifest in kept
        }

    def test_is_of_all_where_none_are_kept(self, artifacts):
        """Days of 0: what is there goes with the next run."""
        for days in (0, 7):
            store(artifacts, rows(3), as_of=AS_OF - days * DAY, at=NOW - DAY)
        self.remove(artifacts, days=0)

        assert self.names(artifacts) == set()

    def test_is_for_good(self, artifacts, place_with_versions):
        """A bucket with versioning keeps no generation either."""
        store(artifacts, rows(3), at=NOW - DAY)
        self.remove(artifacts)

        assert artifacts.generations("features/") == []

    def test_leaves_what_is_no_set(self, artifacts):
        """Defect: an object there, such as the console's for a folder, ended each run
        behind its publication, before its index."""
        store(artifacts, rows(3), at=NOW - 91 * DAY)
        others = [
            "features/ga4_purchase/as_of=2026-01-05/2026.txt",
            "features/ga4_purchase/notes.txt",
        ]
        for name in others:
            artifacts.create(name, b"")
        self.remove(artifacts)

        assert artifacts.names("features/") == others

    def test_leaves_a_newer_run_alone(self, artifacts):
        """One that outlived its lease deletes nothing of its successor."""
        store(artifacts, rows(3), at=NOW + DAY)
        self.remove(artifacts)

        assert find_manifest(artifacts, scored_at=NOW + DAY) is not None


@pytest.fixture
def place_with_versions(artifacts) -> None:
    """The bucket keeps what is overwritten and deleted."""
    artifacts._bucket.versioning_enabled = True
    artifacts._bucket.patch()
