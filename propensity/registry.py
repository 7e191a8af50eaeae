"""
Model versions, the champion pointer, uploaded preprocessors, and leases of runs.

Every object under ``models/<use case>/<version>/`` is written once. Two kinds of object
change, each by compare-and-set on its generation: ``champion.json``, which says what
serves, and ``runs/<use case>/<kind>/<as of>.json``, which says who is at work.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

from propensity.artifacts import Artifacts, Stored, sha256
from propensity.errors import ArtifactError, Conflict, NoChampion, RunInProgress

JSON = "application/json"
HTML = "text/html; charset=utf-8"
PARQUET = "application/vnd.apache.parquet"

# What unpickling raises of an object that other library versions wrote.
_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zlib.error,
)

# Of so many racing trainers one would have to lose every time to give up.
_CLAIMS = 100


@dataclass(frozen=True, kw_only=True)
class Champion:
    """What ``champion.json`` says; ``epoch`` rises with every change of it."""

    version: int
    epoch: int
    model_sha256: str
    promoted_at: str
    previous: int | None


@dataclass(frozen=True, kw_only=True)
class Published:
    """Names and SHA-256 of what was stored for a version, by file name."""

    version: int
    objects: Mapping[str, str]
    checksums: Mapping[str, str]


@dataclass(frozen=True)
class Lease:
    """A run's right to be the only one of its kind and as-of date, for a while."""

    name: str
    run_id: str
    generation: int


@dataclass(frozen=True)
class Finished:
    """A run that was done before, with the answer it gave."""

    answer: Mapping[str, Any]
    run_id: str = ""


