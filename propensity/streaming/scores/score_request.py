"""
A parsed request for scores: of instances with their features, or of a user.

Every error names the field at fault. Structs of msgspec would leave most of this as it
is, and add a reader of msgspec's errors: a number may be a text, an identity around the
features hides a wrong one among them, and the features say which use case is meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from propensity import usecases
from propensity.errors import RequestError, TooLarge
from propensity.ids import EVENT, INEXACT, is_encodable, problem_of
from propensity.streaming.events.values import (
    MAXIMUM_TEXT_CHARACTERS,
    OUT_OF_RANGE,
    BadEvent,
    numeral_of,
    sensible_instant,
)
from propensity.usecases import NUMBER, Features, UseCase

# A body has one of these, or else the features themselves.
WAYS = ("features", "instances", "user_id")
INGESTED = "ingest_ts"
MAXIMUM_INSTANCES = 1_000

_WHOLE = re.compile(r"-?[0-9]{1,18}")


class Item(NamedTuple):
    """A JSON object of a request; ``prefix`` is of its field names in errors."""

    fields: Mapping[str, object]
    prefix: str = ""


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

    def field(self, name: str | None) -> str:
        """Return the name that a request has for a feature, or for all without one."""
        if name:
            return f"{self.prefix}{name}"
        instance = self.prefix.strip(".")
        return instance if instance else "features"


class ScoreQuestion(NamedTuple):
    """
    A parsed request: for scores of instances, or of a user.

    Without a ``version`` the champion scores. Of a user there is one instance without
    features. With ``is_single`` the answer is one object, not a list.
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
    """Read a request."""
    version = _version(fields.get("version"))
    way = _way(fields)
    request = Item(fields)
    if way == "user_id":
        use_case = _use_case(fields, {}, use_cases, default)
        user_id = _identity(fields["user_id"], "user_id")
        instance = _instance(use_case, [request], latest)
        return ScoreQuestion(use_case, version, [instance], user_id)
    items = _items(fields, way)
    use_case = _use_case(fields, items[0].fields, use_cases, default)
    if not way and fields.keys().isdisjoint(use_case.features):
        raise RequestError(
            f"nothing to score: give one of {', '.join(WAYS)}, or the features "
            f"themselves: {', '.join(use_case.features)}",
            field="features",
        )
    instances = list[Instance]()
    for item in items:
        # Fields around features count before equal ones among them.
        sources = [request, item] if way == "features" else [item]
        instance = _instance(use_case, sources, latest)
        features = _features(use_case, item)
        instances.append(instance._replace(prefix=item.prefix, features=features))
    return ScoreQuestion(use_case, version, instances, is_single=way != "instances")


def _version(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise RequestError("version must be a whole number", field="version")


def _way(fields: Mapping[str, object]) -> str:
    """Return which of ``WAYS`` a body has; empty for the features themselves."""
    ways = [way for way in WAYS if way in fields]
    if len(ways) > 1:
        raise RequestError(f"give {ways[0]} or {ways[1]}, not both", field=ways[1])
    return ways[0] if ways else ""


def _items(fields: Mapping[str, object], way: str) -> list[Item]:
    """Return the objects that have features, one at least."""
    if not way:
        return [Item(fields)]
    if way == "features":
        return [_item(fields["features"], "features")]
    instances = fields["instances"]
    if not isinstance(instances, list) or not instances:
        raise RequestError(
            "instances must be a list of one object or more", field="instances"
        )
    if len(instances) > MAXIMUM_INSTANCES:
        raise TooLarge(
            f"instances has {len(instances)} objects; the limit is {MAXIMUM_INSTANCES}",
            field="instances",
        )
    return [_item(value, f"instances[{n}]") for n, value in enumerate(instances)]


def _item(value: object, field: str) -> Item:
    if not isinstance(value, dict):
        raise RequestError(f"{field} must be a JSON object", field=field)
    return Item(value, f"{field}.")


def _use_case(
    fields: Mapping[str, object],
    features: Mapping[str, object],
    use_cases: Mapping[str, UseCase],
    default: str,
) -> UseCase:
    """Return the request's use case."""
    value = fields.get("use_case")
    name = default if value is None else str(value)
    if value is None:
        by_features = _name_by_features(features, use_cases)
        if by_features:
            name = by_features
    # If the use case was left out, loading it raises its fault.
    return use_cases[name] if name in use_cases else usecases.load(name)


def _name_by_features(
    features: Mapping[str, object], use_cases: Mapping[str, UseCase]
) -> str:
    """
    Return the name of the only use case all of whose features a request has, or else of
    the only one that has some of them; empty without one.
    """
    complete = list[str]()
    partial = list[str]()
    for name, use_case in use_cases.items():
        n_shared = len(features.keys() & use_case.features.keys())
        if n_shared == len(use_case.features):
            complete.append(name)
        if n_shared:
            partial.append(name)
    for names in (complete, partial):
        if len(names) == 1:
            return names[0]
    return ""


def _instance(use_case: UseCase, sources: Sequence[Item], latest: datetime) -> Instance:
    """
    Return an instance without features: its identity and ``ingest_ts``.

    Args:
        sources: The objects that may have them; the first that has one counts.
    """
    times = list[object]()
    for source in sources:
        if INGESTED in source.fields:
            times.append(source.fields[INGESTED])
    return Instance(
        {},
        event_id=_event_id(use_case, sources),
        has_time=bool(times),
        ingested_at=sensible_instant(times[0], latest=latest) if times else None,
    )


def _event_id(use_case: UseCase, sources: Sequence[Item]) -> str | None:
    names = [EVENT]
    if use_case.scores_events:
        names.insert(0, use_case.entity)
    for source in sources:
        for name in names:
            value = source.fields.get(name)
            if value is not None:
                return _identity(value, source.prefix + name)
    return None


def _identity(value: object, field: str) -> str:
    """Return a text as it is, and as a text a whole number that has all its digits."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < INEXACT:
        return str(value)
    problem = problem_of(value)
    if problem:
        raise RequestError(f"{field} {problem}", field=field)
    return str(value)


def _features(use_case: UseCase, item: Item) -> Features:
    fields, prefix = item
    features = dict[str, float | str | None]()
    for name, kind in use_case.features.items():
        field = prefix + name
        if name not in fields:
            raise RequestError(f"feature {field} is missing", field=field)
        value = fields[name]
        if value is None:
            features[name] = None
        elif kind == NUMBER:
            features[name] = _number(value, field)
        else:
            features[name] = _text(value, field)
    return features


def _number(value: object, field: str) -> float:
    if not isinstance(value, (float, int, str)) or isinstance(value, bool):
        raise RequestError(
            f"{field} must be a number, or a text that holds one", field=field
        )
    try:
        return float(numeral_of(value, field=field))
    except BadEvent as error:
        problem = error.detail
    except OverflowError:  # of a whole number
        problem = OUT_OF_RANGE
    raise RequestError(f"{field}: {problem}", field=field)


def _text(value: object, field: str) -> str:
    is_short = isinstance(value, str) and len(value) <= MAXIMUM_TEXT_CHARACTERS
    if not is_short or not is_encodable(str(value)):
        raise RequestError(
            f"{field} must be null or a text of {MAXIMUM_TEXT_CHARACTERS} characters "
            "at most",
            field=field,
        )
    return str(value)
