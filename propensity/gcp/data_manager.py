"""
Google's Data Manager API, by Google's own client over REST.

The client takes a second to import, so only what sends to Google imports this module.
Its errors name fields and reasons, and not the values: these are users' addresses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import requests.exceptions
from google.ads.datamanager_v1 import IngestionServiceClient
from google.ads.datamanager_v1.types import RequestStatusPerDestination
from google.api_core import exceptions as api
from google.api_core.retry import Retry, if_exception_type
from google.auth.credentials import AnonymousCredentials
from google.protobuf.json_format import ParseError

from propensity.errors import AccessDenied, Unavailable
from propensity.gcp.clients import RAISED

# A question for a status and its repetitions may take this long.
DEADLINE_S = 300.0
# Google's word for a token that was not made for this API, as a login of gcloud is.
_WITHOUT_SCOPE = "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
_STATUS = RequestStatusPerDestination.RequestStatus
# The client raises these if the answer is not an API's.
_NONSENSE = (AttributeError, TypeError, ValueError, ParseError)
_REPEATED = (
    api.TooManyRequests,
    api.ServerError,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
)


class Invalid(Exception):
    """Google takes no request like this one, or some of its records; and why."""

    def __init__(self, reason: str, *, is_about_records: bool) -> None:
        super().__init__(reason)
        self.is_about_records = is_about_records


class NotNow(Exception):
    """Google takes no request for now, or did not answer; the message is its reason."""


class DataManager:
    """The API for one account; an address of this machine needs no credentials."""

    first_pause_s = 2.0

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    @cached_property
    def _client(self) -> IngestionServiceClient:
        is_local = self._endpoint.startswith("http:")
        return IngestionServiceClient(
            credentials=AnonymousCredentials() if is_local else None,
            transport="rest",
            client_options={"api_endpoint": self._endpoint},
        )

    def send(self, method: str, request: Mapping[str, object]) -> str:
        """
        Send a request once; return the id by which Google says later what became of it.

        Raises:
            Invalid: The request, or one of its records, is wrong.
            NotNow: The same request may be sent again.
            AccessDenied: The account may not send there, or there is nothing.
            Unavailable: Google answers in another form.
        """
        try:
            request_id = str(self._call(method, request, retry=None).request_id)
        except _REPEATED as error:
            # Lost connections have no status.
            code = getattr(error, "code", None)
            raise NotNow(f"status {code}" if code else "no connection") from None
        if not (request_id or request.get("validate_only")):
            raise Unavailable("Google's Data Manager answered without a request id")
        return request_id

    def processed(self, request_id: str) -> tuple[str, Mapping[str, int]] | None:
        """
        Return what became of a request's records; None while Google does not say.

        Returns:
            ``SUCCESS``, ``PARTIAL_SUCCESS`` or ``FAILED``; and how many failed, by
            reason, maybe none although all did.
        """
        retry = Retry(
            predicate=if_exception_type(*_REPEATED),
            initial=self.first_pause_s,
            timeout=DEADLINE_S,
        )
        question = {"request_id": request_id}
        try:
            answer = self._call("retrieve_request_status", question, retry=retry)
        except Invalid:  # Google keeps a status for some fifty days.
            return None
        for destination in answer.request_status_per_destination:
            status = destination.request_status
            if status in {_STATUS.SUCCESS, _STATUS.FAILED, _STATUS.PARTIAL_SUCCESS}:
                failed = {}
                for each in destination.error_info.error_counts:
                    reason = each.reason.name.removeprefix("PROCESSING_ERROR_REASON_")
                    failed[reason] = each.record_count
                return str(status.name), failed
        return None

    def _call(
        self, method: str, request: Mapping[str, object], *, retry: Retry | None
    ) -> Any:
        call = getattr(self._client, method)
        try:
            return call(request=dict(request), retry=retry, timeout=60.0)
        except _REPEATED:
            raise
        except api.BadRequest as error:
            is_about_records = False
            for field, _ in _faults(error):
                is_about_records |= not field.startswith("destinations")
            raise Invalid(_reason(error), is_about_records=is_about_records) from None
        except (api.Unauthorized, api.Forbidden, api.NotFound) as error:
            if error.reason == _WITHOUT_SCOPE:
                raise AccessDenied(
                    "a person's login may not send to Google's Data Manager",
                    hint="Log in as the account of 05-Audiences: gcloud auth "
                    "application-default login --impersonate-service-account="
                    "propensity-audiences@PROJECT.iam.gserviceaccount.com "
                    "--scopes=https://www.googleapis.com/auth/datamanager,"
                    "https://www.googleapis.com/auth/cloud-platform (an owner first "
                    "grants you roles/iam.serviceAccountTokenCreator on it)",
                ) from None
            raise AccessDenied(
                "Google's Data Manager denies access to this account, or does not find "
                "the property or the customer list",
                hint="Add the account to the Analytics property as an editor, or to "
                f"the Google Ads account: {_reason(error)}",
            ) from None
        except RAISED + _NONSENSE as error:
            raise Unavailable("Google's Data Manager did not answer in time") from error


def _reason(error: api.GoogleAPICallError) -> str:
    """Return Google's name for an error, and the fields that are at fault."""
    reasons = [_name(error.reason, otherwise=f"status {error.code}")]
    reasons += [f"{field}: {reason}" for field, reason in _faults(error)[:3]]
    return ", ".join(reasons)


def _faults(error: api.GoogleAPICallError) -> list[tuple[str, str]]:
    """Return the fields that an error is about, and their reasons."""
    faults = []
    for detail in error.details:
        for fault in detail.get("fieldViolations", ()):
            field = _name(fault.get("field"), otherwise="a field")
            faults.append((field, _name(fault.get("reason"), otherwise="wrong")))
    return faults


def _name(words: object, *, otherwise: str) -> str:
    """Return a name of a field or a reason; sentences may have values of users."""
    if isinstance(words, str) and re.fullmatch(r"[\w.\[\]]{1,100}", words):
        return words
    return otherwise
