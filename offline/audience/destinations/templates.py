"""Reading a destination's TOML: known keys, and variables of the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from propensity.errors import RequestError, SettingsError

MOST_AT_ONCE = 64

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
        template: The file.
        known: Default by key, which says the type; ``kind`` and ``name`` besides.
        required: Keys that must be there.

    Raises:
        RequestError: A key is unknown, missing or of another type.
    """
    for key, value in template.items():
        if key in ("kind", "name"):
            continue
        if key not in known:
            fail(key, f"{key} is unknown; known are {', '.join(('name', *known))}")
        kind = (int, float) if isinstance(known[key], float) else type(known[key])
        if not isinstance(value, kind):
            fail(key, f"{key} is {value!r}: of another type than {known[key]!r}")
    for key in ("name", *required):
        if not isinstance(template.get(key), str) or not template[key]:
            fail(key, f"{key} is missing: a text")
    return {**known, **template}


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


def with_variables(text: str, variables: Mapping[str, str]) -> str:
    """
    Return a text with the values of ``${NAME}``.

    Raises:
        SettingsError: A variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        if not variables.get(match[1]):
            raise SettingsError(
                f"the destination needs the variable {match[1]}, which is not set",
                field=match[1],
                is_missing=True,
            )
        return variables[match[1]]

    return _VARIABLE.sub(value, text)


def without_variables(text: str) -> str:
    """Return a text without its ``${NAME}``."""
    return _VARIABLE.sub("", text)
