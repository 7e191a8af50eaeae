"""
What requests for an object do where ``gcp-storage-emulator`` leaves something out.

- A null in a change of metadata removes a field; ``metadata`` changes key by key.
- A copy or rewrite takes the metadata that its request has, and its conditions on the
  source hold.
- An object that is kept in gzip is read as it is by clients that take gzip, with the
  header that says so, and unpacked by all others.
- A composition has 32 sources at most, and refuses conditions on them.
- An upload can be given up.
- A resource has the address of its bytes, and a bucket says that its names are flat:
  gcloud and gsutil ask for both.

Source: cloud.google.com/storage/docs/json_api/v1/objects and
cloud.google.com/storage/docs/transcoding.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import datetime
from email.utils import format_datetime
from enum import IntEnum
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from gcp_storage_emulator import server as emulator
from gcp_storage_emulator import settings
from gcp_storage_emulator.handlers import objects as emulator_objects

from local.emulators.storage import listing
from local.emulators.storage.store import (
    InvalidError,
    NotEnforcedError,
    Store,
    check_source,
)

SOURCES = 32
GZIP = "gzip"

# Of an answer with the bytes of an object, by field of its resource.
_HEADERS = {
    "contentDisposition": "Content-Disposition",
    "contentLanguage": "Content-Language",
    "cacheControl": "Cache-Control",
    "storageClass": "X-Goog-Storage-Class",
}
_LAYOUT = r"/b/(?P<bucket_name>[-.\w]+)/storageLayout"
_make_resource = emulator_objects._make_object_resource
_patch_resource = emulator_objects._patch_object
_download = emulator_objects.download
_compose = emulator_objects.compose
_json = emulator.Response.json


class _GivenUp(IntEnum):
    phrase: str

    def __new__(cls, value: int, phrase: str) -> _GivenUp:
        status = int.__new__(cls, value)
        status._value_ = value
        status.phrase = phrase
        return status

    CLIENT_CLOSED_REQUEST = 499, "Client Closed Request"


def install() -> None:
    """Have the emulator answer by the functions of this module and of ``listing``."""
    answered_by = {
        emulator_objects.ls: listing.ls,
        _download: download,
        _compose: compose,
        emulator_objects.copy: _with_body(emulator_objects.copy),
        emulator_objects.rewrite: _with_body(emulator_objects.rewrite),
    }
    emulator.HANDLERS = (
        (rf"^{settings.API_ENDPOINT}{_LAYOUT}$", {emulator.GET: layout}),
        *emulator.HANDLERS,
    )
    emulator.Response.json = json_with_links
    for _, methods in emulator.HANDLERS:
        for method, handler in methods.items():
            methods[method] = answered_by.get(handler, handler)
        if methods.get(emulator.POST) is emulator_objects.insert:
            methods[emulator.DELETE] = give_up
    emulator_objects._patch_object = patched
    emulator_objects.download = download


def patched(resource: dict[str, Any], change: dict[str, Any] | None) -> dict[str, Any]:
    """Return an object's resource with a change merged into it (RFC 7396)."""
    if not change:
        return resource
    own = resource.get("metadata") or {}
    set_now = {name: value for name, value in change.items() if value is not None}
    if isinstance(change.get("metadata"), dict):
        merged = own | change["metadata"]
        set_now["metadata"] = {
            key: value for key, value in merged.items() if value is not None
        }
    changed: dict[str, Any] = _patch_resource(resource, set_now)
    for name in emulator_objects._WRITABLE_FIELDS:
        if name in change and change[name] is None:
            changed.pop(name, None)
    return changed


