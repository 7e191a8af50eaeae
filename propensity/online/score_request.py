"""
A parsed request for scores: of instances with their features, or of a user. Pure.

Every error names the field at fault.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from propensity.edges.bodies import check_each_once, each_once
from propensity.errors import RequestError, TooLarge
from propensity.online.instances import Instance, Layout, identity, ingested_at_of
from propensity.usecases import UseCase

# A body has one of these, or else the features themselves.
WAYS = ("features", "instances", "user_id")

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_LARGEST = 2**63 - 1
# Python refuses whole numbers of more digits.
_MOST_DIGITS = 4_300

_decode = msgspec.json.Decoder().decode


class Question(msgspec.Struct, frozen=True):
    """
    A parsed request: for scores of instances, or of a user.

    Attributes:
        use_case: Whose model scores.
        version: The version that scores; None for the champion.
        instances: In the order of the request; empty for a user.
        prefixes: Each instance's prefix of field names, for errors.
        user_id: None for instances.
        is_single: Whether the answer is one object, not a list.
        event_id, ingested_at: Of a request for a user.
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
    """Parses requests for the use cases of a deploy."""

    def __init__(
        self, use_cases: Iterable[UseCase], *, default: str, maximum_instances: int
    ) -> None:
        """
        Args:
            use_cases: Of this deploy.
            default: Name of the use case of a request that says none.
            maximum_instances: In one request.
        """
        self.layouts = {use_case.name: Layout(use_case) for use_case in use_cases}
        self._default = default
        self._maximum = maximum_instances

    def question(self, body: bytes, *, latest: datetime) -> Question:
        """
        Read the body of a request.

        Args:
            body: JSON.
            latest: A later ``ingest_ts`` makes no sense.

        Raises:
            RequestError: The body is wrong; the error names the field.
            TooLarge: It has too many instances.
        """
        fields = _object(body)
        version = _version(fields.get("version"))
        ways = [name for name in WAYS if name in fields]
        if len(ways) > 1:
            raise RequestError(
                f"give one of {', '.join(WAYS)}; {' and '.join(ways)} are there",
                field=ways[1],
            )
        if not ways:
            layout = self._layout(fields, fields)
            if not fields.keys() & layout.names:
                raise RequestError(
                    f"nothing to score: give one of {', '.join(WAYS)}, or the features "
                    f"themselves: {', '.join(layout.use_case.features)}",
                    field="features",
                )
            instance = layout.instance(fields, prefix="", latest=latest)
            return Question(layout.use_case, version, (instance,), ("",))
        [way] = ways
        value = fields[way]
        if way == "user_id":
            layout = self._layout(fields, {})
            user_id = identity(value, way)
            return Question(
                layout.use_case,
                version,
                user_id=user_id,
                event_id=layout.event_id(fields, ""),
                ingested_at=ingested_at_of(fields, latest),
            )
        if way == "features":
            if type(value) is not dict:
                raise RequestError("features must be an object", field=way)
            layout, prefix = self._layout(fields, value), "features."
            instance = layout.instance(
                value, prefix=prefix, latest=latest, envelope=fields
            )
            return Question(layout.use_case, version, (instance,), (prefix,))
        return self._several(fields, value, version, latest)

    def _several(
        self,
        fields: Mapping[str, Any],
        items: Any,
        version: int | None,
        latest: datetime,
    ) -> Question:
        if type(items) is not list or not items:
            raise RequestError(
                "instances must be a list of objects, one at least", field="instances"
            )
        if len(items) > self._maximum:
            raise TooLarge(
                f"{len(items)} instances, and {self._maximum} are allowed",
                field="instances",
            )
        prefixes = [f"instances[{place}]." for place in range(len(items))]
        for item, prefix in zip(items, prefixes, strict=True):
            if type(item) is not dict:
                raise RequestError(
                    "each of instances must be a JSON object", field=prefix[:-1]
                )
        layout = self._layout(fields, items[0])
        instances = [
            layout.instance(item, prefix=prefix, latest=latest)
            for item, prefix in zip(items, prefixes, strict=True)
        ]
        return Question(layout.use_case, version, instances, prefixes, is_single=False)

    def _layout(self, fields: Mapping[str, Any], features: Mapping[str, Any]) -> Layout:
        """
        Return the layout of the request's use case.

        Without ``use_case`` that is the one all of whose features are in the request,
        if there is one; else the default.
        """
        name = fields.get("use_case")
        if name is None:
            names = features.keys()
            whole = [each for each in self.layouts.values() if names >= each.names]
            if len(whole) == 1:
                return whole[0]
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
    """Return the JSON object in a body."""
    try:
        fields = _decode(body)
        if type(fields) is dict:
            check_each_once(body, _names(fields))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Python also reads NaN and such; later checks refuse it and name the field.
        try:
            fields = json.loads(
                body.decode(), parse_int=_integer, object_pairs_hook=each_once
            )
        except (ValueError, RecursionError):
            raise RequestError("the body is not JSON in UTF-8", field="body") from None
    if type(fields) is not dict:
        raise RequestError("the body must be a JSON object", field="body")
    return fields


def _names(fields: Mapping[str, Any]) -> int:
    """Return how many names are in the objects that a request is made of."""
    items = fields.get("instances")
    parts = [fields.get("features"), *(items if type(items) is list else ())]
    return len(fields) + sum(len(part) for part in parts if type(part) is dict)


def _integer(digits: str) -> int | float:
    """Return a whole number; infinity if it has more digits than Python reads."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _version(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    if type(value) is not int:
        raise RequestError("version must be a whole number", field="version")
    return max(-1, min(value, _LARGEST))
