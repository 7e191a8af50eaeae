"""
The features of each publication, as they were scored: Parquet objects in the bucket.

    features/<use case>/as_of=<date>/<time of the run>-<run id>/part-00000.parquet, ...
                                                               /manifest.json

So a probability can be computed again after the export, a view or a statement changed.
A part holds the rows that were scored together, in their order: sums of floats depend
in the last bit on how many rows are summed at once, so a row is computed again with the
rows of its part and never alone. Row n of a publication is in part ``n // part_rows``;
``ma_predictions_history`` has that number, so one small object is read for a user.

The manifest has a checksum of each part, and is written last: a set without one is not
complete. Forgotten users' rows are blank, and the rows of others keep their places.
"""

from __future__ import annotations

import contextlib
import io
from collections import deque
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from propensity.edges.artifacts import Artifacts, sha256
from propensity.edges.objects import Stored
from propensity.errors import ArtifactError, Conflict
from propensity.registry.objects import instant_of, json_of, object_of
from propensity.registry.versions import JSON, PARQUET, libraries
from propensity.tables import USER
from propensity.waiting.threads import DaemonThreads

FEATURES = "features/"
MANIFEST = "manifest.json"

# A few megabytes, which is what is read for one user.
PART_ROWS = 16_384

# Parts that are written at once; their rows wait in memory.
_UPLOADS = 2

# Attempts at a manifest that others change meanwhile.
TRIES = 5

# Names between slashes of a set's objects.
_DEPTH = 5

_STAMP = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True, kw_only=True)
class Part:
    """An object of a set: its name, rows, bytes and SHA-256."""

    name: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """
    What a complete set says of itself.

    Attributes:
        name: Of its object.
        scored_at: When the run began; its rows in the history have the same.
        part_rows: Rows of each part but the last.
        columns: Arrow type of each column by name: the user's id and the features.
        libraries: Versions of those that the scores depend on.
    """

    name: str
    use_case: str
    as_of: date
    run_id: str
    scored_at: datetime
    model_version: int
    rows: int
    part_rows: int
    columns: Mapping[str, str]
    libraries: Mapping[str, str]
    parts: Sequence[Part]

    def content(self) -> bytes:
        """Return the object's bytes."""
        values = asdict(self) | {
            "as_of": str(self.as_of),
            "scored_at": instant_of(self.scored_at),
        }
        del values["name"]
        return json_of(values)

    def part_of(self, row: int) -> tuple[Part, int]:
        """
        Return the part with a row of the set, and the row's place in it.

        Raises:
            ArtifactError: There is no such row.
        """
        number, place = divmod(row, self.part_rows)
        if row < 0 or number >= len(self.parts) or place >= self.parts[number].rows:
            raise ArtifactError(f"{self.name} has no row {row}, but {self.rows} rows")
        return self.parts[number], place


def folder(use_case: str, as_of: date | None = None) -> str:
    """Return the prefix of a use case's sets, or of those of an as-of date."""
    below = "" if as_of is None else f"as_of={as_of}/"
    return f"{FEATURES}{use_case}/{below}"


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_STAMP)


# Writing


def in_parts(
    batches: Iterable[pa.RecordBatch], *, rows: int
) -> Generator[pa.RecordBatch, None, None]:
    """Cut batches anew, so that each but the last has the same number of rows."""
    waiting: list[pa.RecordBatch] = []
    gathered = 0
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            piece = batch.slice(start, rows - gathered)
            waiting.append(piece)
            start += piece.num_rows
            gathered += piece.num_rows
            if gathered == rows:
                yield pa.concat_batches(waiting)
                waiting, gathered = [], 0
    if gathered:
        yield pa.concat_batches(waiting)


