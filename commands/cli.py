"""``propensity``: all commands, by what they are about."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from commands import audience, data, deployment, machine, rehearsal, usecases
from commands.answers import Exit, example, fail
from commands.options import FILE, UnknownName
from propensity.suggestions import nearest

SECTIONS: Mapping[str, Sequence[click.Command]] = {
    "On this machine": (machine.demo, machine.up, machine.down, machine.status),
    "A deployment": (
        rehearsal.rehearse,
        deployment.deployment,
        deployment.versions,
        deployment.promote,
        deployment.rollback,
        deployment.pin,
        deployment.dashboard,
        deployment.message,
        deployment.doctor,
    ),
    "Data": (data.load, data.forget, data.dead_letters, audience.audience),
    "Use cases": (usecases.trying, usecases.usecase, usecases.build_preprocessor),
}


class Commands(click.Group):
    """All commands; the help lists them in sections."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; a wrong name is answered with the one that is meant."""
        near = nearest(args[0], self.commands)
        if args[0] in self.commands or not near:
            return super().resolve_command(ctx, args)
        problem = f"there is no command {args[0]!r}"
        raise UnknownName(problem, f"Did you mean {near!r}?", ctx)

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the sections of the help, with a line for each command."""
        for title, commands in SECTIONS.items():
            lines = []
            for command in commands:
                lines.append((str(command.name), command.get_short_help_str(70)))
            with formatter.section(title):
                formatter.write_dl(lines)


def _print_version(ctx: click.Context, _: Any, is_wanted: bool) -> None:
    """Print the release, or the commit where there was none."""
    if not is_wanted:
        return
    version = "(unknown version)"
    # A copy without git's folder, or a machine without git, has no number.
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        command = ["git", "describe", "--tags", "--always", "--dirty"]
        folder = Path(__file__).parent
        described = subprocess.check_output(
            command, cwd=folder, text=True, stderr=subprocess.DEVNULL
        )
        version = described.strip()
    click.echo(f"propensity {version}")
    ctx.exit()


def _enter(ctx: click.Context, _: Any, file: Path | None) -> None:
    """Have the settings of a deployment's file, and no others."""
    # A shell that completes may read none.
    if file is None or ctx.resilient_parsing:
        return
    from deploy import DeploymentError, configuration
    from propensity.settings import is_setting

    try:
        variables = configuration.read(file).variables
    except DeploymentError as error:
        raise click.UsageError(str(error), ctx) from error
    for name in list(os.environ):
        # The shell's own settings may be of a local state. No file has the key.
        is_other = is_setting(name) or name.endswith("_EMULATOR_HOST")
        if is_other and name != "PROPENSITY_SUPPRESSION_KEY":
            del os.environ[name]
    os.environ.update(variables)
    # For the scripts that a command calls.
    os.environ["PROPENSITY_DEPLOYMENT"] = str(file)


@click.group(
    cls=Commands,
    commands=[command for section in SECTIONS.values() for command in section],
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog="`propensity COMMAND --help` explains a command's options. docs/commands.md "
    "lists all commands and exit codes.\n\n" + example("propensity demo"),
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
@click.option(
    "--deployment",
    type=FILE,
    metavar="FILE",
    envvar="PROPENSITY_DEPLOYMENT",
    expose_value=False,
    callback=_enter,
    show_default="PROPENSITY_DEPLOYMENT",
    help="Settings of the deployment, FOLDER/production.env.",
)
def root() -> None:
    """Predict a probability for every user, from behaviour data."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A locale without a character of the output must not make a command fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in words
    try:
        code = root.main(words, prog_name="propensity", standalone_mode=False)
        return Exit.DONE if code is None else int(code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
    except click.UsageError as error:
        name = error.ctx.command_path if error.ctx else "propensity"
        hint = f"`{name} --help` explains its options, with an example"
        if isinstance(error, UnknownName):
            hint = error.hint
        fail(name, error.format_message(), hint, code=Exit.UNKNOWN, as_json=as_json)
    except click.Abort:
        return fail("propensity", "interrupted", code=Exit.INTERRUPTED, as_json=as_json)
    except SystemExit as ended:
        return Exit.DONE if ended.code is None else int(ended.code)
    return Exit.UNKNOWN


if __name__ == "__main__":
    sys.exit(main())
