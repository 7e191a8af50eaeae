"""
score of 02-GetProba: a score of features, or of a user, at once.

    features --> one model call for all waiting requests --> score, its version

Request   POST, of features, instances or a user
Reads     the champion (verified), events on the stream
Writes    inference_log, behind the answer
Answers   200; 400 to 424 the request, or something is missing; 503 try again
"""

from functools import cache

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from propensity.clock import SYSTEM
from propensity.gcp.asgi import json_errors
from propensity.gcp.http import Callers
from propensity.settings import Settings
from propensity.streaming.scores.score import Online


@cache
def online() -> Online:
    """Open the clients on the first score."""
    return Online(Settings.from_environment(), SYSTEM)


@functions_framework.aio.http
@json_errors("score", Callers.PUBLIC)
async def score(request: Request) -> Response:
    return await online().take(request)
