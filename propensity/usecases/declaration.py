"""
The rules of a ``usecase.toml``.

A check lists all problems of a file at once, each with its line, so that its author
corrects them in one round. Pure: text in, problems out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from propensity.budget import Budget
from propensity.usecases import sources

FILE = "usecase.toml"

NUMBER = "number"
CATEGORY = "category"
KINDS = (NUMBER, CATEGORY)

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

# Columns of training_rows.sql beside the features. A model with one of them would know
# the answer, or whose row it is.
RESERVED = frozenset({"as_of", "user_id", "label", "weight", "label_amount"})
# Further columns of a training: of users in BigQuery, of events in the data set.
_OF_USERS = frozenset({"sampled_by", "has_positive", "class", "bucket"})
_OF_EVENTS = frozenset({"state", "truth_time", "is_conflicting"})

# Parameters that runs set, in all statements or in some.
RUN_PARAMETERS = frozenset(
    {
        "as_ofs", "today", "earliest", "lookback_days", "horizon_days", "first_suffix",
        "first_repeat_suffix", "last_suffix", "first_label_suffix", "last_label_suffix",
        "maximum_rows", "use_case", "prediction_as_of", "user_ids",
        "first_event_day", "known_before",
    }
)  # fmt: skip

_REQUIRED = (
    "title", "outcome", "entity", "lookback_days", "horizon_days", "threshold",
    "features", "baseline", "candidates",
)  # fmt: skip
_OPTIONAL = ("span", "budget", "parameters", "stream", "events", "sources", *VALUES)
_CANDIDATE = ("name", "algorithm", "parameters")
_STREAM = ("events", "scored", "truths", "amount", "currency")

# Of a use case that states none.
BUDGET = "10%"

# Of a lookback and a horizon: ten years, more than Google Analytics has existed for.
MAXIMUM_DAYS = 3_650

# Of INT64, the type of a whole number in a statement.
_WHOLE = range(-(2**63), 2**63)

# Of an amount: ISO 4217.
_CURRENCY = re.compile(r"[A-Z]{3}")

# A column of BigQuery.
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# Google's rule for the names of parameters and properties; its own begin with an
# underscore.
# https://support.google.com/analytics/answer/13316687, event naming rules
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
_ENTRY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*[\w-]+)*)\s*=""")
_AT_LINE = re.compile(r"\(at line (\d+)")

Path = tuple[str | int, ...]


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
    except tomllib.TOMLDecodeError as error:
        at = _AT_LINE.search(str(error))
        last = max(1, len(text.splitlines()))
        return [
            Problem(FILE, int(at[1]) if at else last, f"is not valid TOML: {error}")
        ]
    except (ValueError, RecursionError):
        return [
            Problem(
                FILE,
                1,
                "has a number of thousands of digits, or is nested thousands deep",
            )
        ]
    places = lines(text)
    return sorted(
        Problem(FILE, line_of(places, path), message)
        for path, message in _wrong(config)
    )


def lines(text: str) -> dict[Path, int]:
    """Return the line of each table and entry of a TOML document, by its path."""
    line_by_path: dict[Path, int] = {(): 1}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            *outer, last = _keys(header[2])
            table = (*_resolved(tuple(outer), counts), last)
            line_by_path.setdefault(table, number)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
            table = _resolved(_keys(header[2]), counts)
            line_by_path.setdefault(table, number)
        elif entry := _ENTRY.match(line):
            line_by_path.setdefault(table + _keys(entry[1]), number)
    return line_by_path


def line_of(places: Mapping[Path, int], path: Path) -> int:
    """Return the line of an entry, or of the table around it if it is missing."""
    return next(
        places[path[:length]]
        for length in range(len(path), -1, -1)
        if path[:length] in places
    )


def _keys(text: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in text.split("."))


def _resolved(keys: Path, counts: Mapping[Path, int]) -> Path:
    """Put the number of the newest table behind the name of each list of tables."""
    path: Path = ()
    for key in keys:
        path = (*path, key)
        if path in counts:
            path = (*path, counts[path])
    return path


