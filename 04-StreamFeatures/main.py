"""
04-StreamFeatures: events in at least once, features out exactly once.

    events --> stream_features --> stream_events, enriched --> score_stream --> scores
                             '--> truth_events

Request   a push of Pub/Sub from topic events or enriched; compact_features: a POST
Reads     postcode_index, stream_events, stream_features_daily, the champion (verified)
Writes    stream_events, truth_events, dead_letters, inference_log, Parquet,
          stream_features_daily, stream_compactions, topics enriched and scores
Answers   200 done, or a dead letter; 400, 413 not a push; 409 a compaction is running;
          503 deliver or run again
"""

from functools import cache

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from propensity.clock import SYSTEM
from propensity.gcp.http import answers_pushes
from propensity.runs import ages, compact
from propensity.runs.run import Answer, Run, run
from propensity.settings import Settings
from propensity.stream.consumer import Clients, Consumer
from propensity.stream.ingest import StreamFeatures
from propensity.stream.score import ScoreStream


@cache
def consumer(kind: type[Consumer]) -> Consumer:
    """Open the clients on the first request; a warm instance keeps them."""
    settings = Settings.from_environment()
    return kind(Clients.open(settings, SYSTEM))


@functions_framework.aio.http
@answers_pushes("streamFeatures")
async def stream_features(request: Request) -> Response:
    return await consumer(StreamFeatures).take(request)


@functions_framework.aio.http
@answers_pushes("scoreStream")
async def score_stream(request: Request) -> Response:
    return await consumer(ScoreStream).take(request)


@functions_framework.http
@run("compactFeatures", kind="compact", once=False, clock=SYSTEM, scope="stream")
def compact_features(current: Run) -> Answer:
    """Bring daily sums and exports up to date, and log the ages of published tables."""
    return ages.log(current, compact.compact(current))
