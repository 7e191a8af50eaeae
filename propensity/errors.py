"""
Every error that a caller can get, with its HTTP status.

``retryable`` says whether the same request may succeed later without a person's help.
Cloud Scheduler calls again only then: it is answered 200 where it is false. Pub/Sub
delivers again whatever is not acknowledged. ``is_public`` says that the error is about
the request alone, so that anybody may read its message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

AnyError = TypeVar("AnyError", bound=Exception)

# Two servers say so of a request, each of the part that it reads.
BROKEN_BODY = "the body ends too early, or its chunks are malformed; send it again"


def without_frames(error: AnyError) -> AnyError:
    """
    Take the frames that it has passed off an error, and return it.

    Frames keep their variables in memory: a request, or what holds the error in turn,
    which then stays until the garbage collector runs. So an error that is kept, or
    given to several callers, has none.
    """
    error.__traceback__ = None
    error.__context__ = None
    return error


class PropensityError(Exception):
    """A failure whose code and message the caller gets as JSON."""

    status = 500
    code = "internal"
    retryable = False
    is_public = False
    # Whether a run waits for what may still come; its lease then has since when.
    is_waiting = False
    # HTTP headers of the response.
    headers: Mapping[str, str] = {}

    def __init_subclass__(cls, *, code: str, **facts: int) -> None:
        """Set what the head of a class says of it; all else is as in its base."""
        super().__init_subclass__()
        cls.code = code
        for name, value in facts.items():
            setattr(cls, name, value)

    def __init__(
        self,
        problem: str,
        *,
        hint: str = "",
        field: str | None = None,
        detail: object = None,
    ) -> None:
        """
        Args:
            problem: The fault, with the value.
            hint: What to do about it; a command prints it on a line of its own.
            field: The request's field at fault, where there is one.
            detail: More for the answer's body; must be JSON-serialisable.
        """
        self.problem = problem
        self.hint = hint
        self.message = f"{problem}. {hint}" if hint else problem
        super().__init__(self.message)
        self.field = field
        self.detail = detail

    def body(self) -> dict[str, object]:
        """Return the JSON body of the answer: error, message, retryable, field."""
        optional = {"field": self.field, "detail": self.detail}
        return {
            "error": self.code,
            "message": self.message,
            "retryable": self.retryable,
            **{name: value for name, value in optional.items() if value is not None},
        }


class RequestError(PropensityError, status=400, code="bad_request", is_public=True):
    """The request cannot be understood; its field is named."""


class NoSuchPath(PropensityError, status=404, code="no_such_path", is_public=True):
    """There is nothing at this path."""


class UnknownUseCase(
    PropensityError, status=404, code="unknown_use_case", is_public=True
):
    """A lookup is for a use case that there is not."""


class MethodNotAllowed(
    PropensityError, status=405, code="method_not_allowed", is_public=True
):
    """The method is not allowed at this address."""

    def __init__(self, method: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{method} is not allowed here; use {' or '.join(allowed)}")
        self.headers = {"Allow": ", ".join(allowed)}


class TooLarge(PropensityError, status=413, code="too_large", is_public=True):
    """The request's body is over the limit."""


class UnsupportedType(
    PropensityError, status=415, code="unsupported_type", is_public=True
):
    """The request's body is not declared to be JSON."""


class SettingsError(PropensityError, code="settings"):
    """A setting is missing, unknown or malformed: nothing has been done."""


class UseCaseError(PropensityError, code="use_case"):
    """The use case's own files are wrong: its TOML, its SQL or its model."""


class SchemaError(PropensityError, status=409, code="schema"):
    """A table, a preprocessor or a model does not have the expected shape."""


class NotEnoughData(PropensityError, status=422, code="not_enough_data"):
    """There is too little data, or only one class, to train on."""


class NoData(PropensityError, status=424, code="no_data"):
    """The days that a run reads have no data: the source has ended, or lost them."""


class MissingTable(PropensityError, status=424, code="missing_table"):
    """A table that the run reads does not exist (yet)."""


class NoChampion(PropensityError, status=409, code="no_champion", is_public=True):
    """No model has been promoted yet for the use case."""


class ArtifactError(PropensityError, code="artifact"):
    """An artifact is missing or its bytes are not the ones that were recorded."""


class UnknownVersion(
    PropensityError, status=404, code="unknown_version", is_public=True
):
    """There is no record of this version."""


class ScoreShift(PropensityError, status=409, code="score_shift"):
    """The scores jumped beyond the bound since the last run; nothing was published."""


class RunInProgress(
    PropensityError, status=409, code="run_in_progress", retryable=True
):
    """The same run is under way elsewhere; its lease has not expired."""


class Conflict(PropensityError, status=409, code="conflict", retryable=True):
    """Another writer changed the object since it was read (compare-and-set lost)."""


class Unavailable(PropensityError, status=503, code="unavailable", retryable=True):
    """A service that the run needs failed or was too slow; trying again may help."""


class QuotaExceeded(Unavailable, code="quota_exceeded"):
    """A quota of BigQuery is used up; it is renewed, or a person raises it."""


class ExportLate(Unavailable, code="export_late", is_waiting=True):
    """Days of the export that the run would read are not there yet; they may come."""

    def __init__(
        self, problem: str, *, hint: str = "", retry_after_s: int, detail: object
    ) -> None:
        super().__init__(problem, hint=hint, detail=detail)
        self.headers = {"Retry-After": str(retry_after_s)}


class DigestUnfinished(Unavailable, code="digest_unfinished"):
    """More days of the export are new than a run has time to read; the next goes on."""

    headers: Mapping[str, str] = {"Retry-After": "1"}


class DigestNotAgreed(PropensityError, status=409, code="digest_not_agreed"):
    """A first or repeated reading of the export costs much, and nobody has agreed."""


class AudienceWaits(Unavailable, code="audience_waits", is_waiting=True):
    """An audience's predictions of the week are not there yet; they may come."""


class AudienceStopped(PropensityError, status=409, code="audience_stopped"):
    """An audience was not sent: a person must look at it first."""


class SendingStopped(PropensityError, status=409, code="sending_stopped"):
    """A person has stopped an audience, or the deployment sends nothing."""


class AccessDenied(PropensityError, code="access_denied"):
    """The function's account lacks a right; the message names it, and on what."""


class QueryTooExpensive(PropensityError, code="query_too_expensive"):
    """A query would scan more than ``maximum_bytes_billed``; it was not run."""
