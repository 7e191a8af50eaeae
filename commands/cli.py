"""``propensity``: all commands in their groups."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence

import click

from commands import audience, data, deployment, machine, usecases
from commands.answers import Exit

GROUPS: Mapping[str, Sequence[click.Command]] = {
    "On this machine": (machine.demo, machine.up, machine.down, machine.status),
    "A deployment": (
        *(deployment.versions, deployment.promote, deployment.rollback),
        *(deployment.pin, deployment.dashboard, deployment.doctor, deployment.stage),
    ),
    "Data": (data.load, data.forget, data.dead_letters, audience.audience),
    "Use cases": (
        *(usecases.new_usecase, usecases.check_usecase, usecases.build_preprocessor),
    ),
}


class Commands(click.Group):
    """The commands in their groups."""

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the groups of the help, with a line for each command."""
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(str(one.name), one.get_short_help_str(70)) for one in commands]
                )


root = Commands(
    commands=[command for group in GROUPS.values() for command in group],
    help="A probability for every user, from behaviour data.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`propensity COMMAND --help` has a command's options, and docs/commands.md "
    "all of them, with the exit codes.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As on standard error: no locale makes a command fail by what it prints.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        root.main(arguments, prog_name="propensity")
    except SystemExit as ended:
        return int(ended.code or Exit.DONE)


if __name__ == "__main__":
    sys.exit(main())
