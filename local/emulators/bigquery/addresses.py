"""
A second address of the REST API: without ``/bigquery/v2``.

Google's client for Node takes ``BIGQUERY_EMULATOR_HOST`` for the whole of its base, and
asks at ``/projects/...``; the one for Python puts ``/bigquery/v2`` behind it.
"""

from __future__ import annotations

from typing import Any

_SHORT = "/projects/"


class Addresses:
    """An ASGI application that serves what is asked without the prefix as with it."""

    def __init__(self, app: Any, prefix: str) -> None:
        """
        Args:
            app: Serves the API behind the prefix.
            prefix: Such as ``/bigquery/v2``.
        """
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"].startswith(_SHORT):
            raw = scope.get("raw_path") or scope["path"].encode()
            scope = {
                **scope,
                "path": self._prefix + scope["path"],
                "raw_path": self._prefix.encode() + raw,
            }
        await self._app(scope, receive, send)
