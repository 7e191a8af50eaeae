"""
The rules of a ``usecase.toml``.

A check lists all problems of a file at once, each with the entry's name, so that its
author corrects them in one round. Pure: text in, problems out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from propensity.budget import Budget
from propensity.ids import NAME

FILE = "usecase.toml"

NUMBER = "number"
CATEGORY = "category"

# The mean probability of candidates listed before it.
MEAN = "VotingClassifier"
# Needs no labels, and scores single events.
FOREST = "HalfSpaceTrees"
ALGORITHMS = (
    "LogisticRegression",
    "HistGradientBoostingClassifier",
    "RandomForestClassifier",
    "ExtraTreesClassifier",
    MEAN,
    FOREST,
)

# Kinds of the fields of an event; ``propensity/events.toml`` says what each means.
EVENT_KINDS = (
    *("text", "text or null", "personal", "birth date", "amount", "number", "label"),
    *("identity", "numeral", "instant", "truth", "truth time"),
)

# Tables of usecase.toml that name values of the export, and the prefix of the columns
# of ``ga_events`` that hold them: parameters and properties may have the same names.
VALUES = {"event_params": "param_", "user_properties": "property_"}
# Types of these columns.
VALUE_TYPES = ("STRING", "INT64", "NUMERIC")

# Of the moment when a row of a source became known, and of all its columns.
MOMENTS = ("TIMESTAMP", "DATETIME", "DATE")
SOURCE_TYPES = ("STRING", "INT64", "FLOAT64", "NUMERIC", "BOOL", *MOMENTS)
SOURCE_TABLE = re.compile(r"(?:([a-z0-9.:-]+)\.)?([A-Za-z0-9_]+)\.([A-Za-z0-9_-]+)")

# Parameters that runs set, in all statements or in some.
RUN_PARAMETERS = frozenset(
    {
        *("as_ofs", "today", "earliest", "known_before", "lookback_days"),
        *("horizon_days", "first_suffix", "first_repeat_suffix", "last_suffix"),
        *("first_label_suffix", "last_label_suffix", "maximum_rows", "use_case"),
        *("prediction_as_of", "user_ids", "first_event_day"),
    }
)

# Columns of the rows of a training beside the features. A model with one of them would
# know the answer, or whose row it is.
RESERVED = frozenset(
    {
        *("as_of", "user_id", "label", "weight", "label_amount"),
        *("sampled_by", "has_positive", "bucket"),
        *("state", "truth_time", "is_conflicting"),
    }
)

# Of a use case that states none.
BUDGET = "10%"

# Of a lookback and a horizon: ten years, more than Google Analytics has existed for.
MAXIMUM_DAYS = 3_650

# A column of BigQuery, or a parameter of a statement.
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# Google's rule for the names of parameters and properties:
# https://support.google.com/analytics/answer/13316687, event naming rules
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


@dataclass(frozen=True)
class Rule:
    """What a value is, in words, and how that is known."""

    what: str
    holds: Callable[[Any], bool]


def one_of(*choices: str) -> Rule:
    """Return the rule of a value that is one of some."""
    return Rule(f"one of {', '.join(choices)}", lambda value: value in choices)


def matching(what: str, pattern: re.Pattern[str]) -> Rule:
    """Return the rule of a text that matches a pattern."""
    return Rule(what, lambda value: bool(pattern.fullmatch(str(value))))


def _is_budget(value: Any) -> bool:
    try:
        return bool(Budget.parse(value))
    except (TypeError, ValueError):
        return False


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


_TEXT = Rule("a text", lambda value: isinstance(value, str) and bool(value.strip()))
_TEXTS = Rule("a list of texts", _are_texts)
_FLAG = Rule("true or false", lambda value: isinstance(value, bool))
_TABLE = Rule("a table", lambda value: isinstance(value, dict))
_SHARE = Rule("a probability", lambda v: type(v) in (int, float) and 0 <= v <= 1)
_DAYS = Rule(
    f"a whole number of days from 1 to {MAXIMUM_DAYS:,}",
    lambda value: type(value) is int and 1 <= value <= MAXIMUM_DAYS,
)
_PARAMETER = Rule("a text or a whole number", lambda value: type(value) in (str, int))
_VALUE = (_KEY, one_of(*VALUE_TYPES))

# Each entry with its rule; "?" marks those that may be missing. A tuple is a table
# whose entries the author names: the pattern of their names, and the rule of each. A
# list is one table or more.
_USE_CASE: Mapping[str, Any] = {
    "title": _TEXT,
    "outcome": _TEXT,
    "lookback_days": _DAYS,
    "horizon_days": _DAYS,
    "threshold": _SHARE,
    "features": (_COLUMN, one_of(NUMBER, CATEGORY)),
    "baseline": {"feature": _TEXT, "ascending": _FLAG},
    "candidates": [
        {"name": _TEXT, "algorithm": one_of(*ALGORITHMS), "parameters?": _TABLE}
    ],
    "span?": _TEXT,
    "budget?": Rule('a number, as "1000", or a share, as "5%"', _is_budget),
    "parameters?": (_COLUMN, _PARAMETER),
    "stream?": {
        "events?": _TEXTS,
        "scored?": _TEXTS,
        "amount?": _TEXT,
        "currency?": matching("like EUR", re.compile("[A-Z]{3}")),
    },
    "events?": (NAME, (_COLUMN, one_of(*EVENT_KINDS))),
    "sources?": (
        NAME,
        {
            "table": matching("project.dataset.table or dataset.table", SOURCE_TABLE),
            "user_id": matching("a column", _COLUMN),
            "valid_from": matching("a column", _COLUMN),
            "columns": (_COLUMN, one_of(*SOURCE_TYPES)),
            "plans?": _TEXTS,
        },
    ),
    "event_params?": _VALUE,
    "user_properties?": _VALUE,
}


def problems(text: str) -> list[str]:
    """Return the mistakes in the text of a ``usecase.toml``, each with its entry."""
    try:
        config = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        return [f"is not valid TOML: {error}"]
    # What is right by itself must fit together, too.
    return [*_wrong(config, _USE_CASE, "")] or [*_contradictions(config)]


def _wrong(value: Any, rule: Any, at: str) -> Iterator[str]:
    """Yield what is not as its rule has it, each with its path such as ``a.b``."""
    if isinstance(rule, Rule):
        if not rule.holds(value):
            yield f"{at} is {rule.what}, not {value!r}"
    elif isinstance(rule, list):
        if not isinstance(value, list) or not value:
            yield f"{at} are tables, one or more: [[{at}]]"
            return
        for number, one in enumerate(value, start=1):
            yield from _wrong(one, rule[0], f"{at}[{number}]")
    elif not isinstance(value, dict):
        yield f"{at} is a table, not {value!r}"
    elif isinstance(rule, tuple):
        pattern, inner = rule
        for key, one in value.items():
            if pattern.fullmatch(key):
                yield from _wrong(one, inner, f"{at}.{key}")
            else:
                yield f"{at} can have no {key[:64]!r}: names are letters, digits and _"
    else:
        yield from _wrong_entries(value, rule, f"{at}." if at else "")


def _wrong_entries(
    value: Mapping[str, Any], rule: Mapping[str, Any], prefix: str
) -> Iterator[str]:
    rules = {key.removesuffix("?"): inner for key, inner in rule.items()}
    for key in value:
        if key not in rules:
            yield f"{prefix}{key} is unknown; known are {', '.join(rules)}"
    for key, inner in rules.items():
        if key in value:
            yield from _wrong(value[key], inner, f"{prefix}{key}")
        elif key in rule:
            yield f"{prefix}{key} is missing"


def _contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield mistakes among entries that are right by themselves."""
    features, stream = config["features"], config.get("stream", {})
    for name in features:
        if name.lower() in RESERVED:
            yield f"features.{name}: training has a column of this name"
    for name in sorted({*config.get("parameters", ())} & RUN_PARAMETERS):
        yield f"parameters.{name}: every run sets @{name}; name it otherwise"
    numbers = {"baseline.feature": config["baseline"]["feature"]}
    if "amount" in stream:
        numbers["stream.amount"] = stream["amount"]
    for at, name in numbers.items():
        if features.get(name) != NUMBER:
            yield f"{at}: {name} is not a numeric feature"
    earlier: list[str] = []
    for candidate in config["candidates"]:
        name, algorithm = candidate["name"], candidate["algorithm"]
        if name in earlier:
            yield f"candidates: two are named {name}"
        if algorithm == FOREST and not stream.get("scored"):
            yield f"candidates: {name} is of {FOREST}, which scores events, not users"
        if algorithm == MEAN:
            parameters = candidate.get("parameters", {})
            of = parameters.get("of")
            is_of = _are_texts(of) and 0 < len({*of} & {*earlier}) == len(of)
            if parameters.keys() != {"of"} or not is_of:
                yield (
                    f"candidates: {name} has one parameter, of, a list of candidates "
                    f"before it, each once: {', '.join(earlier) or 'none'}"
                )
        earlier.append(name)
    yield from _wrong_sources(config.get("sources", {}))


def _wrong_sources(sources: Mapping[str, Any]) -> Iterator[str]:
    for name, source in sources.items():
        if name == "ga_events" or name.startswith(("ma_", "stream_")):
            yield f"sources.{name}: a deployment has a table of this name"
        for column in {*source.get("plans", ())} - {*source["columns"]}:
            yield f"sources.{name}.plans: {column} is not among its columns"
