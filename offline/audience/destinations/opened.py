"""The destination of a file, or of the bucket."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from offline.audience.destinations import bucket, ga4, http
from offline.audience.destinations.base import Destination
from offline.audience.destinations.templates import values_of
from offline.audience.pace import Stop
from offline.audience.posting import Poster
from offline.promote import Deployment
from propensity.clock import SYSTEM
from propensity.errors import RequestError
from propensity.statements import ENCODING

KINDS = ("http", "ga4", "ga4-file")

# The largest file of a destination: a person writes it.
_MOST_BYTES = 1_000_000


def opened(
    text: str, deployment: Deployment, stop: Stop, *, audience: str
) -> Destination:
    """
    Open a destination.

    Args:
        text: ``bucket``, or the path of a TOML file.

    Raises:
        RequestError: The file is wrong; the message says where.
        SettingsError: A variable that it names is not set.
    """
    if text == bucket.NAME:
        return bucket.Bucket(deployment.artifacts)
    template = _read(Path(text))

    def poster(rate: float, at_once: int) -> Poster:
        hidden = values_of(template, os.environ)
        return Poster(stop, rate=rate, at_once=at_once, hidden=hidden)

    kind = template.get("kind")
    if kind in ("ga4", "ga4-file"):
        _check_user(deployment)
    if kind == "ga4":
        return ga4.MeasurementProtocol(
            template, audience=audience, poster=poster, now=SYSTEM.now
        )
    if kind == "ga4-file":
        return ga4.ImportFile(template, audience=audience)
    if kind == "http":
        return http.Http(template, poster=poster)
    raise RequestError(
        f"{text}: kind is {template.get('kind')!r}; known are {', '.join(KINDS)}",
        field="kind",
    )


def _check_user(deployment: Deployment) -> None:
    """Raise RequestError unless users are browsers: Analytics knows these."""
    chosen = deployment.use_case.chosen(deployment.settings)
    if (column := chosen.get("user_column")) != "user_pseudo_id":
        raise RequestError(
            f"users of {deployment.use_case.name} are not browsers of Analytics "
            f"(PROPENSITY_USER_COLUMN is {column!r}, not 'user_pseudo_id')",
            field="to",
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        # From a pipe it may come as well; from a device without an end it would not.
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise RequestError(
                f"{path} is no destination: these have {_MOST_BYTES:,} bytes at most",
                field="to",
            )
        return tomllib.loads(data.decode(ENCODING))
    except OSError as error:
        raise RequestError(
            f"a destination is {bucket.NAME!r} or a TOML file, and {path} cannot be "
            f"read: {error.strerror}",
            field="to",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} is not valid TOML: {error}", field="to") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"{path} has a number of thousands of digits, or is nested thousands deep",
            field="to",
        ) from error
