"""
``propensity``: all commands in their groups, and the handling of errors.

A command is registered by its line in ``GROUPS``. It returns its exit code, or nothing
where it is done.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from commands import (
    audience,
    champions,
    data,
    deployment,
    machine,
    models,
    usecases,
)
from commands.answers import tell
from commands.exits import Exit
from propensity.gcp.log import apart

GROUPS: Mapping[str, Sequence[click.Command]] = {
    "On this machine": (machine.demo, machine.up, machine.down, machine.status),
    "What serves": (
        champions.versions,
        champions.promote,
        champions.rollback,
        champions.pin,
    ),
    "Models": (
        models.load_model,
        models.build_preprocessor,
    ),
    "Data": (
        data.load_postcodes,
        data.load_transactions,
        data.dead_letters,
        data.forget,
    ),
    "Acting": (audience.audience,),
    "Use cases": (usecases.new_usecase, usecases.check_usecase),
    "A deployment": (
        deployment.dashboard,
        deployment.doctor,
        deployment.stage,
    ),
}


def failures() -> tuple[type[Exception], ...]:
    """Return the errors whose message is meant for a person, or names a file."""
    from google.auth.exceptions import GoogleAuthError

    from deploy.stage import StageError
    from local.errors import LocalError
    from propensity.errors import PropensityError

    return PropensityError, LocalError, StageError, GoogleAuthError, OSError


def reason(error: Exception) -> str:
    """Return the message of an error for a person."""
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        name = error.filename
        if error.errno == errno.ENOSPC and error.filename2:
            # Of a copy: the full disk is that of the target.
            name = error.filename2
        return f"{name}: {reason}" if name else reason
    text = str(getattr(error, "message", error))
    if getattr(error, "field", None) == "GOOGLE_CLOUD_PROJECT":
        # Functions raise it, too, and nobody starts those by make.
        text += (
            ". For a deployment, `python -m deploy environment` prints the settings; "
            "for this machine, `make up` prints those of what it starts"
        )
    is_ours = type(error).__module__.startswith(("propensity.", "local.", "deploy."))
    return text if is_ours else f"no access to Google Cloud: {text}"


class Commands(click.Group):
    """The commands in their groups, each with its line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; print the message of an error, without a traceback."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            tell(f"propensity {ctx.invoked_subcommand}: interrupted")
            return Exit.INTERRUPTED
        except BrokenPipeError:
            # The reader has read enough, as `head` does.
            raise
        except failures() as error:
            message = f"propensity {ctx.invoked_subcommand}: {reason(error)}"
            tell(message)
            return Exit.FAILED

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the groups of the help, with a line for each command."""
        for title, commands in GROUPS.items():
            lines = [
                (str(command.name), command.get_short_help_str(70))
                for command in commands
            ]
            if lines:
                with formatter.section(title):
                    formatter.write_dl(lines)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`propensity COMMAND --help` has a command's options, and docs/commands.md "
    "all of them, with the exit codes.",
)
def root() -> None:
    """A calibrated probability for every user, from behaviour data."""


for _group in GROUPS.values():
    for _command in _group:
        root.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As on standard error: no locale makes a command fail by what it prints.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with apart():
            ended = root.main(
                None if arguments is None else list(arguments),
                prog_name="propensity",
                standalone_mode=False,
            )
        code = int(ended or Exit.DONE)
    except click.ClickException as error:
        error.show()
        code = Exit.UNKNOWN
    except click.Abort:
        code = Exit.INTERRUPTED
    except OSError as error:
        # The help, which no command prints, met a full disk.
        tell(f"propensity: {reason(error)}")
        code = Exit.FAILED
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would try, and say it, once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if code == Exit.DONE:
            tell(f"propensity: {reason(error)}")
            code = Exit.FAILED
    return code


if __name__ == "__main__":
    sys.exit(main())
