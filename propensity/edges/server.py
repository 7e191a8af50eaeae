"""
functions-framework's server in an instance that has no processor between requests.

gunicorn aborts a worker that gives no sign of life for the time that the framework
reads from CLOUD_RUN_TIMEOUT_SECONDS, and an idle instance gives none: the worker, and
the request that ends the pause, would be lost. Cloud Run ends requests that take too
long itself; 0 leaves that to it:
https://github.com/GoogleCloudPlatform/python-docs-samples/pull/3229

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import os


def disable_worker_timeout() -> None:
    """Take the time away, before the framework reads it: while ``main.py`` loads."""
    os.environ.pop("CLOUD_RUN_TIMEOUT_SECONDS", None)
