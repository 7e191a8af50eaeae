"""
04-StreamFeatures: events in at least once, features out exactly once.

    events --> stream_features --> stream_events, enriched --> score_stream --> scores
                             '--> truth_events           '--> archive_events

Request   a push of Pub/Sub, as a CloudEvent or plain: stream_features (topic events),
          score_stream and archive_events (topic enriched); POST: compact_features
Reads     postcode_index, stream_events, stream_users, the champion (verified)
Writes    stream_events, truth_events, dead_letters, inference_log,
          stream_features_daily, stream_users, the view stream_features, Parquet in the
          bucket, the topics enriched and scores
Answers   200 done, or a dead letter; 400, 413 no push; 409 the compaction is under way;
          503 deliver again, or run again to go on
"""

from functools import cache

import functions_framework
import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from propensity.clock import SYSTEM
from propensity.edges.asgi import answers_pushes
from propensity.runs import ages, compaction
from propensity.runs.endpoint import Answer, Run, run
from propensity.settings import Settings
from propensity.stream.archive import ArchiveEvents
from propensity.stream.consumers import Consumer, Edges
from propensity.stream.ingest import StreamFeatures
from propensity.stream.score import ScoreStream
from propensity.waiting.threads import DaemonThreads


@cache
def consumer(kind: type[Consumer]) -> Consumer:
    """Open the clients on the first request; a warm instance keeps them."""
    settings = Settings.from_environment()
    return kind(Edges.open(settings, clock=SYSTEM, threads=DaemonThreads()))


@functions_framework.aio.http
@answers_pushes("streamFeatures")
async def stream_features(request: Request) -> Response:
    return await consumer(StreamFeatures).take(request)


@functions_framework.aio.http
@answers_pushes("scoreStream")
async def score_stream(request: Request) -> Response:
    return await consumer(ScoreStream).take(request)


@functions_framework.aio.http
@answers_pushes("archiveEvents")
async def archive_events(request: Request) -> Response:
    return await consumer(ArchiveEvents).take(request)


@functions_framework.http
@run("compactFeatures", kind="compact", once=False, scope="stream")
def compact_features(current: Run) -> Answer:
    """Bring tiles and exports up to date, and log the ages of what is published."""
    return ages.logged(current, compaction.compact(current))