def download(request: Any, response: Any, storage: Store, *_: Any, **__: Any) -> None:
    """Answer the bytes of an object, and what a reader must know of them."""
    _download(request, response, storage)
    resource = storage.read
    if resource is None or response.status not in (
        HTTPStatus.OK,
        HTTPStatus.PARTIAL_CONTENT,
    ):
        return
    updated = datetime.fromisoformat(resource["updated"])
    response["Last-Modified"] = format_datetime(updated, usegmt=True)
    response["Accept-Ranges"] = "bytes"
    for field, header in _HEADERS.items():
        if resource.get(field):
            response[header] = resource[field]
    response["X-Goog-Stored-Content-Length"] = str(resource["size"])
    encoding = resource.get("contentEncoding") or "identity"
    response["X-Goog-Stored-Content-Encoding"] = encoding
    if encoding == "identity":
        return
    if encoding != GZIP or GZIP in request.get_header("Accept-Encoding", ""):
        response["Content-Encoding"] = encoding
        return
    # Of what is unpacked there is no range, as in Cloud Storage.
    name = request.params["bucket_name"], request.params["object_id"]
    response.status = HTTPStatus.OK
    response._headers.pop("Content-Range", None)
    try:
        response._content = gzip.decompress(storage.get_file(*name))
    except (OSError, EOFError) as error:
        raise InvalidError(f"{name[1]} is said to be gzip, and is not") from error


def compose(request: Any, response: Any, storage: Store, *_: Any, **__: Any) -> None:
    """
    Write objects one after another into a new one.

    Raises:
        InvalidError: They are too many, or none.
        NotEnforcedError: The request has a condition on a source.
    """
    sources = (request.data or {}).get("sourceObjects") or []
    if not 0 < len(sources) <= SOURCES:
        raise InvalidError(
            f"{len(sources)} source objects; a composition has 1 to {SOURCES}"
        )
    for source in sources:
        for condition in ("generation", "objectPreconditions"):
            if source.get(condition):
                raise NotEnforcedError(
                    f"the local emulator does not enforce {condition} of a source"
                )
    request.data.setdefault("destination", {})
    _compose(request, response, storage)


def layout(request: Any, response: Any, storage: Store, *_: Any, **__: Any) -> None:
    """Answer that a bucket's names are flat."""
    name = request.params["bucket_name"]
    if storage.get_bucket(name) is None:
        response.status = HTTPStatus.NOT_FOUND
        return
    response.json({"kind": "storage#storageLayout", "bucket": name})


def json_with_links(response: Any, answer: Any) -> None:
    """Answer JSON, where each object has the address of its bytes."""
    # Not stored, since it names the port of today.
    host = response._handler.headers.get("Host")

    def linked(resource: Any) -> Any:
        if not isinstance(resource, dict) or not host:
            return resource
        if resource.get("kind") != "storage#object":
            return resource
        name = quote(resource["name"], safe="")
        link = (
            f"http://{host}{settings.DOWNLOAD_API_ENDPOINT}/b/{resource['bucket']}"
            f"/o/{name}?generation={resource['generation']}&alt=media"
        )
        return {**resource, "mediaLink": link}

    answer = linked(answer)
    if isinstance(answer, dict):
        if "items" in answer:
            answer = {**answer, "items": [linked(item) for item in answer["items"]]}
        if "resource" in answer:
            answer = {**answer, "resource": linked(answer["resource"])}
    _json(response, answer)


def give_up(request: Any, response: Any, storage: Store, *_: Any, **__: Any) -> None:
    """Forget an upload; it ends with 499, as clients expect."""
    [upload] = request.query.get("upload_id") or [""]
    if storage.resumable.pop(upload, None) is None:
        response.status = HTTPStatus.NOT_FOUND
        return
    storage._write_config_to_file()
    response.status = _GivenUp.CLIENT_CLOSED_REQUEST


def _with_body(answer: Callable[..., None]) -> Callable[..., None]:
    """Return a copy that takes the fields of its request over those of the source."""

    def copy(
        request: Any, response: Any, storage: Store, *rest: Any, **named: Any
    ) -> None:
        source = request.params["bucket_name"], request.params["object_id"]
        check_source(request.query, storage.generation(*source))
        body = request.data if isinstance(request.data, dict) else {}
        fields = {
            name: body[name]
            for name in emulator_objects._WRITABLE_FIELDS
            if body.get(name) is not None and name not in ("crc32c", "md5Hash")
        }

        def resource(*arguments: Any) -> dict[str, Any]:
            *most, source = arguments
            copied: dict[str, Any] = _make_resource(*most, {**source, **fields})
            return copied

        emulator_objects._make_object_resource = resource
        try:
            answer(request, response, storage, *rest, **named)
        finally:
            emulator_objects._make_object_resource = _make_resource

    return copy
