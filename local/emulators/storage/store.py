"""Objects and their generations, in a folder."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from gcp_storage_emulator import storage as emulator_storage
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects as emulator_objects

from local.emulators.storage import paths
from offline import whole_files

NO_OBJECT = 0
METADATA = ".meta"
NOT_ENFORCED = (
    "ifMetagenerationMatch",
    "ifMetagenerationNotMatch",
    "ifSourceMetagenerationMatch",
    "ifSourceMetagenerationNotMatch",
)


class RefusedError(Exception):
    """A request that is answered with an error. Knows its status and its message."""

    status: HTTPStatus
    headers: Mapping[str, str] = {}

    def body(self) -> dict[str, object]:
        """Return the error as Cloud Storage words it."""
        reasons = {412: "conditionNotMet", 404: "notFound", 501: "notImplemented"}
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


class NotEnforcedError(RefusedError):
    """The request carries a condition that this emulator would have to ignore."""

    status = HTTPStatus.NOT_IMPLEMENTED


class EmulatorError(RefusedError):
    """The emulator failed in its own code."""

    status = HTTPStatus.NOT_IMPLEMENTED


class InvalidError(RefusedError):
    """The request makes no sense."""

    status = HTTPStatus.BAD_REQUEST


class MissingError(RefusedError):
    """There is nothing at this address."""

    status = HTTPStatus.NOT_FOUND


class UnsatisfiableError(RefusedError):
    """No byte of the object is in the range that is asked for."""

    status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE

    def __init__(self, size: int) -> None:
        super().__init__("The requested range cannot be satisfied.")
        self.headers = {"Content-Range": f"bytes */{size}"}


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
        """
        Read them from a parsed query string.

        Raises:
            NotEnforcedError: There is one that this emulator does not enforce.
        """
        for name in NOT_ENFORCED:
            if name in query:
                raise NotEnforcedError(f"the local emulator does not enforce {name}")

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


def check_source(query: Mapping[str, list[str]], generation: int) -> None:
    """
    Refuse a copy unless what it says about its source holds.

    Args:
        generation: Of the source now; ``NO_OBJECT`` where there is none.
    """

    def number(name: str) -> int | None:
        return int(query[name][0]) if name in query else None

    if number("sourceGeneration") not in (None, generation):
        raise MissingError("the local emulator copies the newest generation alone")
    Conditions(
        method="POST",
        match=number("ifSourceGenerationMatch"),
        not_match=number("ifSourceGenerationNotMatch"),
    ).check(generation)


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
        self._folder = folder
        self._adopt_unacknowledged_writes()

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
        self._forget_removed(bucket, name)
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
        if not paths.is_name(file_name):
            raise InvalidError("no object's name has a line feed or carriage return")
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
        self._forget_removed(bucket_name, file_name)
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
        for name in list(self.objects.get(bucket_name, {})):
            if name.startswith(prefix or ""):
                self._forget_removed(bucket_name, name)
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

    def _object_path(self, bucket_name: str, file_name: str) -> str:
        return f"{bucket_name}/{paths.path_of(file_name)}"

    def _forget_removed(self, bucket: str, name: str) -> None:
        """Forget an object whose file somebody has removed, as a restart would."""
        if name in self.objects.get(bucket, {}):
            file = self._folder / self._object_path(bucket, name)
            if not file.is_file():
                del self.objects[bucket][name]

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

    def _adopt_unacknowledged_writes(self) -> None:
        """
        Make metadata and content agree again after a kill between the two.

        Content is written before metadata. An object newer than the metadata file was
        being overwritten and nobody had been told so; it becomes a new generation. One
        whose content is missing was being deleted.
        """
        metadata = self._folder / METADATA
        if not metadata.exists():
            return
        written_ns = metadata.stat().st_mtime_ns
        for bucket, objects in self.objects.items():
            for name, resource in list(objects.items()):
                file = self._folder / self._object_path(bucket, name)
                if not file.is_file():
                    del objects[name]
                elif file.stat().st_mtime_ns >= written_ns:
                    self._adopt(resource, file.read_bytes())
        self._write_config_to_file()

    @staticmethod
    def _adopt(resource: dict[str, Any], content: bytes) -> None:
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        if md5 == resource["md5Hash"]:
            return
        resource["md5Hash"] = resource["etag"] = md5
        resource["crc32c"] = emulator_objects._crc32c(content)
        resource["size"] = str(len(content))
        resource["generation"] = str(
            max(time.time_ns(), int(resource["generation"]) + 1)
        )


def write_whole(self: Any, rel: str, content: bytes) -> None:
    """Write a file of the emulator's store under another name, then rename it."""
    try:
        whole_files.write(self._disk_path(rel), content)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise EmulatorError(
            f"the local emulator keeps objects as files and folders: {rel} is both"
        ) from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise EmulatorError(
            "the local emulator keeps objects as files and folders, and no system has "
            f"such long names between two slashes: {rel[:80]} …"
        ) from error