@dataclass
class Writer:
    """
    Write the set of a run while its features are scored.

    Attributes:
        use_case, as_of, run_id: Of the run.
        scored_at: When the run began.
        features: Columns that are kept beside the user's id.
        threads: Store parts while the next one is scored.
    """

    artifacts: Artifacts
    _: KW_ONLY
    use_case: str
    as_of: date
    run_id: str
    scored_at: datetime
    features: Collection[str]
    threads: DaemonThreads
    _columns: dict[str, str] = field(default_factory=dict, init=False)
    _parts: list[Part] = field(default_factory=list, init=False)
    # Of the parts as they were stored, by name.
    _generations: dict[str, int] = field(default_factory=dict, init=False)

    @property
    def folder(self) -> str:
        """The prefix of the set's objects."""
        place = folder(self.use_case, self.as_of)
        return f"{place}{_stamp(self.scored_at)}-{self.run_id}/"

    def keeping(
        self, parts: Iterable[pa.RecordBatch]
    ) -> Generator[pa.RecordBatch, None, None]:
        """
        Yield parts as they are, and store each in the background.

        Close it where not all are read: it then waits for those that are being stored.

        Args:
            parts: Of ``in_parts``, users on the list of suppressed ones left out.

        Raises:
            Conflict, AccessDenied, Unavailable: A part could not be stored.
        """
        waiting: deque[Future[Part]] = deque()
        with self.threads.pool(_UPLOADS, "features") as pool:
            for number, part in enumerate(parts):
                if len(waiting) == _UPLOADS:
                    self._parts.append(waiting.popleft().result())
                waiting.append(pool.submit(self._store, number, part))
                yield part
            self._parts += [upload.result() for upload in waiting]

    def _store(self, number: int, part: pa.RecordBatch) -> Part:
        rows = pa.Table.from_batches([part.select([USER, *self.features])])
        if not number:
            self._columns = {column.name: str(column.type) for column in rows.schema}
        data = written(rows)
        name = f"{self.folder}part-{number:05d}.parquet"
        self._generations[name] = self.artifacts.create(
            name, data, content_type=PARQUET
        )
        return Part(
            name=name, rows=len(rows), size_bytes=len(data), sha256=sha256(data)
        )

    def finish(self, *, model_version: int) -> Manifest:
        """
        Write the manifest, once all parts are stored; the set is complete then.

        Of parts from which users were removed meanwhile, it gets the new checksums.
        """
        manifest = Manifest(
            name=f"{self.folder}{MANIFEST}",
            use_case=self.use_case,
            as_of=self.as_of,
            run_id=self.run_id,
            scored_at=self.scored_at,
            model_version=model_version,
            rows=sum(part.rows for part in self._parts),
            part_rows=self._parts[0].rows if self._parts else PART_ROWS,
            columns=self._columns,
            libraries=libraries(),
            parts=self._parts,
        )
        self.artifacts.create(manifest.name, manifest.content(), content_type=JSON)
        # Behind the manifest: who removes users from now on, finds it.
        for entry in self.artifacts.generations(self.folder):
            stored = self._generations.get(entry.name, entry.generation)
            if entry.is_live and entry.generation != stored:
                data = self.artifacts.read(entry.name).data
                record_part(self.artifacts, entry.name, data)
        return manifest


def written(rows: pa.Table) -> bytes:
    """Return rows as a Parquet file."""
    file = io.BytesIO()
    pq.write_table(rows, file, compression="zstd")
    return file.getvalue()


# Reading


def find(
    artifacts: Artifacts, *, use_case: str, as_of: date, scored_at: datetime
) -> Manifest | None:
    """
    Return the manifest of a publication's set; None if there is no complete set.

    Args:
        use_case, as_of, scored_at: As the rows of the history have them.

    Raises:
        ArtifactError: The manifest is damaged.
    """
    prefix = f"{folder(use_case, as_of)}{_stamp(scored_at)}-"
    names = [name for name in artifacts.names(prefix) if name.endswith(f"/{MANIFEST}")]
    return _manifest(artifacts.read(names[0]), names[0]) if names else None


def _manifest(stored: Stored, name: str) -> Manifest:
    values = object_of(stored, name)
    try:
        values["as_of"] = date.fromisoformat(values["as_of"])
        values["scored_at"] = datetime.fromisoformat(values["scored_at"])
        values["parts"] = [Part(**part) for part in values["parts"]]
        manifest = Manifest(name=name, **values)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{name} is not a manifest of features: {error}") from error
    if wrong := _wrong(manifest):
        raise ArtifactError(
            f"{name} is not a manifest of features: {wrong} is not as a run writes it"
        )
    return manifest


