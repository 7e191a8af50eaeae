"""A program of commands in sections."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from propensity.cli.answers import Exit, fail
from propensity.cli.options import UnknownName


class Program(click.Group):
    """All commands; the help lists them in sections."""

    def __init__(
        self,
        sections: Mapping[str, Sequence[click.Command]],
        *,
        version: Callable[[], str],
        options: Sequence[click.Option] = (),
        epilog: str,
    ) -> None:
        """
        Make a program.

        Args:
            sections: Commands by the title that they have in the help.
            version: What ``--version`` prints.
            options: Those before a command, beside ``--version``.
            epilog: The end of the help.
        """
        self.sections = sections
        commands = list[click.Command]()
        for section in sections.values():
            commands += section

        def print_version(ctx: click.Context, _: Any, is_wanted: bool) -> None:
            if is_wanted:
                click.echo(f"propensity {version()}")
                ctx.exit()

        flag = click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=print_version,
            help="Print the version.",
        )
        params: list[click.Parameter] = [flag]
        params += options
        super().__init__(
            "propensity",
            commands,
            params=params,
            context_settings={
                "help_option_names": ["-h", "--help"],
                "show_default": True,
            },
            help="Predict a probability for every user, from behaviour data.",
            epilog=epilog,
        )

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the sections of the help, with a line for each command."""
        for title, commands in self.sections.items():
            lines = []
            for command in commands:
                lines.append((str(command.name), command.get_short_help_str(70)))
            with formatter.section(title):
                formatter.write_dl(lines)

    def run(self, arguments: Sequence[str] | None = None) -> int:
        """Run a command line, by default this process's; return the exit code."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A locale without a character of the output must not make a command fail.
            sys.stdout.reconfigure(errors="backslashreplace")
        words = sys.argv[1:] if arguments is None else arguments
        as_json = "--json" in words
        try:
            code = self.main(words, prog_name="propensity", standalone_mode=False)
            return Exit.DONE if code is None else int(code)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
        except click.UsageError as error:
            name = error.ctx.command_path if error.ctx else "propensity"
            hint = f"`{name} --help` explains its options, with an example"
            if isinstance(error, UnknownName):
                hint = error.hint
            problem = error.format_message()
            fail(name, problem, hint, code=Exit.UNKNOWN, as_json=as_json)
        except click.Abort:
            code = Exit.INTERRUPTED
            return fail("propensity", "interrupted", code=code, as_json=as_json)
        except SystemExit as ended:
            return Exit.DONE if ended.code is None else int(ended.code)
        return Exit.UNKNOWN
