"""What commands take: the name of a value, such as DAY, means the same everywhere."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click


def day(text: str) -> date:
    """Read a day from which weeks can be counted, back and forth."""
    from propensity.timeframe import day_of

    read = day_of(text)
    if not 1970 <= read.year <= 2999:
        raise ValueError(f"{text!r} is not a day of 1970 to 2999")
    return read


def moment(text: str) -> datetime:
    """Read a day or a time."""
    from propensity.timeframe import moment_of

    return moment_of(text)


def state(text: str) -> str:
    """Read the name of a local state."""
    from local.errors import LocalError
    from local.stack.state import State

    try:
        return State(text).name
    except LocalError as error:
        raise ValueError(error) from None


def name(text: str) -> str:
    """Read the name of an audience or of a control group."""
    from propensity.ids import NAME

    if NAME.fullmatch(text):
        return text
    raise ValueError(
        f"{text!r} is not a name: use lower-case letters, digits and underscores"
    )


def amount(text: str) -> Decimal:
    """Read an amount, exactly."""
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        return Decimal(text)
    raise ValueError(f"{text!r} is not an amount of 0 or more")


def share(text: str) -> float:
    """Read a percentage."""
    found = re.fullmatch(r"(\d{1,2}(\.\d+)?)%", text, re.ASCII)
    if found and float(found[1]) <= 90:
        return float(found[1]) / 100
    raise ValueError(f"{text!r} is not a share from 0% to 90%")


# How a value is read by its name in the help: by a type of click's, or by a function,
# whose ValueError ends the command. Any other is a text.
TYPES: dict[str, Any] = {
    "N": click.IntRange(min=1),
    "P": click.FloatRange(0, 1),
    "VERSION": click.IntRange(min=0),
    **dict.fromkeys(("FILE", "FUNCTION", "TARGET"), click.Path(path_type=Path)),
    "DAY": day,
    "MOMENT": moment,
    "STATE": state,
    **dict.fromkeys(("AUDIENCE", "GROUP"), name),
    "AMOUNT": amount,
    "SHARE": share,
}


def option(usage: str, text: str, to: str = "", **more: Any) -> click.Option:
    """
    Return an option of a command.

    Args:
        usage: As in ``--as-of DAY``; without a value it is a flag.
        text: Its help.
        to: The argument of the function that gets it, where that has another name.
    """
    flag, _, value = usage.partition(" ")
    is_flag = {"is_flag": True}
    kind = {"metavar": value, "type": TYPES.get(value)} if value else is_flag
    is_shown = bool(value) and "default" in more and "(default" not in text
    names = [flag, to] if to else [flag]
    return click.Option(names, help=text, show_default=is_shown, **(kind | more))


def argument(usage: str, **more: Any) -> click.Argument:
    """Return what a command takes by its place, such as ``VERSION``."""
    name = usage.strip("[].")
    given = {"required": name == usage.strip("."), "type": TYPES.get(name), **more}
    return click.Argument([name.lower()], metavar=usage, **given)


def use_case(default: str | None = None, shown: str = "") -> click.Option:
    """Return ``--use-case``; ``shown`` is the default as the help names it."""
    shown = shown or default or "PROPENSITY_USE_CASE"
    text = f"Name of the use case (default: {shown})."
    return option("--use-case NAME", text, default=default)


def local_state(shown: str = "demo") -> click.Option:
    """Return ``--state``."""
    return option("--state STATE", f"Name of the local state (default: {shown}).")


DRY_RUN = option(
    "--dry-run", "Check and say what would be done, and change nothing.", "is_dry"
)