class Registry:
    """The objects of one use case in the bucket."""

    def __init__(self, artifacts: Artifacts, use_case: str) -> None:
        self.artifacts = artifacts
        self.use_case = use_case

    # Versions

    def claim(self, *, run_id: str, at: datetime) -> int:
        """
        Claim the next version: of two trainers one gets it, the other the one after.

        Raises:
            Conflict: A hundred others were quicker.
        """
        version = max(self.versions(), default=-1) + 1
        note = _json({"run_id": run_id, "claimed_at": _instant(at)})
        for candidate in range(version, version + _CLAIMS):
            try:
                self.artifacts.create(
                    self._object(candidate, "claim.json"), note, content_type=JSON
                )
            except Conflict:
                continue
            return candidate
        raise Conflict(f"no version could be claimed after {_CLAIMS} tries")

    def versions(self) -> list[int]:
        """Return the claimed versions, ascending."""
        prefix = f"models/{self.use_case}/"
        parts = (
            name.removeprefix(prefix).split("/")[0]
            for name in self.artifacts.names(prefix)
        )
        return sorted({int(part) for part in parts if part.isdigit()})

    def publish(
        self, version: int, files: Mapping[str, tuple[bytes, str]]
    ) -> Published:
        """
        Store a version's files, each once.

        Args:
            version: A claimed one.
            files: Bytes and content type by file name.
        """
        objects, checksums = {}, {}
        for name, (data, content_type) in files.items():
            objects[name] = self._object(version, name)
            checksums[name] = sha256(data)
            self.artifacts.create(objects[name], data, content_type=content_type)
        return Published(version=version, objects=objects, checksums=checksums)

    def load(self, metadata: Mapping[str, Any]) -> tuple[Any, Any]:
        """
        Return a version's preprocessor and model, unpickled after verification.

        Args:
            metadata: Its row of ``ma_model_training_metadata``. The checksums come
                from there and not from the bucket: whoever can only write to the
                bucket can not run code here.

        Raises:
            ArtifactError: An object is missing, or its bytes are not those recorded.
        """
        parts = []
        for part in ("preprocessor", "model"):
            data = self.artifacts.read_verified(
                metadata[f"{part}_object"], checksum=metadata[f"{part}_sha256"]
            )
            parts.append(unpickled(data))
        return parts[0], parts[1]

    def _object(self, version: int, name: str) -> str:
        return f"models/{self.use_case}/{version}/{name}"

    # The champion

    def champion(self) -> Champion:
        """
        Return what serves.

        Raises:
            NoChampion: Nothing has been promoted yet.
        """
        champion, _ = self._champion()
        if champion is None:
            raise NoChampion(
                f"{self.use_case} has no champion yet: run modelTraining first"
            )
        return champion

    def find_champion(self) -> Champion | None:
        """Return what serves, or None where nothing was promoted yet."""
        return self._champion()[0]

    def _champion(self) -> tuple[Champion | None, int]:
        stored = self.artifacts.find(self._pointer)
        if stored is None:
            return None, 0
        found = _object_of(stored, self._pointer)
        try:
            champion = Champion(**found)
        except TypeError as error:
            raise ArtifactError(f"{self._pointer} is no champion: {error}") from error
        if not isinstance(champion.version, int) or not isinstance(champion.epoch, int):
            raise ArtifactError(f"{self._pointer} names no version: {found}")
        return champion, stored.generation

    def promote(
        self,
        version: int,
        *,
        model_sha256: str,
        at: datetime,
        instead_of: int | None,
    ) -> Champion:
        """
        Make a version the champion, if the champion is still the expected one.

        Args:
            version: What shall serve.
            model_sha256: Of its model's bytes.
            at: Now.
            instead_of: The version that it was compared with; None for no champion.

        Raises:
            Conflict: Another version was promoted since.
        """
        champion, generation = self._champion()
        found = champion.version if champion else None
        if champion and champion.version == version:
            return champion
        if found != instead_of:
            raise Conflict(
                f"the champion is version {found} and no longer {instead_of}: "
                f"version {version} was compared with another"
            )
        promoted = Champion(
            version=version,
            epoch=champion.epoch + 1 if champion else 0,
            model_sha256=model_sha256,
            promoted_at=_instant(at),
            previous=found,
        )
        self.artifacts.replace(
            self._pointer, _json(asdict(promoted)), generation=generation
        )
        return promoted

    @property
    def _pointer(self) -> str:
        return f"models/{self.use_case}/champion.json"

    # Uploaded preprocessors

    def upload_preprocessor(self, preprocessor: Any) -> tuple[str, str]:
        """
        Store an unfitted preprocessor under its checksum.

        Returns:
            The object's name and SHA-256, to be recorded in ``ma_preprocessors``.
        """
        data = pickled(preprocessor)
        checksum = sha256(data)
        name = f"preprocessors/{self.use_case}/{checksum}.joblib"
        if self.artifacts.find(name) is None:
            self.artifacts.create(name, data)
        return name, checksum

    def preprocessor(self, recorded: Mapping[str, Any]) -> Any:
        """Return an uploaded preprocessor, unpickled after verification."""
        data = self.artifacts.read_verified(
            recorded["object"], checksum=recorded["sha256"]
        )
        return unpickled(data)

    # Leases

    def begin(
        self,
        kind: str,
        as_of: date,
        *,
        run_id: str,
        now: datetime,
        duration: timedelta,
        again: bool,
    ) -> Lease | Finished:
        """
        Take the lease of a run, or learn that it is done.

        Args:
            kind: "train", "predict" or "evaluate".
            as_of: The run's as-of date.
            run_id: This run's own.
            now: The lease ends at ``now + duration``: a run that died blocks no longer.
            duration: Longer than a run can take.
            again: Take it though the run is done: to run again.

        Raises:
            RunInProgress: Another run holds it.
        """
        name = f"runs/{self.use_case}/{kind}/{as_of.isoformat()}.json"
        stored = self.artifacts.find(name)
        if stored is not None:
            found = _object_of(stored, name)
            state, ends = found.get("state"), str(found.get("expires_at", ""))
            if state == "done" and "answer" in found and not again:
                return Finished(found["answer"], found.get("run_id", ""))
            if state == "running" and _instant(now) < ends:
                raise RunInProgress(
                    f"{kind} of {self.use_case} for {as_of} is under way since "
                    f"{found.get('began_at')}; its lease ends at {ends}"
                )
        note = {
            "state": "running",
            "run_id": run_id,
            "began_at": _instant(now),
            "expires_at": _instant(now + duration),
        }
        try:
            generation = self.artifacts.replace(
                name, _json(note), generation=stored.generation if stored else 0
            )
        except Conflict as error:
            raise RunInProgress(
                f"{kind} of {self.use_case} for {as_of} has just begun elsewhere"
            ) from error
        return Lease(name, run_id, generation)

    def finish(self, lease: Lease, answer: Mapping[str, Any], *, at: datetime) -> None:
        """Say that a run is done, with its answer for whoever asks again."""
        note = {
            "state": "done",
            "run_id": lease.run_id,
            "ended_at": _instant(at),
            "answer": dict(answer),
        }
        self.artifacts.replace(lease.name, _json(note), generation=lease.generation)

    def release(self, lease: Lease, *, error: str, at: datetime) -> None:
        """Say that a run failed, so that the next may begin at once."""
        note = {
            "state": "failed",
            "run_id": lease.run_id,
            "ended_at": _instant(at),
            "error": error,
        }
        self.artifacts.replace(lease.name, _json(note), generation=lease.generation)

    def check(self, lease: Lease) -> None:
        """
        Raise Conflict if a run has outlived its lease and another has taken it.

        To be asked before anything is published.
        """
        stored = self.artifacts.find(lease.name)
        if stored is None or stored.generation != lease.generation:
            raise Conflict(
                f"the lease {lease.name} has been taken over: this run was too slow, "
                "and publishes nothing"
            )


def pickled(value: Any) -> bytes:
    """Return a value as joblib writes it, compressed."""
    import joblib  # noqa: PLC0415 - a lookup reads the pointer without sklearn

    file = io.BytesIO()
    joblib.dump(value, file, compress=3)
    return file.getvalue()


def unpickled(data: bytes) -> Any:
    """
    Return what joblib wrote. The bytes must have been verified before.

    Raises:
        ArtifactError: Today's libraries cannot read them.
    """
    import joblib  # noqa: PLC0415

    try:
        return joblib.load(io.BytesIO(data))
    except _UNREADABLE as error:
        raise ArtifactError(
            "an artifact cannot be read with the libraries of this deploy "
            f"({type(error).__name__}: {error}). Make it again: train, or upload"
        ) from error


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()


def _instant(moment: datetime) -> str:
    """Return a moment so that texts sort as moments do."""
    return moment.isoformat(timespec="microseconds")


def _object_of(stored: Stored, name: str) -> dict[str, Any]:
    try:
        value = json.loads(stored.data)
    except ValueError as error:
        raise ArtifactError(f"{name} is not JSON") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{name} is not a JSON object")
    return value
