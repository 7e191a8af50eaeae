"""
The rules of a ``usecase.toml``.

A check lists all problems of a file at once, each with its line, so that its author
corrects them in one round. Pure: text in, problems out.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from propensity.budget import Budget
from propensity.usecases import sources

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

# Columns of the rows of a training beside the features. A model with one of them would
# know the answer, or whose row it is.
RESERVED = frozenset(
    {
        *("as_of", "user_id", "label", "weight", "label_amount"),
        *("sampled_by", "has_positive", "class", "bucket"),
        *("state", "truth_time", "is_conflicting"),
    }
)

# Parameters that runs set, in all statements or in some.
RUN_PARAMETERS = frozenset(
    {
        *("as_ofs", "today", "earliest", "known_before", "lookback_days"),
        *("horizon_days", "first_suffix", "first_repeat_suffix", "last_suffix"),
        *("first_label_suffix", "last_label_suffix", "maximum_rows", "use_case"),
        *("prediction_as_of", "user_ids", "first_event_day"),
    }
)

# Of a use case that states none.
BUDGET = "10%"

# Of a lookback and a horizon: ten years, more than Google Analytics has existed for.
MAXIMUM_DAYS = 3_650

# Of an amount: ISO 4217.
_CURRENCY = re.compile(r"[A-Z]{3}")
# A column of BigQuery.
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# Google's rule for the names of parameters and properties:
# https://support.google.com/analytics/answer/13316687, event naming rules
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
_ENTRY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*[\w-]+)*)\s*=""")
_AT_LINE = re.compile(r"\(at line (\d+)")

Path = tuple[str | int, ...]
_Problems = Iterator[tuple[Path, str]]


@dataclass(frozen=True, order=True)
class Problem:
    """A mistake in a use case: its file, line and message."""

    file: str
    line: int
    message: str

    def located(self, name: str) -> str:
        """Return it as ``propensity/usecases/NAME/FILE:LINE: message``."""
        return f"propensity/usecases/{name}/{self.file}:{self.line}: {self.message}"


def problems(text: str) -> list[Problem]:
    """Return the mistakes in the text of a ``usecase.toml``, by line."""
    try:
        config = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        at = _AT_LINE.search(str(error))
        line = int(at[1]) if at else max(1, len(text.splitlines()))
        return [Problem(FILE, line, f"is not valid TOML: {error}")]
    return sorted(
        Problem(FILE, line_of(text, path), message) for path, message in _wrong(config)
    )


def line_of(text: str, path: Path) -> int:
    """Return the line of an entry, or of the table around it if it is missing."""
    counts: Counter[str] = Counter()
    table: Path = ()
    found, depth = 1, 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            first, *others = _keys(header[2])
            counts[first] += header[1] == "[["
            table = (first, *((counts[first] - 1,) if counts[first] else ()), *others)
            place = table
        elif entry := _ENTRY.match(line):
            place = (*table, *_keys(entry[1]))
        else:
            continue
        common = [one for one, other in zip(place, path, strict=False) if one == other]
        if depth < len(common) == len(place):
            found, depth = number, len(place)
    return found


def _keys(text: str) -> list[str]:
    return [part.strip().strip("\"'") for part in text.split(".")]


# -- the rules ------------------------------------------------------------------------


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_days(value: Any) -> bool:
    return _is_whole(value) and 1 <= value <= MAXIMUM_DAYS


def _is_share(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= 1


def _is_budget(value: object) -> bool:
    try:
        return bool(Budget.parse(str(value)))
    except ValueError:
        return False


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_list(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(entry, kind) for entry in value)


_DAYS = (f"a whole number of days from 1 to {MAXIMUM_DAYS:,}", _is_days)
_TEXT = ("a text", _is_text)
_TABLE = ("a table", _is_table)

# What each entry is, and how that is known.
_ENTRIES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "title": _TEXT,
    "outcome": _TEXT,
    "entity": _TEXT,
    "lookback_days": _DAYS,
    "horizon_days": _DAYS,
    "threshold": ("a probability", _is_share),
    "features": ("a table of one column or more", lambda f: _is_table(f) and bool(f)),
    "baseline": _TABLE,
    "candidates": (
        "tables, one or more: [[candidates]]",
        lambda value: _is_list(value, dict) and bool(value),
    ),
    "span": _TEXT,
    "budget": ('a number, as "1000", or a share, as "5%"', _is_budget),
    "parameters": _TABLE,
    "stream": _TABLE,
    "events": _TABLE,
    "sources": _TABLE,
    "event_params": _TABLE,
    "user_properties": _TABLE,
}
_REQUIRED = tuple(_ENTRIES)[:9]


def _wrong(config: Mapping[str, Any]) -> _Problems:
    """Yield path and message of every mistake."""
    yield from _unknown((), config, tuple(_ENTRIES))
    yield from (((), f"{key} is missing") for key in _REQUIRED if key not in config)
    right = dict(config)
    for key, (what, is_right) in _ENTRIES.items():
        if key in config and not is_right(config[key]):
            yield (key,), f"{key} is {what}, not {config[key]!r}"
            del right[key]
    yield from _features(right.get("features", {}))
    yield from _baseline(right)
    yield from _candidates(right)
    yield from _parameters(right.get("parameters", {}))
    yield from _stream(right)
    yield from _events(right.get("events", {}))
    for key in VALUES:
        yield from _values(key, right.get(key, {}))
    yield from sources.rules(right)


