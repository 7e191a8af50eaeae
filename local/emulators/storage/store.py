"""Objects and their generations, in a folder."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from gcp_storage_emulator import storage as emulator_storage
from gcp_storage_emulator.exceptions import NotFound

from offline import whole_files

NO_OBJECT = 0
METADATA = ".meta"


class RefusedError(Exception):
    """A request that is answered with an error. Knows its status and its message."""

    status: HTTPStatus

    def body(self) -> dict[str, object]:
        """Return the error as Cloud Storage words it."""
        reasons = {412: "conditionNotMet", 501: "notImplemented"}
        detail = {
            "message": str(self),
            "domain": "global",
            "reason": reasons.get(self.status, "invalid"),
        }
        return {
            "error": {
                "code": int(self.status),
                "message": str(self),
                "errors": [detail],
            }
        }


class PreconditionFailedError(RefusedError):
    """The object is not at the generation that the request asked for."""

    status = HTTPStatus.PRECONDITION_FAILED


class EmulatorError(RefusedError):
    """The emulator failed in its own code."""

    status = HTTPStatus.NOT_IMPLEMENTED


class NotModifiedError(RefusedError):
    """The object still is at the generation that the reader knows."""

    status = HTTPStatus.NOT_MODIFIED


@dataclass(frozen=True)
class Conditions:
    """What a request says about the generation of the object it is for."""

    method: str = "GET"
    named: int | None = None
    match: int | None = None
    not_match: int | None = None
    versions: bool = False

    @classmethod
    def of(cls, method: str, query: Mapping[str, list[str]]) -> Conditions:
        """Read them from a parsed query string."""

        def number(name: str) -> int | None:
            return int(query[name][0]) if name in query else None

        return cls(
            method=method,
            named=number("generation"),
            match=number("ifGenerationMatch"),
            not_match=number("ifGenerationNotMatch"),
            versions=query.get("versions", [""])[0].lower() == "true",
        )

    def check(self, generation: int) -> None:
        """
        Refuse the request unless its conditions hold for the object as it is now.

        Args:
            generation: Of the object now; ``NO_OBJECT`` where there is none.
        """
        if self.match is not None and self.match != generation:
            raise PreconditionFailedError(
                "At least one of the pre-conditions you specified did not hold: "
                f"ifGenerationMatch={self.match}, the generation is {generation}."
            )
        if self.not_match is not None and self.not_match == generation:
            if self.method == "GET":
                raise NotModifiedError("Not Modified")
            raise PreconditionFailedError(
                "At least one of the pre-conditions you specified did not hold: "
                f"ifGenerationNotMatch={self.not_match} is the generation."
            )


class Store(emulator_storage.Storage):  # type: ignore[misc]
    """
    The emulator's storage with preconditions, whole writes and plain deletes.

    Every way to write an object ends in ``create_file``, every read of one begins with
    ``get_file_obj`` or ``get_file``, so the conditions of the request under way, set by
    ``request``, are checked there. ``request`` admits one request at a time.
    """

    def __init__(self, folder: Path) -> None:
        # The emulator puts its files into a sub-folder of its data directory.
        emulator_storage.STORAGE_DIR = folder.name
        self._lock = threading.Lock()
        self._conditions = Conditions()
        self.read: dict[str, Any] | None = None
        # Of buckets with versioning, by bucket, name and generation; kept in memory.
        self.noncurrent: dict[str, dict[str, dict[int, tuple[dict[str, Any], bytes]]]]
        self.noncurrent = {}
        super().__init__(data_dir=str(folder.parent))
        self.soft_deleted: dict[str, Any] = {}

    @contextlib.contextmanager
    def request(self, conditions: Conditions) -> Iterator[None]:
        """Admit one request, under its conditions."""
        with self._lock:
            self._conditions, self.read = conditions, None
            try:
                yield
            finally:
                self._conditions, self.read = Conditions(), None

    def generation(self, bucket: str, name: str) -> int:
        """Return the generation of an object now, ``NO_OBJECT`` without one."""
        resource = self.objects.get(bucket, {}).get(name)
        return int(resource["generation"]) if resource else NO_OBJECT

    def create_file(
        self,
        bucket_name: str,
        file_name: str,
        content: bytes,
        file_obj: dict[str, Any],
        file_id: str | None = None,
    ) -> None:
        """Write an object if the conditions hold; generations only ever grow."""
        current = self.generation(bucket_name, file_name)
        self._conditions.check(current)
        if bucket_name not in self.buckets:
            raise NotFound
        file_obj["generation"] = str(max(int(file_obj["generation"]), current + 1))
        file_obj["metageneration"] = "1"
        # It names the port of today; clients make the address up without it.
        file_obj.pop("mediaLink", None)
        self._keep_noncurrent(bucket_name, file_name)
        super().create_file(bucket_name, file_name, content or b"", file_obj, file_id)

    def create_resumable_upload(
        self, bucket_name: str, file_name: str, file_obj: dict[str, Any]
    ) -> str:
        """Start an upload if the conditions hold now; they are checked at its end."""
        self._conditions.check(self.generation(bucket_name, file_name))
        upload: str = super().create_resumable_upload(bucket_name, file_name, file_obj)
        return upload

    def get_file_obj(self, bucket_name: str, file_name: str) -> dict[str, Any]:
        """Return an object's resource if the conditions of a read or patch hold."""
        if (kept := self._noncurrent(bucket_name, file_name)) is not None:
            return kept[0]
        resource: dict[str, Any] = super().get_file_obj(bucket_name, file_name)
        if self._conditions.method in ("GET", "PATCH"):
            generation = int(resource["generation"])
            if self._conditions.named not in (None, generation):
                raise NotFound
            self._conditions.check(generation)
        if self._conditions.method == "GET":
            self.read = resource
        return resource

    def get_file(
        self, bucket_name: str, file_name: str, show_error: bool = True
    ) -> bytes:
        """Return an object's content; what the metadata does not name is no object."""
        if bucket_name != emulator_storage.RESUMABLE_DIR:
            if (kept := self._noncurrent(bucket_name, file_name)) is not None:
                return kept[1]
            self.get_file_obj(bucket_name, file_name)
        content: bytes = super().get_file(bucket_name, file_name, show_error)
        return content

    def delete_file(self, bucket_name: str, file_name: str) -> None:
        """Delete an object if the conditions hold, the metadata first."""
        named = self._conditions.named
        kept = self.noncurrent.get(bucket_name, {}).get(file_name, {})
        if named is not None and kept.pop(named, None) is not None:
            return
        current = self.generation(bucket_name, file_name)
        if current == NO_OBJECT or self._conditions.named not in (None, current):
            raise NotFound
        self._conditions.check(current)
        if self._conditions.named is None:
            # Whoever names the generation deletes it for good.
            self._keep_noncurrent(bucket_name, file_name)
        del self.objects[bucket_name][file_name]
        self._write_config_to_file()
        self._delete_file(bucket_name, file_name)

    def get_file_list(
        self, bucket_name: str, prefix: str | None = None, *rest: Any, **named: Any
    ) -> Any:
        """List objects, and the generations before them where these are asked for."""
        objects, folders = super().get_file_list(bucket_name, prefix, *rest, **named)
        if not self._conditions.versions:
            return objects, folders
        older = [
            resource
            for name, generations in self.noncurrent.get(bucket_name, {}).items()
            if name.startswith(prefix or "")
            for resource, _ in generations.values()
        ]
        return [*objects, *older], folders

    def _keep_noncurrent(self, bucket: str, name: str) -> None:
        """Keep an object that is overwritten or deleted, if its bucket does."""
        versioning = self.buckets.get(bucket, {}).get("versioning") or {}
        resource = self.objects.get(bucket, {}).get(name)
        if not versioning.get("enabled") or resource is None:
            return
        content: bytes = super().get_file(bucket, name, False)
        deleted = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        kept = self.noncurrent.setdefault(bucket, {}).setdefault(name, {})
        kept[int(resource["generation"])] = (
            {**resource, "timeDeleted": deleted},
            content,
        )

    def _noncurrent(
        self, bucket: str, name: str
    ) -> tuple[dict[str, Any], bytes] | None:
        """Return the generation that the request names, where it is no more live."""
        named = self._conditions.named
        if named is None:
            return None
        return self.noncurrent.get(bucket, {}).get(name, {}).get(named)

    def _write_config_to_file(self) -> None:
        """Replace the metadata file by a new one, never by half of one."""
        state = {
            "buckets": self.buckets,
            "objects": self.objects,
            "resumable": self.resumable,
            "bucket_iam_policies": self.bucket_iam_policies,
        }
        self._store.write_bytes(METADATA, json.dumps(state).encode())


def write_whole(self: Any, rel: str, content: bytes) -> None:
    """Write a file of the emulator's store under another name, then rename it."""
    whole_files.write(self._disk_path(rel), content)
