"""
Model versions: objects that are written once, and the pointer to the live one.

Versions are under ``models/<use case>/<version>/``, uploaded preprocessors under
``preprocessors/<use case>/``. The pointer, ``models/<use case>/champion.json``, changes
by compare-and-set: a change is made to the champion that its caller has read, and is a
Conflict if it is another by now.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec.structs import replace

from propensity.errors import ArtifactError, Conflict
from propensity.gcp.artifacts import (
    Artifacts,
    Stored,
    content_of,
    instant_of,
    json_of,
    sha256,
)

if TYPE_CHECKING:
    import pyarrow as pa


JSON = "application/json"
HTML = "text/html; charset=utf-8"
PARQUET = "application/vnd.apache.parquet"

# The epoch where there is no pointer yet.
NOTHING_SERVES = -1
# The pointer names at most so many earlier champions, for roll backs.
EARLIER = 10

Number = Annotated[int, msgspec.Meta(ge=0)]


class Champion(msgspec.Struct, frozen=True, kw_only=True):
    """
    The content of ``champion.json``.

    Attributes:
        epoch: Rises with every change.
        model_sha256: Of the version's model; loads verify it by BigQuery's record.
        promoted_at: Start of its service.
        pinned: Whether training may not promote.
        earlier: Earlier champions, newest first, each once; without those that were
            rolled back.
    """

    version: Number
    epoch: Number
    model_sha256: str
    promoted_at: str
    pinned: bool
    earlier: tuple[Number, ...]

    @property
    def previous(self) -> int | None:
        """The target of a roll back; None for none."""
        return self.earlier[0] if self.earlier else None


@dataclass(frozen=True, kw_only=True)
class Published:
    """A version's objects and their SHA-256, by file name."""

    objects: Mapping[str, str]
    checksums: Mapping[str, str]


class RecordedFile(msgspec.Struct, frozen=True):
    """An object of a version, and the SHA-256 of its bytes."""

    object: str
    sha256: str


class RecordedCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate that was judged."""

    name: str
    algorithm: str
    parameters: Mapping[str, Any]
    chosen: bool


class RecordedCard(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is read of a version's card after its training, by this and later releases.

    ``learning.card.Card`` has all of it.

    Attributes:
        files: By kind, such as ``value``.
        libraries: What wrote its files, as ``libraries`` returns them.
        trained_until: The newest date that it has learned from.
        drift: What publications are compared with, a ``measures.drift.Reference``.
    """

    features: Mapping[str, str] = {}
    statement_parameters: Mapping[str, Any] = {}
    lookback_days: int = 0
    horizon_days: int = 0
    files: Mapping[str, RecordedFile] = {}
    libraries: Mapping[str, str] = {}
    candidates: Sequence[RecordedCandidate] = ()
    members: Sequence[str] = ()
    is_anomaly: bool = False
    trained_until: date | None = None
    drift: Mapping[str, Any] | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What training recorded of a version: ``ma_model_training_metadata``."""

    model_version: int
    card: RecordedCard
    as_of: date = date.min
    model_object: str = ""
    model_sha256: str = ""
    preprocessor_object: str = ""
    preprocessor_sha256: str = ""
    alert_threshold: float | None = None
    promoted: bool | None = None
    compared_version: int | None = None
    verdict: str = ""


@dataclass(frozen=True)
class Registry:
    """
    The objects of one use case in the bucket.

    Changes of the pointer raise Conflict if another was quicker.
    """

    artifacts: Artifacts
    use_case: str

    @property
    def pointer(self) -> str:
        """Name of the object that holds the champion."""
        return f"models/{self.use_case}/champion.json"

    def champion(self) -> Champion | None:
        """Return the champion, None before the first promotion."""
        return self._parsed(self.artifacts.find(self.pointer))

    def promote(
        self,
        version: int,
        *,
        model_sha256: str,
        at: datetime,
        instead_of: Champion | None,
        pinned: bool = False,
    ) -> Champion:
        """
        Make a version the champion, and return the pointer; a pin stays.

        Args:
            model_sha256: Of the bytes of the version's model.
            instead_of: The champion until now, None for none.
            pinned: Whether to pin it: training promotes no other until ``unpin``.
        """
        before = instead_of
        after = before
        if before is None or before.version != version:
            champions = list[int]()
            if before:
                champions.append(before.version)
                champions += before.earlier
            others = [other for other in champions if other != version]
            after = Champion(
                version=version,
                epoch=before.epoch if before else NOTHING_SERVES,
                model_sha256=model_sha256,
                promoted_at=instant_of(at),
                pinned=before.pinned if before else False,
                earlier=tuple(others[:EARLIER]),
            )
        assert after is not None
        if pinned:
            after = replace(after, pinned=True)
        return self._change(before, after)

    def roll_back(
        self, champion: Champion, *, model_sha256: str, at: datetime
    ) -> Champion:
        """
        Return to the champion before this one, as if this had never been live.

        So a second roll back goes one further back. A pin stays; without one training
        may promote again.
        """
        version, *earlier = champion.earlier
        back = replace(
            champion,
            version=version,
            model_sha256=model_sha256,
            promoted_at=instant_of(at),
            earlier=tuple(earlier),
        )
        return self._change(champion, back)

    def unpin(self, champion: Champion) -> Champion:
        """Let training promote again."""
        return self._change(champion, replace(champion, pinned=False))

    def _change(self, before: Champion | None, after: Champion) -> Champion:
        """Replace the pointer by compare-and-set, unless nothing changes."""
        if after == before:
            return after
        stored = self.artifacts.find(self.pointer)
        if self._parsed(stored) != before:
            raise Conflict(
                f"the live version of {self.use_case} has changed meanwhile, and stays",
                hint="Look at `propensity versions`, then decide again",
            )
        after = replace(after, epoch=after.epoch + 1)
        self.artifacts.replace(self.pointer, json_of(after), stored)
        return after

    def _parsed(self, stored: Stored | None) -> Champion | None:
        return content_of(stored, Champion, name=self.pointer) if stored else None

    def claim(self, *, run_id: str, at: datetime, recorded: int = -1) -> int:
        """
        Claim the next version; two trainers at once get two versions.

        Args:
            run_id: Of one claim alone.
            recorded: The newest version with a training record, -1 without one. Its
                number is not given again, though its objects may have been deleted.
        """
        note = json_of({"run_id": run_id, "claimed_at": instant_of(at)})
        for version in itertools.count(recorded + 1):
            # Another has claimed it, and may have died since.
            with contextlib.suppress(Conflict):
                self.artifacts.create(
                    self._object(version, "claim.json"), note, content_type=JSON
                )
                break
        return version

    def publish(
        self, version: int, files: Mapping[str, tuple[bytes, str]]
    ) -> Published:
        """Store a claimed version's files, each once: bytes and type by file name."""
        objects = {}
        checksums = {}
        for name, (data, content_type) in files.items():
            objects[name] = self._object(version, name)
            checksums[name] = sha256(data)
            self.artifacts.create(objects[name], data, content_type=content_type)
        return Published(objects=objects, checksums=checksums)

    def load(self, record: Record) -> tuple[Any, Any]:
        """
        Return a version's preprocessor and model, unpickled after verification.

        The checksums come from BigQuery and not from the bucket: so write access to the
        bucket is not enough to run code here.
        """
        return (
            self.verified(record.preprocessor_object, record.preprocessor_sha256),
            self.verified(record.model_object, record.model_sha256),
        )

    def load_value(self, record: Record) -> Any:
        """Return a version's model of amounts, like ``load``."""
        file = record.card.files["value"]
        return self.verified(file.object, file.sha256)

    def verified(self, name: str, checksum: str) -> Any:
        """Return the object that a file pickles, if its SHA-256 is the recorded one."""
        data = self.artifacts.read(name).data
        if sha256(data) != checksum:
            raise ArtifactError(
                f"{self.artifacts.uri(name)} has changed since it was recorded: its "
                f"SHA-256 is {sha256(data)} instead of {checksum}. It was not loaded"
            )
        return unpickled(data)

    def _object(self, version: int, name: str) -> str:
        return f"models/{self.use_case}/{version}/{name}"

    def upload_preprocessor(self, preprocessor: Any) -> tuple[str, str]:
        """Store an unfitted preprocessor under its checksum."""
        data = pickled(preprocessor)
        checksum = sha256(data)
        name = f"preprocessors/{self.use_case}/{checksum}.joblib"
        if self.artifacts.find(name) is None:
            self.artifacts.create(name, data)
        return name, checksum


def pickled(value: Any) -> bytes:
    """Return a value as joblib writes it, compressed."""
    import joblib  # heavy, and only training and loads need it

    file = io.BytesIO()
    joblib.dump(value, file, compress=3)
    return file.getvalue()


def unpickled(data: bytes) -> Any:
    """
    Return a value that joblib wrote. The bytes must have been verified before.

    Raises:
        ArtifactError: Today's libraries cannot read them.
    """
    import joblib

    try:
        return joblib.load(io.BytesIO(data))
    except Exception as error:  # whatever classes of other versions raise
        raise ArtifactError(
            "an artifact cannot be read with the libraries of this deploy",
            hint="Train again, or upload the preprocessor again: "
            f"{type(error).__name__}: {error}",
        ) from error


def parquet_of(rows: pa.Table) -> bytes:
    # Lookups have no pyarrow.
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(rows, file, compression="zstd")
    return file.getvalue()
