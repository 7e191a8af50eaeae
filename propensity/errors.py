"""
Every error that a caller can get, with its HTTP status.

``retryable`` says whether the same request may succeed later without a person's help.
Cloud Scheduler calls again only then: it is answered 200 where it is false. Pub/Sub
delivers again whatever is not acknowledged. ``is_public`` says that the error is about
the request alone, so that anybody may read its message.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class PropensityError(Exception):
    """A failure whose code and message the caller gets as JSON."""

    status = 500
    code = "internal"
    retryable = False
    is_public = False
    # Whether a run waits for what may still come; its lease then has since when.
    is_waiting = False
    # HTTP headers of the response.
    headers: Mapping[str, str] = MappingProxyType({})

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
        self.problem, self.hint = problem, hint
        self.message = f"{problem}. {hint}" if hint else problem
        super().__init__(self.message)
        self.field = field
        self.detail = detail

    def body(self) -> dict[str, object]:
        """Return the JSON body of the answer: error, message, retryable, field."""
        known = {"field": self.field, "detail": self.detail}
        return {
            "error": self.code,
            "message": self.message,
            "retryable": self.retryable,
            **{name: value for name, value in known.items() if value is not None},
        }


class RequestError(PropensityError):
    """The request cannot be understood; its field is named."""

    status = 400
    code = "bad_request"
    is_public = True


class NoSuchPath(PropensityError):
    """There is nothing at this path."""

    status = 404
    code = "no_such_path"
    is_public = True


class MethodNotAllowed(PropensityError):
    """The method is not allowed at this address."""

    status = 405
    code = "method_not_allowed"
    is_public = True

    def __init__(self, method: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{method} is not allowed here; use {' or '.join(allowed)}")
        self.headers = {"Allow": ", ".join(allowed)}


class TooLarge(PropensityError):
    """The request's body is over the limit."""

    status = 413
    code = "too_large"
    is_public = True


class UnsupportedType(PropensityError):
    """The request's body is not declared to be JSON."""

    status = 415
    code = "unsupported_type"
    is_public = True


class SettingsError(PropensityError):
    """A setting is missing, unknown or malformed: nothing has been done."""

    code = "settings"


class UseCaseError(PropensityError):
    """The use case's own files are wrong: its TOML, its SQL or its model."""

    code = "use_case"


class SchemaError(PropensityError):
    """A table, a preprocessor or a model does not have the expected shape."""

    status = 409
    code = "schema"


class NotEnoughData(PropensityError):
    """There is too little data, or only one class, to train on."""

    status = 422
    code = "not_enough_data"


class MissingTable(PropensityError):
    """A table that the run reads does not exist (yet)."""

    status = 424
    code = "missing_table"


class NoChampion(PropensityError):
    """No model has been promoted yet for the use case."""

    status = 409
    code = "no_champion"
    is_public = True


class ArtifactError(PropensityError):
    """An artifact is missing or its bytes are not the ones that were recorded."""

    code = "artifact"


class UnknownVersion(PropensityError):
    """There is no record of this version."""

    status = 404
    code = "unknown_version"
    is_public = True


class ScoreShift(PropensityError):
    """The scores jumped beyond the bound since the last run; nothing was published."""

    status = 409
    code = "score_shift"


class RunInProgress(PropensityError):
    """The same run is under way elsewhere; its lease has not expired."""

    status = 409
    code = "run_in_progress"
    retryable = True


class Conflict(PropensityError):
    """Another writer changed the object since it was read (compare-and-set lost)."""

    status = 409
    code = "conflict"
    retryable = True


class Unavailable(PropensityError):
    """A service that the run needs failed or was too slow; trying again may help."""

    status = 503
    code = "unavailable"
    retryable = True


class ExportLate(Unavailable):
    """Days of the export that the run would read are not there yet; they may come."""

    code = "export_late"
    is_waiting = True

    def __init__(
        self, problem: str, *, hint: str = "", retry_after_s: int, detail: object
    ) -> None:
        super().__init__(problem, hint=hint, detail=detail)
        self.headers = {"Retry-After": str(retry_after_s)}


class AudienceWaits(Unavailable):
    """An audience's predictions of the week are not there yet; they may come."""

    code = "audience_waits"
    is_waiting = True


class AudienceStopped(PropensityError):
    """An audience was not sent: a person must look at it first."""

    status = 409
    code = "audience_stopped"


class AccessDenied(PropensityError):
    """The function's account lacks a right; the message names it, and on what."""

    code = "access_denied"


class QueryTooExpensive(PropensityError):
    """A query would scan more than ``maximum_bytes_billed``; it was not run."""

    code = "query_too_expensive"
