"""
02-GetProba: the newest probability of one user, or of up to a thousand.

    user_id --> cache, or one query for all that wait --> probability and its date

Request   GET /?user_id=U[&use_case=C], or POST / {"user_ids": [...], "use_case": C}
Reads     ma_predictions_table (BigQuery)
Writes    nothing
Answers   200 the prediction(s); 404 no such user, or path; 400, 413, 415 unreadable
          request; 405 method; 424 no predictions yet; 503 try again
"""

import gc
from datetime import UTC, datetime
from functools import cache

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from propensity import lookup
from propensity.settings import Settings


@cache
def lookups() -> lookup.Lookups:
    """Open the client on the first request; a warm instance keeps it and its cache."""
    opened = lookup.Lookups.open(Settings.from_environment())
    # All that is loaded by now stays; garbage collection that walks through it again
    # and again would halt every request for tens of milliseconds.
    gc.freeze()
    return opened


@functions_framework.aio.http
@lookup.answers_json
async def get_proba(request: Request) -> Response:
    question = await lookup.question(request)
    today = datetime.now(UTC).date()
    return await lookups().answer(question, today=today)
