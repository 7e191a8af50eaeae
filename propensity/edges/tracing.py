"""
Which request a log line belongs to, as Cloud Logging reads it.

The platform gives each request a trace, and its own request log carries it; lines that
name the same trace are shown under that request.
https://cloud.google.com/logging/docs/structured-logging#special-payload-fields
https://cloud.google.com/trace/docs/trace-context

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_W3C = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_LEGACY = re.compile(r"([0-9a-f]{32})(?:/([0-9]{1,20}))?(?:;o=([0-9]))?")
_LARGEST_SPAN = 2**64


def trace_of(
    headers: Iterable[tuple[str, str]], *, project: str
) -> dict[str, str | bool]:
    """
    Return what a log line says of the trace of its request.

    Args:
        headers: Of the request, names in any case. ``traceparent`` (W3C Trace Context)
            comes before ``X-Cloud-Trace-Context``. Whoever calls writes them: what is
            not well-formed is not repeated.
        project: That the trace is of; empty where it is not known.

    Returns:
        Fields of the line; none without a trace or project.
    """
    given = {name.lower(): value for name, value in headers}
    trace = span = ""
    sampled = False
    if found := _W3C.fullmatch(given.get("traceparent", "")):
        trace, span = found[1], found[2]
        sampled = bool(int(found[3], 16) & 1)
    elif found := _LEGACY.fullmatch(given.get("x-cloud-trace-context", "").lower()):
        trace, sampled = found[1], found[3] == "1"
        if found[2] and int(found[2]) < _LARGEST_SPAN:
            span = f"{int(found[2]):016x}"
    if not project or not trace.strip("0"):
        return {}
    fields: dict[str, str | bool] = {
        "logging.googleapis.com/trace": f"projects/{project}/traces/{trace}",
        "logging.googleapis.com/trace_sampled": sampled,
    }
    if span.strip("0"):
        fields["logging.googleapis.com/spanId"] = span
    return fields
