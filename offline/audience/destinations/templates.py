"""Reading a destination's TOML: known keys, and variables of the environment."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import urlsplit

from propensity.errors import RequestError, SettingsError

MOST_AT_ONCE = 64
# In a ledger, beside others, and of the destination that needs no file.
MOST_CHARACTERS = 64
RESERVED = "bucket"

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def fail(field: str, message: str) -> NoReturn:
    """Raise RequestError about a field of the file."""
    raise RequestError(f"the destination's {message}", field=field)


def checked(
    template: Mapping[str, Any], known: Mapping[str, Any], *, required: Sequence[str]
) -> dict[str, Any]:
    """
    Return the values of a file, with defaults.

    Args:
        known: Default by key, which says the type; ``kind`` and ``name`` besides.

    Raises:
        RequestError: A key is unknown, missing or of another type.
    """
    for key, value in template.items():
        if key in ("kind", "name"):
            continue
        if key not in known:
            fail(key, f"{key} is unknown; known are {', '.join(('name', *known))}")
        # The message leaves out the value: it may be a secret.
        if not isinstance(known[key], float) and type(value) is not type(known[key]):
            fail(key, f"{key} is of another type than {known[key]!r}")
    check_name(template)
    for key in required:
        if not isinstance(template.get(key), str) or not template[key]:
            fail(key, f"{key} is missing: a text")
    values = {**known, **template}
    if "rate" in known:
        rate(values["rate"])
    if "url" in known:
        check_url("url", values["url"])
    return values


def check_name(template: Mapping[str, Any]) -> None:
    """
    Check the name in the ledger.

    Raises:
        RequestError: It is missing, too long, or that of the bucket.
    """
    name = template.get("name")
    if not isinstance(name, str) or not name.strip():
        fail("name", "name is missing: a text")
    if len(name) > MOST_CHARACTERS or not name.isprintable() or name == RESERVED:
        fail(
            "name",
            f"name stands in the ledger: {MOST_CHARACTERS} characters at most, all of "
            f"them printable, and not {RESERVED!r}",
        )


def check_url(field: str, url: Any) -> None:
    """
    Check an address, whose variables have their values.

    Raises:
        RequestError: It is none, or personal data would go in the clear.
    """
    try:
        parts = urlsplit(url)
        is_here = parts.scheme == "http" and parts.hostname == "127.0.0.1"
        is_one = bool(parts.hostname) and (parts.scheme == "https" or is_here)
        # Reading it is its check.
        _ = parts.port
        # Who sends it may find another host where there is a backslash.
        is_one &= not re.search(r"[\s\\\x00-\x1f\x7f]", url)
    except (ValueError, AttributeError, TypeError):
        is_one = False
    if not is_one:
        fail(field, f"{field} has to begin with https:// and name a host")


def rate(value: Any) -> float:
    """
    Return requests a second, 0 for no limit.

    Raises:
        RequestError: It is no number, or none of 0 or more.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and value >= 0):
        fail("rate", "rate is a number of requests a second, 0 for no limit")
    return float(value)


def at_once(template: Mapping[str, Any]) -> int:
    """
    Return how many requests may be under way together, 1 where a file does not say.

    Raises:
        RequestError: It is no number from 1 to 64.
    """
    value = template.get("at_once", 1)
    if type(value) is not int or not 1 <= value <= MOST_AT_ONCE:
        fail("at_once", f"at_once is a number of requests from 1 to {MOST_AT_ONCE}")
    return value


def with_variables(value: Any, variables: Mapping[str, str]) -> Any:
    """
    Return a text, or all texts of a table or list, with the values of ``${NAME}``.

    Raises:
        SettingsError: A variable is not set.
    """

    if isinstance(value, Mapping):
        return {key: with_variables(part, variables) for key, part in value.items()}
    if isinstance(value, list):
        return [with_variables(part, variables) for part in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        if not variables.get(match[1]):
            raise SettingsError(
                f"the destination needs the variable {match[1]}, which is not set",
                field=match[1],
                is_missing=True,
            )
        return variables[match[1]]

    return _VARIABLE.sub(variable, value)


def values_of(value: Any, variables: Mapping[str, str]) -> list[str]:
    """Return the values of all ``${NAME}`` in a table, which may be secrets."""
    names = set(_VARIABLE.findall(json.dumps(value, default=str)))
    return [variables[name] for name in sorted(names) if name in variables]


def without_variables(text: str) -> str:
    """Return a text without its ``${NAME}``."""
    return _VARIABLE.sub("", text)
