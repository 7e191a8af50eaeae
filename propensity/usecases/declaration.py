"""
What a ``usecase.toml`` may say, and at which line it is wrong.

All problems of a file are found at once, each with its line, so that a use case is
corrected in one round and not in one a mistake. Pure: text in, problems out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FILE = "usecase.toml"

NUMBER = "number"
CATEGORY = "category"
KINDS = (NUMBER, CATEGORY)

# The mean probability of candidates named before it.
MEAN = "MeanOfModels"
# What needs no truth, and scores single events.
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
    "text",
    "text or null",
    "personal",
    "birth date",
    "amount",
    "number",
    "label",
    "identity",
    "numeral",
    "instant",
    "truth",
    "truth time",
)

# Tables of usecase.toml that name values of the export, and the prefix of the columns
# of ``ga_events`` that hold them: parameters and properties may have the same names.
VALUES = {"event_params": "param_", "user_properties": "property_"}
# Types of these columns.
VALUE_TYPES = ("STRING", "INT64", "NUMERIC", "FLOAT64")

# Columns of training_rows.sql beside the features. A model that read one of them would
# know the answer, or whose row it is.
RESERVED = frozenset({"as_of", "user_id", "label", "weight"})

# Parameters that every run gives, or some statements get.
GIVEN = frozenset(
    {
        "as_ofs", "today", "earliest", "lookback_days", "horizon_days", "first_suffix",
        "last_suffix", "first_label_suffix", "last_label_suffix", "maximum_rows",
        "use_case", "prediction_as_of", "user_ids", "user_buckets", "first_event_day",
    }
)  # fmt: skip

_REQUIRED = (
    "title", "outcome", "entity", "lookback_days", "horizon_days", "threshold",
    "features", "baseline", "candidates",
)  # fmt: skip
_OPTIONAL = ("span", "parameters", "stream", "events", *VALUES)
_STREAM = ("events", "scored", "truths", "amount")

# A column, of BigQuery.
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# Google's rule for the name of a parameter or a property, and one for its own: these
# begin with an underscore.
# https://support.google.com/analytics/answer/13316687, event naming rules
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
_ENTRY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*[\w-]+)*)\s*=""")
_AT_LINE = re.compile(r"\(at line (\d+)")

Path = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Problem:
    """What is wrong with a use case: in which file of its folder, at which line."""

    file: str
    line: int
    message: str

    def located(self, name: str) -> str:
        """Return it as ``propensity/usecases/NAME/FILE:LINE: message``."""
        return f"propensity/usecases/{name}/{self.file}:{self.line}: {self.message}"


def problems(text: str) -> list[Problem]:
    """Return what is wrong with the text of a ``usecase.toml``, by line."""
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = _AT_LINE.search(str(error))
        last = max(1, len(text.splitlines()))
        return [Problem(FILE, int(at[1]) if at else last, f"is no TOML: {error}")]
    places = lines(text)
    return sorted(
        Problem(FILE, line_of(places, path), message) for path, message in _wrong(read)
    )


def lines(text: str) -> dict[Path, int]:
    """Return the line of each table and entry of a TOML document, by its path."""
    found: dict[Path, int] = {(): 1}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            *outer, last = _keys(header[2])
            table = (*_resolved(tuple(outer), counts), last)
            found.setdefault(table, number)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
            table = _resolved(_keys(header[2]), counts)
            found.setdefault(table, number)
        elif entry := _ENTRY.match(line):
            found.setdefault(table + _keys(entry[1]), number)
    return found


def line_of(places: Mapping[Path, int], path: Path) -> int:
    """Return the line of an entry, or else of what it would be in."""
    return next(
        places[path[:length]]
        for length in range(len(path), -1, -1)
        if path[:length] in places
    )


def _keys(text: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in text.split("."))


def _resolved(keys: Path, counts: Mapping[Path, int]) -> Path:
    """Put after the name of each list of tables the number of its newest table."""
    path: Path = ()
    for key in keys:
        path = (*path, key)
        if path in counts:
            path = (*path, counts[path])
    return path


