"""
Errors of a service that did not answer: why, where it was asked, and what to do.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

from propensity.errors import Unavailable


def unanswered(service: str, error: Exception, *, emulator: str = "") -> Unavailable:
    """
    Return the error for a call without an answer.

    Args:
        service: Its name, such as BigQuery.
        error: Of the client. Where it gave up repeating, the last failure is named.
        emulator: Who was asked in Google's place, by ``Settings.emulator``; empty where
            it was Google.
    """
    last = getattr(error, "cause", None)
    reason = type(last if isinstance(last, Exception) else error).__name__
    message = f"{service} did not answer in time: {reason}"
    if emulator:
        message += (
            f". The emulator at {emulator} was asked, and not Google: "
            "`make status` says what is up on this machine, `make up` starts it"
        )
    return Unavailable(message)
