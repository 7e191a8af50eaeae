"""
04-StreamFeatures: events in at least once, enriched rows out; ``score_stream.py`` and
``compact_features.py`` are beside it.

    events --> stream_features --> stream_events, topic enriched --> score_stream
                             '--> truth_events

Request   a push of Pub/Sub from topic events
Reads     postcode_index, suppressed users
Writes    stream_events, truth_events, dead_letters, topic enriched
Answers   200 done, or a dead letter; 400, 413 not a push; 503 deliver again
"""

from functools import cache

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from propensity.clock import SYSTEM
from propensity.gcp.asgi import json_errors
from propensity.gcp.http import Callers
from propensity.settings import Settings, target_here
from propensity.streaming.features.consumer import Clients, StreamFeatures

# A push does without what the others import.
if target_here() == "score_stream":
    from score_stream import score_stream  # noqa: F401
elif target_here() == "compact_features":
    from compact_features import compact_features  # noqa: F401


@cache
def consumer() -> StreamFeatures:
    """Open the clients on the first request; a warm instance keeps them."""
    return StreamFeatures(Clients.open(Settings.from_environment(), SYSTEM))


@functions_framework.aio.http
@json_errors("streamFeatures", Callers.PUSHES)
async def stream_features(request: Request) -> Response:
    return await consumer().take(request)
