"""
The destination of an audience: the bucket, or ``destinations/NAME.toml``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence

import msgspec
import pyarrow as pa

from propensity.audience.declared import SECRET, Named
from propensity.audience.delivery import Destination, Request
from propensity.audience.google import ANALYTICS, Google, GoogleFile
from propensity.audience.http import Http, HttpFile, concealed, filled
from propensity.entries import explained
from propensity.errors import RequestError, UseCaseError
from propensity.gcp.artifacts import Artifacts
from propensity.registry.deployment import Deployment
from propensity.registry.versions import parquet_of
from propensity.statements import read

# The name of the destination that needs no file.
BUCKET = "bucket"
# Returns the value of a secret by its name, or raises SettingsError.
Secret = Callable[[str], str]


def opened(
    named: Named, deployment: Deployment, secret: Secret, *, columns: Sequence[str] = ()
) -> Destination:
    """
    Open the destination of an audience.

    Args:
        secret: Gives what ``${NAME}`` in a file stands for: no secret is in the file.
        columns: Names of the members' further columns, which a file may name.

    Raises:
        UseCaseError: The file is missing or wrong; the message says where.
        RequestError: Analytics does not know these users.
        SettingsError: There is no secret of a name.
    """
    if named.declared.destination == BUCKET:
        return Bucket(deployment.artifacts)
    folder, file = named.folder / "destinations", f"{named.declared.destination}.toml"
    variables: dict[str, str] = {}
    template: dict[str, object] = {}
    try:
        text = read(folder, file)
        variables = {f"${name}": secret(name) for name in SECRET.findall(text)}
        template = tomllib.loads(text)
        if template.get("kind") != "google":
            chosen = msgspec.convert(template, HttpFile)
            return Http(chosen, variables, columns=columns)
        template = filled({"property": named.name, **template}, variables)
        google = msgspec.convert(template, GoogleFile)
        # Google's client takes a second to import.
        from propensity.gcp.data_manager import DataManager

        destination = Google(google, DataManager(google.url), columns=columns)
    except (OSError, ValueError) as error:
        kind = GoogleFile if template.get("kind") == "google" else HttpFile
        said = "there is no such file"
        if isinstance(error, ValueError):
            said = explained(error, template, kind)
        raise UseCaseError(
            f"audiences/destinations/{file}: {concealed(said, variables.values())}. "
            f"docs/destinations.md has the entries of such a file; the destination "
            f"{BUCKET!r} needs none"
        ) from None
    column = deployment.use_case.chosen(deployment.settings).get("user_column")
    if google.account_type == ANALYTICS and column != "user_pseudo_id":
        raise RequestError(
            f"users of {deployment.use_case.name} are not browsers of Analytics "
            f"(PROPENSITY_USER_COLUMN is {column!r}, not 'user_pseudo_id')",
            field="destination",
        )
    return destination


class Bucket(Destination):
    """
    Parquet files: ``audiences/<use case>/<audience>/<as of>/<key>.parquet``.

    A file has treated users only, and is written once: a delivery that is repeated
    finds its own bytes. ``propensity forget`` removes users from it.
    """

    name = BUCKET
    batch = 100_000

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def send(self, request: Request) -> Mapping[str, str]:
        """Write a file."""
        of = request.audience
        same = {"audience": of.name, "as_of": of.as_of}
        rows = [{**member.values, **same} for member in request.members]
        folder = f"audiences/{of.use_case}/{of.name}/{of.as_of}"
        self._artifacts.create(
            f"{folder}/{request.key}.parquet",
            parquet_of(pa.Table.from_pylist(rows)),
        )
        return {}
