"""
A parsed request for scores: of instances, whose features it has, or of a user. Pure.

Whatever is wrong with a request names its field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from propensity.errors import RequestError, TooLarge
from propensity.online.instances import Instance, Layout, identity, ingested_at_of
from propensity.usecases import UseCase

# One of them says what is to be scored; without any the features are the body's own.
WAYS = ("features", "instances", "user_id")

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_LARGEST = 2**63 - 1
# Python refuses whole numbers of more digits.
_MOST_DIGITS = 4_300

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Question:
    """
    What a request asks for: scores of instances, or of a user, whichever is there.

    Attributes:
        use_case: Whose model scores.
        version: The version that scores; None for what serves.
        instances: In the order of the request; none where a user is scored.
        prefixes: Of the fields of each instance, for errors.
        user_id: None where instances are scored.
        is_single: Whether the answer is one object and no list.
        event_id, ingested_at: Of the request for a user.
    """

    use_case: UseCase
    version: int | None
    instances: Sequence[Instance] = ()
    prefixes: Sequence[str] = ()
    user_id: str | None = None
    is_single: bool = True
    event_id: str | None = None
    ingested_at: datetime | None | UnsetType = UNSET


class Reader:
    """Reads the questions of requests to a deploy with some use cases."""

    def __init__(
        self, use_cases: Iterable[UseCase], *, default: str, maximum_instances: int
    ) -> None:
        """
        Args:
            use_cases: Of this deploy.
            default: Name of the use case where a request tells of none.
            maximum_instances: Most instances of a request.
        """
        self.layouts = {one.name: Layout(one) for one in use_cases}
        self._default = default
        self._maximum = maximum_instances

    def question(self, body: bytes, *, latest: datetime) -> Question:
        """
        Read the body of a request.

        Args:
            body: JSON.
            latest: The last moment that ``ingest_ts`` makes sense for.

        Raises:
            RequestError: It is no question; the field at fault is named.
            TooLarge: It has too many instances.
        """
        given = _object(body)
        version = _version(given.get("version"))
        ways = [name for name in WAYS if name in given]
        if len(ways) > 1:
            raise RequestError(
                f"give one of {', '.join(WAYS)}; {' and '.join(ways)} are there",
                field=ways[1],
            )
        if not ways:
            layout = self._layout(given, given)
            if not given.keys() & layout.names:
                raise RequestError(
                    f"nothing to score: give one of {', '.join(WAYS)}, or the features "
                    f"themselves: {', '.join(layout.use_case.features)}",
                    field="features",
                )
            one = layout.instance(given, prefix="", latest=latest)
            return Question(layout.use_case, version, (one,), ("",))
        [way] = ways
        value = given[way]
        if way == "user_id":
            layout = self._layout(given, {})
            user_id = identity(value, way)
            return Question(
                layout.use_case,
                version,
                user_id=user_id,
                event_id=layout.event_id(given, ""),
                ingested_at=ingested_at_of(given, latest),
            )
        if way == "features":
            if type(value) is not dict:
                raise RequestError("features must be an object", field=way)
            layout, prefix = self._layout(given, value), "features."
            one = layout.instance(value, prefix=prefix, latest=latest, beside=given)
            return Question(layout.use_case, version, (one,), (prefix,))
        return self._several(given, value, version, latest)

    def _several(
        self,
        given: Mapping[str, Any],
        value: Any,
        version: int | None,
        latest: datetime,
    ) -> Question:
        if type(value) is not list or not value:
            raise RequestError(
                "instances must be a list of objects, one at least", field="instances"
            )
        if len(value) > self._maximum:
            raise TooLarge(
                f"{len(value)} instances, and {self._maximum} are allowed",
                field="instances",
            )
        prefixes = [f"instances[{place}]." for place in range(len(value))]
        for one, prefix in zip(value, prefixes, strict=True):
            if type(one) is not dict:
                raise RequestError("an instance is an object", field=prefix[:-1])
        layout = self._layout(given, value[0])
        instances = [
            layout.instance(one, prefix=prefix, latest=latest)
            for one, prefix in zip(value, prefixes, strict=True)
        ]
        return Question(layout.use_case, version, instances, prefixes, is_single=False)

    def _layout(self, given: Mapping[str, Any], features: Mapping[str, Any]) -> Layout:
        """Return the layout of the use case that is named, or whose features these are.

        The use case of which most features are there, and more than half, so that one
        that is missing is named; the default where several are alike.
        """
        name = given.get("use_case")
        if name is None:
            keys = features.keys()
            if len(keys) > 1:
                shares = {
                    one.use_case.name: len(one.names & keys) / len(one.names)
                    for one in self.layouts.values()
                }
                most = max(0.5, *shares.values())
                likely = [one for one, share in shares.items() if share == most > 0.5]
                if len(likely) == 1:
                    return self.layouts[likely[0]]
            name = self._default
        if not isinstance(name, str):
            raise RequestError("use_case must be a text", field="use_case")
        if name not in self.layouts:
            raise RequestError(
                f"there is no use case {name[:64]!r}; this deploy has "
                f"{', '.join(self.layouts)}",
                field="use_case",
            )
        return self.layouts[name]


def _object(body: bytes) -> dict[str, Any]:
    """Return the object that a body holds."""
    try:
        given = _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # What Python reads beyond JSON, such as NaN, is refused where it stands, by
        # its name.
        try:
            given = json.loads(body.decode(), parse_int=_integer)
        except (ValueError, RecursionError):
            raise RequestError("the body is not JSON in UTF-8", field="body") from None
    if type(given) is not dict:
        raise RequestError("the body must be a JSON object", field="body")
    return given


def _integer(digits: str) -> int | float:
    """Return a whole number; one with more digits than Python reads is infinite."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _version(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    if type(value) is not int:
        raise RequestError("version must be a whole number", field="version")
    return max(-1, min(value, _LARGEST))
