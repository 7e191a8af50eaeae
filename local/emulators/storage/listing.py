"""
Lists of objects in pages, from one name to another.

``gcp-storage-emulator`` returns all objects at once, whatever ``maxResults``,
``pageToken``, ``startOffset``, ``endOffset`` and ``includeTrailingDelimiter`` say: a
reader of a few names would take all of them for those it has asked for.

Source: cloud.google.com/storage/docs/json_api/v1/objects/list.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from gcp_storage_emulator.exceptions import BadRequest, NotFound

from local.emulators.storage.store import InvalidError, NotEnforcedError, Store

# Of objects and folders; more are never in one page.
PAGE = 1000
# In the place of a generation; below those of objects, which are above 0.
FOLDER = -1


def ls(request: Any, response: Any, storage: Store, *_: Any, **__: Any) -> None:
    """
    Answer a page of the objects of a bucket, and of the folders among them.

    Raises:
        InvalidError: The size of a page or its token makes no sense.
        NotEnforcedError: Deleted objects are asked for, and none are kept.
    """
    options = {name: values[0] for name, values in request.query.items()}
    if options.get("softDeleted", "false").lower() not in ("false", "0", "no"):
        raise NotEnforcedError("the local emulator keeps no soft-deleted objects")
    most, after = _size(options.get("maxResults")), _token(options.get("pageToken"))
    try:
        entries = _entries(storage, request.params["bucket_name"], options)
    except NotFound:
        response.status = HTTPStatus.NOT_FOUND
        return
    except BadRequest as error:
        raise InvalidError(str(error)) from error
    left = sorted(key for key in entries if key > after)
    page = left[:most]
    answer: dict[str, Any] = {
        "kind": "storage#objects",
        "prefixes": [key[0] for key in page if key[1] == FOLDER],
        "items": [entries[key] for key in page if key[1] != FOLDER],
    }
    if len(left) > len(page):
        answer["nextPageToken"] = _token_of(page[-1])
    response.json(answer)


def _entries(
    storage: Store, bucket: str, options: Mapping[str, str]
) -> dict[tuple[str, int], Any]:
    """Return what is asked for, by name and generation; of a folder that is FOLDER."""
    prefix, glob = options.get("prefix"), options.get("matchGlob")
    delimiter = options.get("delimiter")
    if glob is not None and delimiter not in (None, "", "/"):
        raise BadRequest("with matchGlob the only delimiter is /")
    resources, _ = storage.get_file_list(bucket, prefix, None, glob)
    first, end = options.get("startOffset", ""), options.get("endOffset")
    objects = [
        (resource["name"], resource)
        for resource in resources
        if resource["name"] >= first and (not end or resource["name"] < end)
    ]
    folders: set[str] = set()
    if delimiter:
        chosen, folders = storage._apply_list_delimiter(
            objects, prefix, delimiter, glob
        )
        if options.get("includeTrailingDelimiter", "").lower() == "true":
            chosen += [resource for name, resource in objects if name in folders]
        objects = [(resource["name"], resource) for resource in chosen]
    entries = {(name, int(each["generation"])): each for name, each in objects}
    return entries | dict.fromkeys(((name, FOLDER) for name in folders), None)


def _size(text: str | None) -> int:
    if text is None:
        return PAGE
    if not text.isdecimal() or not int(text):
        raise InvalidError(f"maxResults is {text}, not a whole number above 0")
    return min(PAGE, int(text))


def _token_of(last: tuple[str, int]) -> str:
    name, generation = last
    return base64.urlsafe_b64encode(f"{generation} {name}".encode()).decode()


def _token(text: str | None) -> tuple[str, int]:
    """Return the last name and generation of the page before."""
    if not text:
        return "", FOLDER
    try:
        generation, _, name = base64.urlsafe_b64decode(text).decode().partition(" ")
        return name, int(generation)
    except (binascii.Error, ValueError) as error:
        raise InvalidError("pageToken is none that this emulator gave") from error
