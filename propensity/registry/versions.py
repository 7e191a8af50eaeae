"""
Model versions and uploaded preprocessors: objects that are written once.

They are under ``models/<use case>/<version>/`` and ``preprocessors/<use case>/``.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import itertools
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from propensity.errors import ArtifactError, Conflict
from propensity.gcp.artifacts import sha256
from propensity.registry.champion import ChampionPointer
from propensity.registry.objects import instant_of, json_of

JSON = "application/json"
HTML = "text/html; charset=utf-8"
PARQUET = "application/vnd.apache.parquet"

_LIBRARIES = ("scikit-learn", "numpy", "pandas", "pyarrow", "joblib")


@dataclass(frozen=True, kw_only=True)
class Published:
    """A version's objects and their SHA-256, by file name."""

    version: int
    objects: Mapping[str, str]
    checksums: Mapping[str, str]


class Registry(ChampionPointer):
    """The objects of one use case in the bucket."""

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
                from there and not from the bucket: so write access to the bucket is
                not enough to run code here.

        Raises:
            ArtifactError: An object is missing, or its bytes are not those of the
                record.
        """
        preprocessor, model = (
            self.verified(metadata[f"{part}_object"], metadata[f"{part}_sha256"])
            for part in ("preprocessor", "model")
        )
        return preprocessor, model

    def load_value(self, metadata: Mapping[str, Any]) -> Any:
        """Return a version's model of amounts, like ``load``."""
        file = metadata["card"]["files"]["value"]
        return self.verified(file["object"], file["sha256"])

    def verified(self, name: str, checksum: str) -> Any:
        """Return what is pickled in an object, if its bytes are those recorded."""
        return unpickled(self.artifacts.read_verified(name, checksum=checksum))

    def _object(self, version: int, name: str) -> str:
        return f"models/{self.use_case}/{version}/{name}"

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


def libraries() -> dict[str, str]:
    """Return the versions that a model's pickle and its scores depend on."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), **versions}


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
            "an artifact cannot be read with the libraries of this deploy "
            f"({type(error).__name__}: {error}). Make it again: train, or upload"
        ) from error
