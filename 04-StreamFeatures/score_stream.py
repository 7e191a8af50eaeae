"""
score_stream of 04-StreamFeatures: enriched events to scores.

    topic enriched --> the live version --> inference_log --> topic scores

Request   a push of Pub/Sub from topic enriched
Reads     the champion (verified), stream_events, stream_features_daily
Writes    inference_log, dead_letters, topic scores
Answers   200 done, or a dead letter; 400, 413 not a push; 503 deliver again
"""

from functools import cache

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from propensity.clock import SYSTEM
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.asgi import json_errors
from propensity.gcp.http import Callers
from propensity.settings import Settings
from propensity.streaming.features.consumer import Clients
from propensity.streaming.scores.score_stream import ScoreStream


@cache
def consumer() -> ScoreStream:
    """Open the clients on the first request; a warm instance keeps them."""
    settings = Settings.from_environment()
    return ScoreStream(Clients.open(settings, SYSTEM), Artifacts.open(settings))


@functions_framework.aio.http
@json_errors("scoreStream", Callers.PUSHES)
async def score_stream(request: Request) -> Response:
    return await consumer().take(request)
