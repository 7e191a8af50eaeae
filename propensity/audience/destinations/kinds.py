"""
Where an audience goes: files in the bucket, or what its file describes.

That file is ``destinations/NAME.toml``; its ``kind`` says which module reads it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from propensity.audience.declared import BUCKET, CSV, FILES, DeclaredAudience
from propensity.audience.destinations.destination import (
    REMOVE,
    Destination,
    DestinationFile,
    Request,
    Sent,
)
from propensity.audience.destinations.files import CsvFiles, ParquetFiles
from propensity.audience.destinations.google import GoogleFile
from propensity.audience.destinations.http import HttpFile
from propensity.audience.destinations.values import concealed, secrets_in
from propensity.clock import SYSTEM, Clock
from propensity.entries import explain
from propensity.errors import UseCaseError
from propensity.registry.deployment import Deployment
from propensity.statements import read_text

# The files of receivers, by their kind.
KINDS: Mapping[object, type[DestinationFile]] = {"http": HttpFile, "google": GoogleFile}
# Returns the value of a secret by its name, or raises SettingsError.
Secret = Callable[[str], str]


def opened(
    named: DeclaredAudience,
    deployment: Deployment,
    secret: Secret,
    *,
    columns: Sequence[str] = (),
    clock: Clock = SYSTEM,
) -> Destination:
    """
    Open the destination of an audience; files where the deployment sends to nobody.

    Args:
        columns: Names of the members' further columns, which a file may name.
    """
    if named.declared.destination == CSV:
        return CsvFiles(deployment.artifacts)
    # Who sends to nobody still has the files, by which an audience can be looked at.
    if named.declared.destination == BUCKET or deployment.settings.sends == "no":
        return ParquetFiles(deployment.artifacts)
    folder = named.folder / "destinations"
    file = f"{named.declared.destination}.toml"
    variables: dict[str, str] = {}
    entries: Mapping[str, object] = {}
    kind: type[DestinationFile] = HttpFile
    try:
        if not (folder / file).is_file():
            raise FileNotFoundError
        template = tomllib.loads(read_text(folder, file))
        kind = kind_of(template)
        variables = {f"${name}": secret(name) for name in secrets_in(template)}
        entries = kind.entries(template, variables, named.name)
        chosen = msgspec.convert(entries, kind)
        return chosen.opened(deployment, variables, columns=columns, clock=clock)
    except (OSError, ValueError) as error:
        reason = "there is no such file"
        if isinstance(error, ValueError):
            reason = explain(error, entries, kind)
        raise UseCaseError(
            f"audiences/destinations/{file}: {concealed(reason, variables.values())}. "
            "docs/destinations.md has the entries of such a file; the destinations "
            f"{' and '.join(map(repr, FILES))} need none"
        ) from None


def kind_of(template: Mapping[str, object]) -> type[DestinationFile]:
    """Return what reads a file, by its kind; of an unknown one HttpFile tells."""
    return KINDS.get(template.get("kind"), HttpFile)


class ByHand(Destination):
    """A person, who has removed the users."""

    batch = 100_000
    actions: Sequence[str] = (REMOVE,)

    def __init__(self, name: str) -> None:
        self.name = name

    def send(self, request: Request) -> Sent:
        """Do nothing: it is done."""
        return Sent()
