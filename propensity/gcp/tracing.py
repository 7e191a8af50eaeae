"""
The trace of a log line's request, as Cloud Logging reads it.

The platform gives each request a trace, and names it in its own request log; Cloud
Logging shows lines with the same trace under that request.
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
    Return the fields of a log line about the trace of its request.

    Args:
        headers: Of the request, names in any case. ``traceparent`` (W3C Trace Context)
            comes before ``X-Cloud-Trace-Context``. Callers write them, so a malformed
            one is ignored.
        project: Of the trace; empty if unknown.

    Returns:
        Fields of the line; none without a trace or project.
    """
    values = {name.lower(): value for name, value in headers}
    trace = span = ""
    sampled = False
    if match := _W3C.fullmatch(values.get("traceparent", "")):
        trace, span = match[1], match[2]
        sampled = bool(int(match[3], 16) & 1)
    elif match := _LEGACY.fullmatch(values.get("x-cloud-trace-context", "").lower()):
        trace, sampled = match[1], match[3] == "1"
        if match[2] and int(match[2]) < _LARGEST_SPAN:
            span = f"{int(match[2]):016x}"
    if not project or not trace.strip("0"):
        return {}
    fields: dict[str, str | bool] = {
        "logging.googleapis.com/trace": f"projects/{project}/traces/{trace}",
        "logging.googleapis.com/trace_sampled": sampled,
    }
    if span.strip("0"):
        fields["logging.googleapis.com/spanId"] = span
    return fields