def _unknown(at: Path, table: Mapping[str, Any], known: tuple[str, ...]) -> _Problems:
    for key in table:
        if key not in known:
            yield (*at, key), f"{key} is unknown; known are {', '.join(known)}"


def _features(features: Mapping[str, Any]) -> _Problems:
    for name, kind in features.items():
        at: Path = ("features", name)
        if kind not in (NUMBER, CATEGORY):
            yield at, f"features are a number or a category each: {name} is {kind!r}"
        if name.lower() in RESERVED:
            yield at, f"{name} can be no feature: training has a column of this name"
        elif not _COLUMN.fullmatch(name):
            yield at, f"{name!r} can be no column of BigQuery"


def _is_numeric(config: Mapping[str, Any], feature: object) -> bool:
    return NUMBER in [
        kind for name, kind in config.get("features", {}).items() if name == feature
    ]


def _baseline(config: Mapping[str, Any]) -> _Problems:
    if "baseline" not in config:
        return
    baseline = config["baseline"]
    yield from _unknown(("baseline",), baseline, ("feature", "ascending"))
    if not _is_numeric(config, baseline.get("feature")):
        message = f"baseline {baseline.get('feature')} is not a numeric feature"
        yield ("baseline", "feature"), message
    if not isinstance(baseline.get("ascending"), bool):
        yield ("baseline", "ascending"), "ascending is true or false"


def _candidates(config: Mapping[str, Any]) -> _Problems:
    scores_events = bool(config.get("stream", {}).get("scored"))
    allowed = [name for name in ALGORITHMS if scores_events or name != FOREST]
    earlier: list[str] = []
    for number, candidate in enumerate(config.get("candidates", ())):
        at: Path = ("candidates", number)
        yield from _unknown(at, candidate, ("name", "algorithm", "parameters"))
        name, algorithm = candidate.get("name"), candidate.get("algorithm")
        if not _is_text(name) or name in earlier:
            yield (*at, "name"), "candidates must be named, each differently"
        if algorithm not in allowed:
            message = f"unknown algorithm {algorithm!r}; known are {', '.join(allowed)}"
            yield (*at, "algorithm"), message
        parameters = candidate.get("parameters", {})
        inside: Path = (*at, "parameters")
        if not _is_table(parameters):
            yield inside, "parameters are a table: [candidates.parameters]"
        elif algorithm == MEAN:
            of = parameters.get("of", [])
            yield from _unknown(inside, parameters, ("of",))
            if not _is_list(of, str) or not of or not {*of} <= {*earlier}:
                known = ", ".join(earlier) or "none"
                message = f"of names candidates before it, which are {known}; not {of}"
                yield (*inside, "of"), message
            elif len({*of}) < len(of):
                yield (*inside, "of"), f"of names a candidate more than once: {of}"
        earlier.append(str(name))


def _parameters(parameters: Mapping[str, Any]) -> _Problems:
    for name, value in parameters.items():
        at: Path = ("parameters", name)
        if not isinstance(value, str) and not _is_whole(value):
            yield at, f"{name} is a text or a whole number, not {value!r}"
        if name in RUN_PARAMETERS:
            yield at, f"every run gives @{name}: name the parameter otherwise"
        elif not _COLUMN.fullmatch(name):
            yield at, f"{name!r} can be no parameter of a statement"


def _stream(config: Mapping[str, Any]) -> _Problems:
    stream = config.get("stream", {})
    lists = ("events", "scored", "truths")
    yield from _unknown(("stream",), stream, (*lists, "amount", "currency"))
    for key in lists:
        if not _is_list(stream.get(key, []), str):
            yield ("stream", key), f"{key} is a list of types of events"
    amount, currency = stream.get("amount", ""), stream.get("currency", "")
    if amount and not _is_numeric(config, amount):
        yield ("stream", "amount"), f"amount {amount} is not a numeric feature"
    if currency and not (_CURRENCY.fullmatch(str(currency)) and amount):
        message = f"currency is of the amount, as EUR is; not {currency!r}"
        yield ("stream", "currency"), message


def _events(events: Mapping[str, Any]) -> _Problems:
    for event, fields in events.items():
        if not _is_table(fields):
            yield ("events", event), f"{event} is a table of fields: [events.{event}]"
            continue
        for field, kind in fields.items():
            if kind not in EVENT_KINDS:
                kinds = ", ".join(EVENT_KINDS)
                message = f"fields are one of {kinds}: {field} is {kind!r}"
                yield ("events", event, field), message


def _values(table: str, named: Mapping[str, Any]) -> _Problems:
    for key, kind in named.items():
        if not _KEY.fullmatch(key):
            message = "letters, digits and underscores, 40 at most, no digit first"
            yield (table, key), f"{key[:64]!r} can be no name of {table}: {message}"
        if kind not in VALUE_TYPES:
            types = ", ".join(VALUE_TYPES)
            yield (table, key), f"a value is read as {types}: {key} is {kind!r}"
