"""Options that commands of a clone share, beside those of ``propensity.cli``."""

from __future__ import annotations

import contextlib
from typing import Any

import click
from click.shell_completion import CompletionItem

from propensity.cli.options import Decorator, Whole, completions

VERSION = Whole(min=0)


class StateName(click.ParamType[str]):
    """The name of a local state, of which a shell completes the rest."""

    name = "state"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the name."""
        from local.errors import LocalError
        from local.stack.state import State

        try:
            return State(value).name
        except LocalError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the states that begin so."""
        from local.stack.state import states

        return completions([state.name for state in states()], incomplete)


class AudienceName(click.ParamType[str]):
    """The name of an audience, of which a shell completes the rest."""

    name = "name"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the name."""
        from propensity.ids import NAME

        if not NAME.fullmatch(value):
            rule = "use lower-case letters, digits and underscores"
            self.fail(f"{value!r} is not a valid name: {rule}", param, ctx)
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the use case's audiences that begin so."""
        from propensity import usecases
        from propensity.audience import declared
        from propensity.errors import PropensityError
        from propensity.settings import Settings

        names = list[str]()
        # A shell that completes has no place for an error.
        with contextlib.suppress(PropensityError):
            chosen = ctx.params.get("use_case")
            if chosen is None:
                chosen = Settings.from_environment().use_case
            names = declared.names(usecases.load(chosen))
        return completions(names, incomplete)


def local_state(shown: str = "demo") -> Decorator[Any]:
    """Return the option ``--state``; ``shown`` describes its default."""
    text = "Name of the local state."
    return click.option("--state", type=StateName(), show_default=shown, help=text)


FORCE: Decorator[Any] = click.option(
    "--force",
    is_flag=True,
    help="Allow a first version that was not shown to be better than chance.",
)
