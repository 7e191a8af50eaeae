"""
02-GetProba: the newest probability of a user, at once. ``score.py`` is beside it.

    user_id --> index, or one query for all waiting users --> probability, its date

Request   GET /?user_id=U[&use_case=C] or POST {"user_ids": [...]}
Reads     the index and suppressed users (bucket), or their tables
Answers   200; 400 to 424 the request, or something is missing; 503 try again
"""

from functools import cache

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from propensity.clock import SYSTEM
from propensity.gcp.asgi import freeze_gc, json_errors
from propensity.gcp.http import Callers
from propensity.online.indexes import FUNCTION
from propensity.online.lookup import Lookups, read_question
from propensity.settings import Settings, target_here

if target_here() == "score":
    # Seconds of imports, before the instance listens; lookups do without them.
    from score import score  # noqa: F401


@cache
def lookups() -> Lookups:
    """Open the clients on the first request; a warm instance keeps what they read."""
    freeze_gc()
    return Lookups.open(Settings.from_environment(), SYSTEM)


@functions_framework.aio.http
@json_errors(FUNCTION, Callers.PUBLIC)
async def get_proba(request: Request) -> Response:
    question = await read_question(request)
    return await lookups().answer(question, today=SYSTEM.now().date())