# -- the rules ------------------------------------------------------------------------

_Found = Iterator[tuple[Path, str]]


def _wrong(read: Mapping[str, Any]) -> _Found:
    """Yield path and message of what is wrong."""
    known = (*_REQUIRED, *_OPTIONAL)
    for key in read:
        if key not in known:
            yield (key,), f"{key} is unknown; known are {', '.join(known)}"
    for key in _REQUIRED:
        if key not in read:
            yield (), f"{key} is missing"
    rules: Mapping[str, Callable[[Mapping[str, Any]], _Found]] = {
        "features": _features,
        "baseline": _baseline,
        "parameters": _parameters,
        "stream": _stream,
        "events": _events,
    }
    for key, rule in rules.items():
        if key not in read:
            continue
        if isinstance(read[key], Mapping):
            yield from rule(read)
        else:
            yield (key,), f"{key} is a table: [{key}]"
    yield from _scalars(read)
    if "candidates" in read:
        yield from _candidates(read)
    for key in VALUES:
        yield from _values(key, read.get(key, {}))


def _scalars(read: Mapping[str, Any]) -> _Found:
    for key in ("title", "outcome", "entity", "span"):
        if not isinstance(read.get(key, ""), str):
            yield (key,), f"{key} is a text, not {read[key]!r}"
    for key in ("lookback_days", "horizon_days"):
        if not _is_whole(read.get(key, 1)) or read.get(key, 1) < 1:
            yield (
                (key,),
                f"{key} is a whole number of days from 1 on, not {read[key]!r}",
            )
    threshold = read.get("threshold", 0)
    if not _is_number(threshold) or not 0 <= threshold <= 1:
        yield ("threshold",), f"threshold is a probability, not {threshold!r}"


def _features(read: Mapping[str, Any]) -> _Found:
    features = _table(read, "features")
    if not features:
        yield ("features",), "features are columns of features.sql, one or more"
    for name, kind in features.items():
        if kind not in KINDS:
            yield (
                ("features", name),
                f"features are a number or a category each: {name} is {kind!r}",
            )
        if name in RESERVED:
            yield (
                ("features", name),
                f"{name} can be no feature: it is not known when a user is scored",
            )
        elif not _COLUMN.fullmatch(name):
            yield ("features", name), f"{name!r} can be no column of BigQuery"


def _baseline(read: Mapping[str, Any]) -> _Found:
    baseline = _table(read, "baseline")
    yield from _entries(baseline, ("feature", "ascending"), "baseline")
    if "feature" in baseline and not _is_numeric(read, baseline["feature"]):
        yield (
            ("baseline", "feature"),
            f"baseline {baseline['feature']} is not a numeric feature",
        )
    if not isinstance(baseline.get("ascending", True), bool):
        yield (
            ("baseline", "ascending"),
            f"ascending is true or false, not {baseline['ascending']!r}",
        )


def _candidates(read: Mapping[str, Any]) -> _Found:
    candidates = read["candidates"]
    if not _is_list(candidates, dict) or not candidates:
        yield ("candidates",), "candidates are tables, one or more: [[candidates]]"
        return
    scores_events = bool(_table(read, "stream").get("scored"))
    allowed = [one for one in ALGORITHMS if scores_events or one != FOREST]
    earlier: list[str] = []
    for number, candidate in enumerate(candidates):
        at: Path = ("candidates", number)
        for key in sorted(candidate.keys() - {"name", "algorithm", "parameters"}):
            yield (
                (*at, key),
                f"{key} is unknown; a candidate has name, algorithm and parameters",
            )
        name, algorithm = candidate.get("name"), candidate.get("algorithm")
        if not isinstance(name, str) or not name or name in earlier:
            yield (*at, "name"), "candidates must be named, each differently"
        if algorithm is None:
            yield at, f"algorithm is missing; known are {', '.join(allowed)}"
        elif algorithm not in allowed:
            yield (
                (*at, "algorithm"),
                f"unknown algorithm {algorithm!r}; known are {', '.join(allowed)}",
            )
        parameters = candidate.get("parameters", {})
        if not isinstance(parameters, Mapping):
            yield (*at, "parameters"), "parameters are a table: [candidates.parameters]"
        elif algorithm == MEAN:
            yield from _mean((*at, "parameters"), parameters, earlier)
        if isinstance(name, str):
            earlier.append(name)