# -- the rules ------------------------------------------------------------------------

_Problems = Iterator[tuple[Path, str]]


def _wrong(config: Mapping[str, Any]) -> _Problems:
    """Yield path and message of every mistake."""
    known = (*_REQUIRED, *_OPTIONAL)
    for key in config:
        if key not in known:
            yield (key,), f"{key} is unknown; known are {', '.join(known)}"
    for key in _REQUIRED:
        if key not in config:
            yield (), f"{key} is missing"
    rules: Mapping[str, Callable[[Mapping[str, Any]], _Problems]] = {
        "features": _features,
        "baseline": _baseline,
        "parameters": _parameters,
        "stream": _stream,
        "events": _events,
    }
    for key, rule in rules.items():
        if key not in config:
            continue
        if isinstance(config[key], Mapping):
            yield from rule(config)
        else:
            yield (key,), f"{key} is a table: [{key}]"
    yield from _scalars(config)
    if "candidates" in config:
        yield from _candidates(config)
    for key in VALUES:
        yield from _values(key, config.get(key, {}))
    yield from sources.rules(config)


def _scalars(config: Mapping[str, Any]) -> _Problems:
    for key in ("title", "outcome", "entity", "span"):
        if not isinstance(config.get(key, ""), str):
            yield (key,), f"{key} is a text, not {config[key]!r}"
        elif key in config and not config[key].strip():
            yield (key,), f"{key} is empty, and pages are to say it"
    for key in ("lookback_days", "horizon_days"):
        days = config.get(key, 1)
        if not _is_whole(days) or not 1 <= days <= MAXIMUM_DAYS:
            yield (
                (key,),
                f"{key} is a whole number of days from 1 to {MAXIMUM_DAYS:,}, "
                f"not {days!r}",
            )
    threshold = config.get("threshold", 0)
    if not _is_number(threshold) or not 0 <= threshold <= 1:
        yield ("threshold",), f"threshold is a probability, not {threshold!r}"
    budget = config.get("budget", BUDGET)
    try:
        Budget.parse(str(budget))
    except ValueError as error:
        yield ("budget",), f"budget is {budget!r}, but it {error}"


def _features(config: Mapping[str, Any]) -> _Problems:
    features = _table(config, "features")
    if not features:
        yield ("features",), "features are columns of features.sql, one or more"
    columns, scored = dict[str, str](), _table(config, "stream").get("scored")
    for name, kind in features.items():
        if kind not in KINDS:
            yield (
                ("features", name),
                f"features are a number or a category each: {name} is {kind!r}",
            )
        same = columns.setdefault(name.lower(), name)
        if same != name:
            yield ("features", name), _one_column(same, name)
        if name.lower() in RESERVED:
            yield (
                ("features", name),
                f"{name} can be no feature: it is not known when a user is scored",
            )
        elif name in _OF_EVENTS if scored else name.lower() in _OF_USERS:
            yield (
                ("features", name),
                f"{name} can be no feature: training has a column of this name",
            )
        elif not _COLUMN.fullmatch(name):
            yield ("features", name), f"{name!r} can be no column of BigQuery"


def _baseline(config: Mapping[str, Any]) -> _Problems:
    baseline = _table(config, "baseline")
    yield from _entries(baseline, ("feature", "ascending"), "baseline")
    if "feature" in baseline and not _is_numeric(config, baseline["feature"]):
        yield (
            ("baseline", "feature"),
            f"baseline {baseline['feature']} is not a numeric feature",
        )
    if not isinstance(baseline.get("ascending", True), bool):
        yield (
            ("baseline", "ascending"),
            f"ascending is true or false, not {baseline['ascending']!r}",
        )


