"""The destination of a file, or of the bucket."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from offline.audience.destinations import bucket, http
from offline.audience.destinations.base import Destination
from offline.audience.posting import Poster
from offline.promote import Deployment
from offline.replay.sending import Stop
from propensity.errors import RequestError

KINDS = ("http",)


def opened(text: str, deployment: Deployment, stop: Stop) -> Destination:
    """
    Open a destination.

    Args:
        text: ``bucket``, or the path of a TOML file.
        deployment: Whose bucket.
        stop: Ctrl-C.

    Raises:
        RequestError: The file is wrong; the message says where.
        SettingsError: A variable that it names is not set.
    """
    if text == bucket.NAME:
        return bucket.Bucket(deployment.artifacts)
    template = _read(Path(text))

    def poster(rate: float) -> Poster:
        return Poster(stop, rate=rate)

    if template.get("kind") == "http":
        return http.Http(template, poster=poster)
    raise RequestError(
        f"{text}: kind is {template.get('kind')!r}; known are {', '.join(KINDS)}",
        field="kind",
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RequestError(
            f"a destination is {bucket.NAME!r} or a TOML file, and {path} cannot be "
            f"read: {error.strerror}",
            field="to",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{path} is no TOML: {error}", field="to") from error