def _mean(at: Path, parameters: Mapping[str, Any], earlier: list[str]) -> _Found:
    for key in sorted(parameters.keys() - {"of"}):
        yield (*at, key), f"a {MEAN} has no parameter {key}, only of"
    of = parameters.get("of", [])
    if not _is_list(of, str) or not of or not {*of} <= {*earlier}:
        yield (
            (*at, "of"),
            f"of names candidates before it, which are {', '.join(earlier) or 'none'}; "
            f"not {of!r}",
        )


def _parameters(read: Mapping[str, Any]) -> _Found:
    for name, value in _table(read, "parameters").items():
        at: Path = ("parameters", name)
        if not isinstance(value, str) and not _is_whole(value):
            yield at, f"{name} is a text or a whole number, not {value!r}"
        if name in GIVEN:
            yield at, f"every run gives @{name}: name the parameter otherwise"
        elif not _COLUMN.fullmatch(name):
            yield at, f"{name!r} can be no parameter of a statement"


def _stream(read: Mapping[str, Any]) -> _Found:
    stream = _table(read, "stream")
    for key in stream:
        if key not in _STREAM:
            yield ("stream", key), f"{key} is unknown; known are {', '.join(_STREAM)}"
    for key in ("events", "scored", "truths"):
        if not _is_list(stream.get(key, []), str):
            yield ("stream", key), f"{key} is a list of types of events"
    amount = stream.get("amount", "")
    if amount and not _is_numeric(read, amount):
        yield ("stream", "amount"), f"amount {amount} is not a numeric feature"


def _events(read: Mapping[str, Any]) -> _Found:
    for event, fields in _table(read, "events").items():
        if not isinstance(fields, Mapping):
            yield ("events", event), f"{event} is a table of fields: [events.{event}]"
            continue
        for field, kind in fields.items():
            if kind not in EVENT_KINDS:
                yield (
                    ("events", event, field),
                    f"fields are one of {', '.join(EVENT_KINDS)}: {field} is {kind!r}",
                )


def _values(table: str, named: Any) -> _Found:
    if not isinstance(named, Mapping):
        yield (table,), f"{table} is a table: [{table}]"
        return
    columns: dict[str, str] = {}
    for key, kind in named.items():
        if not _KEY.fullmatch(key):
            yield (
                (table, key),
                f"{key[:64]!r} can be no name of {table}: these are letters, digits "
                "and underscores, 40 at most, with no digit first",
            )
        if kind not in VALUE_TYPES:
            yield (
                (table, key),
                f"a value is read as {', '.join(VALUE_TYPES)}: {key} is {kind!r}",
            )
        same = columns.setdefault(key.lower(), key)
        if same != key:
            yield (
                (table, key),
                f"{same} and {key} would be one column: BigQuery's have no case",
            )


def _entries(table: Mapping[str, Any], keys: Collection[str], name: str) -> _Found:
    for key in keys:
        if key not in table:
            yield (name,), f"{name} has no {key}"
    for key in table:
        if key not in keys:
            yield (name, key), f"{key} is unknown; known are {', '.join(keys)}"


def _table(read: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = read.get(key, {})
    return found if isinstance(found, Mapping) else {}


def _is_numeric(read: Mapping[str, Any], feature: object) -> bool:
    kinds = _table(read, "features")
    return isinstance(feature, str) and kinds.get(feature) == NUMBER


def _is_list(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(one, kind) for one in value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
