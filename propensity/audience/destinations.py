"""
The destination of ``--to``: the bucket, or a TOML file of an endpoint or of Analytics.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from propensity.audience.delivery import ADD, Destination, Request
from propensity.audience.ga4 import Ga4, Ga4File
from propensity.audience.http import Http, HttpFile, concealed, filled
from propensity.entries import explained
from propensity.errors import RequestError, SettingsError
from propensity.gcp.artifacts import Artifacts
from propensity.registry.deployment import Deployment
from propensity.registry.objects import parquet_of
from propensity.statements import ENCODING

# The name of the destination that needs no file.
BUCKET = "bucket"
VARIABLE = re.compile(r"\$\{(\w+)\}")


def opened(
    to: str,
    deployment: Deployment,
    *,
    audience: str,
    environment: Mapping[str, str],
) -> Destination:
    """
    Open a destination.

    Args:
        to: ``bucket``, or the path of a TOML file, in which ``${NAME}`` stands for a
            variable of the environment: no secret is in the file.

    Raises:
        RequestError: The file is wrong; the message says where.
        SettingsError: A variable that it names is not set.
    """
    if to == BUCKET:
        return Bucket(deployment.artifacts)
    variables: dict[str, str] = {}
    template: dict[str, Any] = {}
    try:
        text = Path(to).read_text(ENCODING)
        for name in VARIABLE.findall(text):
            if not environment.get(name):
                raise SettingsError(
                    f"{to} needs the environment variable {name}, which is not set",
                    hint=f"export {name}=...",
                    field=name,
                )
            variables[f"${name}"] = environment[name]
        template = tomllib.loads(text)
        if template.get("kind") != "ga4":
            return Http(msgspec.convert(template, HttpFile), variables)
        template = filled({"property": audience, **template}, variables)
        file = msgspec.convert(template, Ga4File)
    except (OSError, ValueError) as error:
        kind = Ga4File if template.get("kind") == "ga4" else HttpFile
        if isinstance(error, OSError):
            problem = "no such file can be read"
        else:
            problem = explained(error, template, kind)
        raise RequestError(
            f"{to}: {concealed(problem, variables.values())}",
            hint=f"Use {BUCKET}, or a TOML file with the entries of docs/audiences.md",
            field="to",
        ) from None
    chosen = deployment.use_case.chosen(deployment.settings)
    if (column := chosen.get("user_column")) != "user_pseudo_id":
        raise RequestError(
            f"users of {deployment.use_case.name} are not browsers of Analytics "
            f"(PROPENSITY_USER_COLUMN is {column!r}, not 'user_pseudo_id')",
            field="to",
        )
    return Ga4(file)


class Bucket:
    """
    Parquet files: ``audiences/<use case>/<audience>/<as of>/<key>.parquet``.

    A file has treated users only, and is written once: a delivery that is repeated
    finds its own bytes. ``propensity forget`` removes users from it.
    """

    name = BUCKET
    batch = 100_000
    actions: Sequence[str] = (ADD,)

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def send(self, request: Request) -> Mapping[str, str]:
        """Write a file."""
        of = request.audience
        rows = [
            {
                "user_id": member.user_id,
                "probability": member.probability,
                "audience": of.name,
                "as_of": of.as_of,
            }
            for member in request.members
        ]
        folder = f"audiences/{of.use_case}/{of.name}/{of.as_of}"
        self._artifacts.create(
            f"{folder}/{request.key}.parquet",
            parquet_of(pa.Table.from_pylist(rows)),
        )
        return {}
