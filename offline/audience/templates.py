"""Reading a destination's TOML: known keys, places, variables of the environment."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import urlsplit

from propensity.errors import RequestError, SettingsError

# The name of the destination that needs no file.
BUCKET = "bucket"
# Keys of the tables in a file; any of headers.
OF_TABLES: Mapping[str, Sequence[str]] = {
    "headers": (),
    "remove": ("url", "method", "body"),
    "answer": ("rejected", "user", "reason"),
}

_PLACE = re.compile(r"\{(\w+)\}")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def fail(field: str, problem: str) -> NoReturn:
    raise RequestError(f"the destination's {field} {problem}", field=field)


def checked(
    template: Mapping[str, Any],
    defaults: Mapping[str, Any],
    variables: Mapping[str, str],
) -> dict[str, Any]:
    """Return a template with defaults and variables; refuse unknown keys and types."""
    for key, value in template.items():
        if key not in defaults:
            fail(key, f"is unknown; known are {', '.join(defaults)}")
        wanted = defaults[key]
        is_free = key in ("body", "user")
        # The message leaves out the value: it may be a secret.
        if not (
            is_free or isinstance(value, int | float if key == "rate" else type(wanted))
        ):
            fail(key, f"is of another type than {wanted!r}")
        for name, part in value.items() if key in OF_TABLES else ():
            if OF_TABLES[key] and name not in OF_TABLES[key]:
                fail(f"{key}.{name}", f"is unknown; known are {OF_TABLES[key]}")
            if not (isinstance(part, str) or name == "body"):
                fail(f"{key}.{name}", "is a text")
    name = template.get("name", "")
    if not name.strip() or len(name) > 64 or not name.isprintable() or name == BUCKET:
        fail("name", f"stands in the ledger: up to 64 characters, and not {BUCKET!r}")
    values: dict[str, Any] = with_variables({**defaults, **template}, variables)
    return values


def number(values: Mapping[str, Any], field: str, least: int, most: int) -> Any:
    value = values[field]
    if isinstance(value, bool) or not least <= value <= most:
        fail(field, f"is a number from {least} to {most:,}")
    return value


def check_url(field: str, url: str) -> None:
    """Refuse an address by which personal data would go in the clear."""
    try:
        parts = urlsplit(url)
        is_here = parts.scheme == "http" and parts.hostname == "127.0.0.1"
        is_one = bool(parts.hostname) and (parts.scheme == "https" or is_here)
        _ = parts.port
    except ValueError:
        is_one = False
    if not is_one or re.search(r"[\s\\\x00-\x1f\x7f]", url):
        fail(field, "has to begin with https:// and name a host")


def check_places(field: str, value: Any, known: Sequence[str]) -> None:
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        fail(field, "cannot be sent as JSON: it has a date or an infinite number")
    for name in _PLACE.findall(_VARIABLE.sub("", text)):
        if name not in known:
            fail(
                field, f"has {{{name}}}, which is unknown; known are {', '.join(known)}"
            )


def filled(value: Any, values: Mapping[str, Any]) -> Any:
    """Return a template with its values; a text that is one place keeps its type."""
    if isinstance(value, Mapping):
        return {key: filled(part, values) for key, part in value.items()}
    if isinstance(value, list):
        return [filled(part, values) for part in value]
    if not isinstance(value, str):
        return value
    if (whole := _PLACE.fullmatch(value)) and whole[1] in values:
        return values[whole[1]]
    return _PLACE.sub(lambda m: str(values.get(m[1], m[0])), value)


def with_variables(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: with_variables(part, variables) for key, part in value.items()}
    if isinstance(value, list):
        return [with_variables(part, variables) for part in value]

    def variable(match: re.Match[str]) -> str:
        if not variables.get(match[1]):
            raise SettingsError(
                f"the destination needs the variable {match[1]}, which is not set",
                field=match[1],
                is_missing=True,
            )
        return variables[match[1]]

    return _VARIABLE.sub(variable, value) if isinstance(value, str) else value


def secrets(template: Mapping[str, Any], variables: Mapping[str, str]) -> list[str]:
    """Return the values of all variables that a template names."""
    names = _VARIABLE.findall(json.dumps(template, default=str))
    return [variables[name] for name in names if name in variables]
