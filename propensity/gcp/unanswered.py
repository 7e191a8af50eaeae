"""
Errors of a service that did not answer: why, where it was asked, and what to do.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

from collections.abc import Iterator

from propensity.errors import Unavailable

# What gRPC says of it, which has no error of the system to look at.
_REFUSED = "Connection refused"

# google-auth's error, by its name: its import takes too long here. A function gets it
# while the metadata server does not answer.
_NO_TOKEN = "RefreshError"


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
    if _NO_TOKEN in {kind.__name__ for kind in type(error).__mro__}:
        text = str(error).partition("\n")[0][:300]
        return Unavailable(
            f"{service} was not asked: the account got no token ({text}). A person "
            "gets one by `gcloud auth application-default login`"
        )
    message = f"{service} did not answer in time: {reason}"
    place = f"The emulator at {emulator} was asked, and not Google"
    if any(_is_refusal(cause) for cause in _causes_of(error)):
        message = f"{service} did not answer: the connection was refused"
        place = f"Nothing listens at {emulator}, which was asked, and not Google"
    if emulator:
        message += (
            f". {place}: `make status` says what is up on this machine, `make up` "
            "starts it"
        )
    return Unavailable(message)


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, ConnectionRefusedError) or _REFUSED in str(error)


def _causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that led to it, each once."""
    waiting, seen = [error], set[int]()
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        causes = (
            getattr(current, "cause", None),
            current.__cause__,
            current.__context__,
            *current.args,
        )
        waiting += [cause for cause in causes if isinstance(cause, BaseException)]
