"""Secret Manager: the secrets of receivers of users."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials

from propensity.errors import SettingsError
from propensity.gcp.clients import SECRETS, stand_in, translated
from propensity.settings import Settings


def reader(settings: Settings) -> Callable[[str], str]:
    """
    Return what reads the newest value of a secret, by its name in a destination's file.

    The deployment's prefix comes before that name, so that two deployments in one
    project have secrets of their own.
    """

    def read(name: str) -> str:
        secret = settings.prefixed(name)
        path = f"projects/{settings.project}/secrets/{secret}/versions/latest"
        how = f"printf %s VALUE | gcloud secrets versions add {secret} --data-file=-"
        if settings.secrets_endpoint:
            how = f"write it to the file secrets/{secret} of the state, such as "
            how += f".local/states/demo/secrets/{secret}"
        missing = SettingsError(
            f"there is no secret {secret} with a value in Secret Manager, and the "
            "destination's file names it",
            hint=f"Add it: {how}",
            field=name,
        )
        with translated(settings, SECRETS, on=f"the secret {secret}"):
            try:
                answer = open_secrets(settings.secrets_endpoint).access_secret_version(
                    name=path, timeout=float(settings.deadline_s)
                )
            except (api.NotFound, api.FailedPrecondition):
                raise missing from None
        data: bytes = answer.payload.data
        # Editors of Windows begin a file with a byte order mark.
        value = data.decode("utf-8-sig", errors="replace").strip()
        if value:
            return value
        raise missing

    return read


@cache
def open_secrets(endpoint: str) -> Any:
    """Open the client of Secret Manager; a process keeps it."""
    # Most functions send nothing to receivers, and need not load it.
    from google.cloud.secretmanager import SecretManagerServiceClient

    standing_in = stand_in(SecretManagerServiceClient, endpoint)
    if standing_in is not None:
        return standing_in
    return SecretManagerServiceClient(
        transport="rest",
        credentials=AnonymousCredentials() if endpoint else None,
        client_options={"api_endpoint": endpoint} if endpoint else None,
    )
