"""
Settings of functions-framework's server, and of Python, for an instance.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import gc
import os

# gunicorn closes a connection that was idle for 2 s, and a request that is under way
# just then is lost. Google's proxies keep theirs for 600 s and close them first:
# https://cloud.google.com/load-balancing/docs/https#timeouts_and_retries
KEEP_ALIVE_S = 620


def keep_connections() -> None:
    """Keep idle connections of an asynchronous function for longer than callers do."""
    from uvicorn_worker import UvicornWorker

    UvicornWorker.CONFIG_KWARGS |= {"timeout_keep_alive": KEEP_ALIVE_S}


def keep_modules() -> None:
    """
    Look for garbage among new objects only, and less often; once the clients are open.

    With Python's defaults the collector walks through all modules again and again while
    hundreds of requests wait: half of the processor time of a push.
    """
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def disable_worker_timeout() -> None:
    """
    Never let gunicorn abort a worker that gives no sign of life.

    An instance has no processor between requests, so an idle one gives none: the
    worker, and the request that ends the pause, would be lost. Cloud Run ends requests
    that take too long itself. The framework reads the variable after ``main.py``:
    https://github.com/GoogleCloudPlatform/python-docs-samples/pull/3229
    """
    os.environ.pop("CLOUD_RUN_TIMEOUT_SECONDS", None)
