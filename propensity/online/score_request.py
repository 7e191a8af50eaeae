"""
A parsed request for scores: of instances with their features, or of a user.

Every error names the field at fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from propensity import usecases
from propensity.errors import RequestError, TooLarge
from propensity.events.values import (
    MAXIMUM_TEXT_CHARACTERS,
    OUT_OF_RANGE,
    Refused,
    numeral_of,
    sensible_instant,
)
from propensity.ids import INEXACT, is_encodable, problem_of
from propensity.usecases import NUMBER, Features, UseCase

# A body has one of these, or else the features themselves.
WAYS = ("features", "instances", "user_id")
INGESTED = "ingest_ts"
EVENT_ID = "event_id"
MAXIMUM_INSTANCES = 1_000

_WHOLE = re.compile(r"-?[0-9]{1,18}")


class Instance(NamedTuple):
    """
    The features of one event or user.

    Attributes:
        features: Floats, texts or None by name, in the order of the use case.
        prefix: Of its field names in the request.
        event_id: From the request; None without one.
        has_time: Whether the request has ``ingest_ts``.
        ingested_at: That in UTC; None if it makes no sense.
    """

    features: Features
    prefix: str = ""
    event_id: str | None = None
    has_time: bool = False
    ingested_at: datetime | None = None


class ScoreQuestion(NamedTuple):
    """
    A parsed request: for scores of instances, or of a user.

    Attributes:
        use_case: Whose model scores.
        version: The version that scores; None for the champion.
        instances: In the order of the request; for a user one without features.
        user_id: None for instances.
        is_single: Whether the answer is one object, not a list.
    """

    use_case: UseCase
    version: int | None
    instances: Sequence[Instance]
    user_id: str | None = None
    is_single: bool = True


def question_of(
    fields: Mapping[str, object],
    use_cases: Mapping[str, UseCase],
    *,
    default: str,
    latest: datetime,
) -> ScoreQuestion:
    """
    Read a request.

    Args:
        fields: The JSON object of its body.
        use_cases: Of this deploy, by name.
        default: Name of the use case of a request that says none.
        latest: A later ``ingest_ts`` makes no sense.

    Raises:
        RequestError: The body is wrong; the error names the field.
        TooLarge: It has too many instances.
    """
    version = _version(fields.get("version"))
    ways = [way for way in WAYS if way in fields]
    if len(ways) > 1:
        raise RequestError(f"give {ways[0]} or {ways[1]}, not both", field=ways[1])
    way = ways[0] if ways else ""
    if way == "user_id":
        use_case = _use_case(fields, {}, use_cases, default)
        user_id = identity(fields[way], way)
        instance = _named(use_case, {"": fields}, latest)
        return ScoreQuestion(use_case, version, [instance], user_id)
    items = _items(fields, way)
    use_case = _use_case(fields, next(iter(items.values())), use_cases, default)
    if not (way or fields.keys() & use_case.features.keys()):
        raise RequestError(
            f"nothing to score: give one of {', '.join(WAYS)}, or the features "
            f"themselves: {', '.join(use_case.features)}",
            field="features",
        )
    # Fields around features go before equal ones among them.
    around = {"": fields} if way == "features" else {}
    instances = []
    for prefix, item in items.items():
        named = _named(use_case, {**around, prefix: item}, latest)
        features = {
            name: _feature(item, name, kind, prefix)
            for name, kind in use_case.features.items()
        }
        instances.append(named._replace(prefix=prefix, features=features))
    return ScoreQuestion(use_case, version, instances, is_single=way != "instances")


def _use_case(
    fields: Mapping[str, object],
    features: Mapping[str, object],
    known: Mapping[str, UseCase],
    default: str,
) -> UseCase:
    """
    Return the request's use case.

    Without ``use_case`` that is the one all of whose features are in the request, if
    there is one; else the default, unless only another one has all features.

    Raises:
        RequestError: There is none of that name.
        UseCaseError: Its folder is wrong, so that it was left out.
    """
    name = fields.get("use_case")
    if name is None:
        sent = features.keys()
        whole = [each for each in known.values() if sent >= {*each.features}]
        if len(whole) == 1:
            return whole[0]
        some = [each for each in known.values() if sent & {*each.features}]
        if len(some) == 1 and some[0].name != default:
            return some[0]
        name = default
    # If the use case was left out, loading it raises its fault.
    return known.get(str(name)) or usecases.load(str(name))


def _items(fields: Mapping[str, object], way: str) -> dict[str, Mapping[str, object]]:
    """Return what has features, by the prefix of its field names."""
    if not way:
        return {"": fields}
    given = {f"{way}.": fields[way]}
    if way == "instances":
        instances = fields[way]
        if not isinstance(instances, list) or not instances:
            raise RequestError(
                "instances must be a list of one object or more", field="instances"
            )
        if len(instances) > MAXIMUM_INSTANCES:
            raise TooLarge(
                f"instances has {len(instances)} objects; the limit is "
                f"{MAXIMUM_INSTANCES}",
                field="instances",
            )
        given = {f"instances[{n}].": item for n, item in enumerate(instances)}
    items = dict[str, Mapping[str, object]]()
    for prefix, item in given.items():
        if not isinstance(item, dict):
            field = prefix.removesuffix(".")
            raise RequestError(f"{field} must be a JSON object", field=field)
        items[prefix] = item
    return items


def _named(
    use_case: UseCase, places: Mapping[str, Mapping[str, object]], latest: datetime
) -> Instance:
    """
    Return an instance without features: its identity and ``ingest_ts``.

    Args:
        places: Where both may stand, by prefix; the first that has one counts.
    """
    names = (use_case.entity, EVENT_ID) if use_case.scores_events else (EVENT_ID,)
    ids = (
        identity(fields[name], prefix + name)
        for prefix, fields in places.items()
        for name in names
        if fields.get(name) is not None
    )
    moments = [fields[INGESTED] for fields in places.values() if INGESTED in fields]
    return Instance(
        {},
        event_id=next(ids, None),
        has_time=bool(moments),
        ingested_at=sensible_instant(moments[0], latest=latest) if moments else None,
    )


def _version(value: Any) -> int | None:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    if value is not None and type(value) is not int:
        raise RequestError("version must be a whole number", field="version")
    return value


def _feature(
    fields: Mapping[str, object], name: str, kind: str, prefix: str
) -> float | str | None:
    """Return the value of a feature; a number may be written as a text."""
    field = prefix + name
    if name not in fields:
        raise RequestError(f"feature {field} is missing", field=field)
    value = fields[name]
    if value is None:
        return None
    if kind == NUMBER:
        return _number(value, field)
    is_text = isinstance(value, str) and len(value) <= MAXIMUM_TEXT_CHARACTERS
    if not is_text or not is_encodable(str(value)):
        raise RequestError(
            f"{field} must be null or a text of {MAXIMUM_TEXT_CHARACTERS} characters "
            "at most",
            field=field,
        )
    return str(value)


def _number(value: Any, field: str) -> float:
    if type(value) not in {float, int, str}:
        raise RequestError(
            f"{field} must be a number, or a text that holds one", field=field
        )
    try:
        return float(numeral_of(value, field=field))
    except (Refused, OverflowError) as error:
        reason = getattr(error, "detail", OUT_OF_RANGE)
        raise RequestError(f"{field}: {reason}", field=field) from None


def identity(value: Any, field: str) -> str:
    """
    Return an identity: a text, or a whole number as a text.

    Raises:
        RequestError: It is neither, empty, too long, or a number of 2^53 or more.
    """
    if type(value) is int and abs(value) < INEXACT:
        value = str(value)
    if problem := problem_of(value):
        raise RequestError(f"{field} {problem}", field=field)
    return str(value)