def _candidates(config: Mapping[str, Any]) -> _Problems:
    candidates = config["candidates"]
    if not _is_list(candidates, dict) or not candidates:
        yield ("candidates",), "candidates are tables, one or more: [[candidates]]"
        return
    scores_events = bool(_table(config, "stream").get("scored"))
    allowed = [name for name in ALGORITHMS if scores_events or name != FOREST]
    earlier: list[str] = []
    for number, candidate in enumerate(candidates):
        at: Path = ("candidates", number)
        for key in sorted(candidate.keys() - {*_CANDIDATE}):
            yield (*at, key), f"{key} is unknown; known are {', '.join(_CANDIDATE)}"
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
            yield (
                (*at, "parameters"),
                "parameters are a table: [candidates.parameters]",
            )
        elif algorithm == MEAN:
            yield from _mean((*at, "parameters"), parameters, earlier)
        if isinstance(name, str):
            earlier.append(name)


def _mean(at: Path, parameters: Mapping[str, Any], earlier: list[str]) -> _Problems:
    for key in sorted(parameters.keys() - {"of"}):
        yield (*at, key), f"a {MEAN} has no parameter {key}, only of"
    of = parameters.get("of", [])
    if not _is_list(of, str) or not of or not {*of} <= {*earlier}:
        yield (
            (*at, "of"),
            f"of names candidates before it, which are {', '.join(earlier) or 'none'}; "
            f"not {of!r}",
        )
    elif len({*of}) < len(of):
        yield (*at, "of"), f"of names a candidate more than once: {of!r}"


def _parameters(config: Mapping[str, Any]) -> _Problems:
    for name, value in _table(config, "parameters").items():
        at: Path = ("parameters", name)
        if not isinstance(value, str) and not _is_whole(value):
            yield at, f"{name} is a text or a whole number, not {value!r}"
        elif isinstance(value, int) and value not in _WHOLE:
            yield at, f"{name} is {value}, beyond INT64"
        if name in RUN_PARAMETERS:
            yield at, f"every run gives @{name}: name the parameter otherwise"
        elif not _COLUMN.fullmatch(name):
            yield at, f"{name!r} can be no parameter of a statement"


def _stream(config: Mapping[str, Any]) -> _Problems:
    stream = _table(config, "stream")
    for key in stream:
        if key not in _STREAM:
            yield ("stream", key), f"{key} is unknown; known are {', '.join(_STREAM)}"
    for key in ("events", "scored", "truths"):
        if not _is_list(stream.get(key, []), str):
            yield ("stream", key), f"{key} is a list of types of events"
    amount = stream.get("amount", "")
    if amount and not _is_numeric(config, amount):
        yield ("stream", "amount"), f"amount {amount} is not a numeric feature"
    currency = stream.get("currency", "")
    if currency and not (isinstance(currency, str) and _CURRENCY.fullmatch(currency)):
        yield (
            ("stream", "currency"),
            f"currency is three capital letters, such as EUR, not {currency!r}",
        )
    elif currency and not amount:
        yield ("stream", "currency"), "currency is of the amount, and there is none"


def _events(config: Mapping[str, Any]) -> _Problems:
    for event, fields in _table(config, "events").items():
        if not isinstance(fields, Mapping):
            yield ("events", event), f"{event} is a table of fields: [events.{event}]"
            continue
        for field, kind in fields.items():
            if kind not in EVENT_KINDS:
                yield (
                    ("events", event, field),
                    f"fields are one of {', '.join(EVENT_KINDS)}: {field} is {kind!r}",
                )


def _values(table: str, named: Any) -> _Problems:
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
            yield (table, key), _one_column(same, key)


def _one_column(name: str, other: str) -> str:
    return f"{name} and {other} would be one column: BigQuery's have no case"


def _entries(table: Mapping[str, Any], keys: Collection[str], name: str) -> _Problems:
    for key in keys:
        if key not in table:
            yield (name,), f"{name} has no {key}"
    for key in table:
        if key not in keys:
            yield (name, key), f"{key} is unknown; known are {', '.join(keys)}"


def _table(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = config.get(key, {})
    return table if isinstance(table, Mapping) else {}


def _is_numeric(config: Mapping[str, Any], feature: object) -> bool:
    kinds = _table(config, "features")
    return isinstance(feature, str) and kinds.get(feature) == NUMBER


def _is_list(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(entry, kind) for entry in value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