def _wrong(manifest: Manifest) -> str:
    """Return the field of a manifest that a person has changed; "" if all is sound."""
    parts, rows = manifest.parts, manifest.part_rows
    sound = {
        "use_case": _are_texts([manifest.use_case]),
        "run_id": _are_texts([manifest.run_id]),
        "scored_at": manifest.scored_at.tzinfo is not None,
        "model_version": _are_counts([manifest.model_version]),
        "part_rows": _are_counts([rows]) and rows > 0,
        "columns": _has_texts(manifest.columns),
        "libraries": _has_texts(manifest.libraries),
        "parts": _are_texts(text for part in parts for text in (part.name, part.sha256))
        and _are_counts(
            count for part in parts for count in (part.rows, part.size_bytes)
        ),
        "rows": _are_counts([manifest.rows]),
    }
    if wrong := [name for name, is_sound in sound.items() if not is_sound]:
        return wrong[0]
    # A row is looked for by its number, so these have to agree.
    are_full = all(part.rows == rows for part in parts[:-1])
    if not are_full or any(part.rows > rows for part in parts[-1:]):
        return "part_rows"
    return "" if manifest.rows == sum(part.rows for part in parts) else "rows"


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def _are_counts(values: Iterable[object]) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _has_texts(value: object) -> bool:
    return isinstance(value, dict) and _are_texts(value.values())


def read(artifacts: Artifacts, part: Part) -> pa.RecordBatch:
    """
    Return the rows of a part, after its checksum was verified.

    Raises:
        ArtifactError: It is missing, or its bytes are not those of the manifest.
    """
    data = artifacts.read_verified(part.name, checksum=part.sha256)
    rows = pq.read_table(io.BytesIO(data)).combine_chunks()
    [batch] = rows.to_batches()
    return batch


def filled(rows: pa.RecordBatch) -> pa.RecordBatch:
    """
    Return rows with a copy of another row in the place of each blank one.

    A model may refuse nulls, and the rows beside a blank one must keep their places.
    """
    is_blank = pc.is_null(rows[USER]).to_numpy(zero_copy_only=False)
    if not is_blank.any() or is_blank.all():
        return rows
    places = np.arange(rows.num_rows)
    places[is_blank] = np.flatnonzero(~is_blank)[0]
    return rows.take(pa.array(places))


# Removing users, and sets


def blanked(rows: pa.Table, is_gone: pa.ChunkedArray) -> pa.Table:
    """Return rows in which all values of some are null; the others stay in place."""
    columns = [
        pc.if_else(is_gone, pa.scalar(None, column.type), column)
        for column in rows.columns
    ]
    return pa.table(columns, names=rows.column_names)


def record_part(artifacts: Artifacts, name: str, data: bytes) -> None:
    """
    Write the checksum of a part's new bytes into the manifest of its set.

    A set that is not complete has none, and no publication names it yet: its run looks
    for such parts once it has written the manifest. By a damaged one no part can be
    read anyway.

    Raises:
        Conflict: Others wrote the manifest each time.
    """
    manifest_name = f"{name.rpartition('/')[0]}/{MANIFEST}"
    for _ in range(TRIES):
        stored = artifacts.find(manifest_name)
        if stored is None:
            return
        try:
            manifest = _manifest(stored, manifest_name)
        except ArtifactError:
            return
        parts = [
            replace(part, size_bytes=len(data), sha256=sha256(data))
            if part.name == name
            else part
            for part in manifest.parts
        ]
        if parts == manifest.parts:
            return
        with contextlib.suppress(Conflict):
            artifacts.replace(
                manifest_name,
                replace(manifest, parts=parts).content(),
                generation=stored.generation,
            )
            return
    raise Conflict(f"{manifest_name} is written again and again")


def remove_old(
    artifacts: Artifacts,
    use_case: str,
    *,
    as_of: date,
    published_at: datetime,
    keep_since: datetime,
) -> int:
    """
    Delete sets that no publication names any more, and expired ones; return objects.

    Generations are deleted for good: a bucket with versioning would keep them on.

    Args:
        as_of, published_at: Of the publication that counts now; sets of its date that
            are older were replaced.
        keep_since: Sets of earlier runs are expired.
    """
    removed = 0
    replaced = folder(use_case, as_of)
    for entry in artifacts.generations(folder(use_case)):
        parts = entry.name.split("/")
        if len(parts) < _DEPTH:
            # Somebody else's, such as the console's object for an empty folder.
            continue
        written_at = parts[3].partition("-")[0]
        limit = published_at if entry.name.startswith(replaced) else keep_since
        if written_at < _stamp(max(limit, keep_since)):
            artifacts.delete_generation(entry)
            removed += 1
    return removed
