"""
02-GetProba: the newest probability of a user, or a score of features, at once.

    user_id  --> index, or one query for all waiting users --> probability, its date
    features --> one model call for all waiting requests   --> score, its version

Request   GET /?user_id=U[&use_case=C] or POST {"user_ids": [...]}; score: POST
Reads     the index (bucket), or ma_predictions_table; score: champion, events
Writes    inference_log, by score, behind the answer
Answers   200; 400 to 424 the request, or what is missing; 503 try again
"""

from functools import cache
from typing import TYPE_CHECKING

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from propensity.clock import SYSTEM
from propensity.gcp.http import answers_failures, keep_modules
from propensity.online.lookup import FAILURES, FUNCTION, Lookups, read_question
from propensity.settings import Settings, target_here

if TYPE_CHECKING or target_here() == "score":
    # Seconds of imports, before the instance listens; lookups do without them.
    from propensity.online.score import Online


@cache
def lookups() -> Lookups:
    """Open the clients on the first request; a warm instance keeps what they read."""
    keep_modules()
    return Lookups.open(Settings.from_environment(), SYSTEM)


@functions_framework.aio.http
@answers_failures(FUNCTION, FAILURES)
async def get_proba(request: Request) -> Response:
    question = await read_question(request)
    return await lookups().answer(question, today=SYSTEM.now().date())


@cache
def online() -> "Online":
    """Open the clients on the first score."""
    return Online.open(Settings.from_environment(), SYSTEM)


@functions_framework.aio.http
@answers_failures("score")
async def score(request: Request) -> Response:
    return await online().take(request)
