"""
The rules of a ``usecase.toml``.

A check lists all problems of a file at once, each with its line, so that its author
corrects them in one round. Pure: text in, problems out.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
        *("sampled_by", "has_positive", "bucket"),
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

Path = tuple[str | int, ...]
_Problems = Iterator[tuple[Path, str]]

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
_ENTRY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*[\w-]+)*)\s*=""")
_AT_LINE = re.compile(r"\(at line (\d+)")


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
    found = [*_wrong(config, _USE_CASE, ())]
    # What is right by itself must fit together, too.
    wrong = {path[0] for path, _ in found if path}
    found += _rules({key: value for key, value in config.items() if key not in wrong})
    return sorted(
        Problem(FILE, line_of(text, path), message) for path, message in found
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


# -- what each entry is ---------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """What a value is, in words, and how that is known."""

    what: str
    holds: Callable[[Any], bool]


def one_of(*choices: str) -> Rule:
    """Return the rule of a value that is one of some."""
    return Rule(f"one of {', '.join(choices)}", lambda value: value in choices)


def _is_budget(value: object) -> bool:
    try:
        return bool(Budget.parse(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _is_days(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAXIMUM_DAYS


_ANY = re.compile(r".+")
# A column of BigQuery, or a parameter of a statement.
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# Google's rule for the names of parameters and properties:
# https://support.google.com/analytics/answer/13316687, event naming rules
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
# Of an amount: ISO 4217.
_CURRENCY = re.compile(r"[A-Z]{3}")

_TEXT = Rule("a text", lambda value: isinstance(value, str) and bool(value.strip()))
_TEXTS = Rule("a list of texts", _are_texts)
_FLAG = Rule("true or false", lambda value: isinstance(value, bool))
_TABLE = Rule("a table", lambda value: isinstance(value, dict))
_DAYS = Rule(f"a whole number of days from 1 to {MAXIMUM_DAYS:,}", _is_days)
_PARAMETER = Rule("a text or a whole number", lambda value: type(value) in (str, int))
_NAME = Rule("a column", lambda value: bool(_COLUMN.fullmatch(str(value))))
_VALUE = ("name in the export", _KEY, one_of(*VALUE_TYPES))

# Each entry with its rule; "?" marks those that may be missing. A tuple is a table
# whose entries the author names: what they are, their names, and the rule of each. A
# list is one table or more.
_USE_CASE: Mapping[str, Any] = {
    "title": _TEXT,
    "outcome": _TEXT,
    "entity": _TEXT,
    "lookback_days": _DAYS,
    "horizon_days": _DAYS,
    "threshold": Rule("a probability", _is_share),
    "features": ("column", _COLUMN, one_of(NUMBER, CATEGORY)),
    "baseline": {"feature": _TEXT, "ascending": _FLAG},
    "candidates": [
        {"name": _TEXT, "algorithm": one_of(*ALGORITHMS), "parameters?": _TABLE}
    ],
    "span?": _TEXT,
    "budget?": Rule('a number, as "1000", or a share, as "5%"', _is_budget),
    "parameters?": ("parameter of a statement", _COLUMN, _PARAMETER),
    "stream?": {
        "events?": _TEXTS,
        "scored?": _TEXTS,
        "truths?": _TEXTS,
        "amount?": _TEXT,
        "currency?": Rule(
            "like EUR", lambda value: bool(_CURRENCY.fullmatch(str(value)))
        ),
    },
    "events?": ("event", _ANY, ("field", _ANY, one_of(*EVENT_KINDS))),
    "sources?": (
        "source",
        sources.NAME,
        {
            "table": Rule("project.dataset.table or dataset.table", sources.is_table),
            "user_id": _NAME,
            "valid_from?": _NAME,
            "snapshot?": _FLAG,
            "columns?": ("column", _COLUMN, one_of(*sources.TYPES)),
            "plans?": _TEXTS,
        },
    ),
    "event_params?": _VALUE,
    "user_properties?": _VALUE,
}


def _wrong(value: Any, rule: Any, at: Path) -> _Problems:
    """Yield path and message of what is not as its rule has it."""
    name = at[-1] if at else ""
    if isinstance(rule, Rule):
        if not rule.holds(value):
            yield at, f"{name} is {rule.what}, not {value!r}"
    elif isinstance(rule, list):
        if not isinstance(value, list) or not value:
            yield at, f"{name} are tables, one or more: [[{name}]]"
            return
        for number, one in enumerate(value):
            yield from _wrong(one, rule[0], (*at, number))
    elif not isinstance(value, dict):
        yield at, f"{name} is a table, not {value!r}"
    elif isinstance(rule, tuple):
        what, pattern, inner = rule
        for key, one in value.items():
            if pattern.fullmatch(key):
                yield from _wrong(one, inner, (*at, key))
            else:
                yield (*at, key), f"{key[:64]!r} can name no {what}"
    else:
        rules = {key.removesuffix("?"): inner for key, inner in rule.items()}
        known = f"known are {', '.join(rules)}"
        unknown = [key for key in value if key not in rules]
        missing = [key for key in rules if key in rule and key not in value]
        yield from (((*at, key), f"{key} is unknown; {known}") for key in unknown)
        yield from ((at, f"{key} is missing") for key in missing)
        for key in value.keys() & rules.keys():
            yield from _wrong(value[key], rules[key], (*at, key))


# -- what fits together ---------------------------------------------------------------


def _rules(config: Mapping[str, Any]) -> _Problems:
    """Yield path and message of mistakes among entries that are right by themselves."""
    features, stream = config.get("features", {}), config.get("stream", {})
    for name in features:
        if name.lower() in RESERVED:
            message = f"{name} can be no feature: training has a column of this name"
            yield ("features", name), message
    for table, key in (("baseline", "feature"), ("stream", "amount")):
        feature = config.get(table, {}).get(key)
        is_named = feature is not None and "features" in config
        if is_named and features.get(feature) != NUMBER:
            yield (table, key), f"{key} {feature} is not a numeric feature"
    for name in {*config.get("parameters", ())} & RUN_PARAMETERS:
        message = f"every run gives @{name}: name the parameter otherwise"
        yield ("parameters", name), message
    if "currency" in stream and "amount" not in stream:
        yield ("stream", "currency"), "currency is of the amount, which is missing"
    yield from _candidates(config.get("candidates", ()), bool(stream.get("scored")))
    yield from sources.rules(config)


def _candidates(candidates: Sequence[Any], scores_events: bool) -> _Problems:  # noqa: FBT001
    earlier: list[str] = []
    for number, candidate in enumerate(candidates):
        at: Path = ("candidates", number)
        if candidate["name"] in earlier:
            yield (*at, "name"), "candidates must be named, each differently"
        if candidate["algorithm"] == FOREST and not scores_events:
            yield (*at, "algorithm"), f"{FOREST} scores events, and not users"
        if candidate["algorithm"] == MEAN:
            parameters = candidate.get("parameters", {})
            of = parameters.get("of", [])
            known = ", ".join(earlier) or "none"
            if {*parameters} != {"of"} or not _are_texts(of) or not of:
                others = sorted({*parameters} - {"of"})[:1]
                message = f"{MEAN} has one parameter, the list of candidates: of"
                yield (*at, "parameters", *others), message
            elif not {*of} <= {*earlier} or len({*of}) < len(of):
                message = f"of names candidates before it, each once, which are {known}"
                yield (*at, "parameters", "of"), f"{message}; not {of}"
        earlier.append(candidate["name"])
