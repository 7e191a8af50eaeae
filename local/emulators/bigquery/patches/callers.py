"""Requests without a look at who asks, for the rights of rows."""

from __future__ import annotations

from typing import Any

# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.app": ('@app.middleware("http")',),
}


def ask_for_nobody(app: Any) -> None:
    """Take out the middleware, which takes a fifth of a request's time."""
    from starlette.middleware.base import BaseHTTPMiddleware

    app.user_middleware = [
        middleware
        for middleware in app.user_middleware
        if middleware.cls is not BaseHTTPMiddleware
    ]
