"""``propensity``: all commands in their groups, and the handling of errors."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence

import click

from commands import audience, data, deployment, machine, usecases
from commands.answers import Exit, say

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


def reason(error: Exception) -> str:
    """Return the message of an error for a person; nothing for a fault of ours."""
    from google.auth.exceptions import GoogleAuthError

    from deploy.stage import StageError
    from local.errors import LocalError
    from propensity.errors import PropensityError

    if isinstance(error, OSError):
        # Of a copy the target, whose disk may be full.
        name = error.filename2 or error.filename
        problem = error.strerror or str(error)
        return f"{name}: {problem}" if name else problem
    if isinstance(error, GoogleAuthError):
        return f"no access to Google Cloud: {error}"
    if not isinstance(error, PropensityError | LocalError | StageError):
        return ""
    if getattr(error, "field", None) == "GOOGLE_CLOUD_PROJECT":
        # Functions raise it, too, and nobody starts those by make.
        return (
            f"{error}. For a deployment, `.venv/bin/python -m deploy environment` "
            "prints the settings; for this machine, `make up` prints them"
        )
    return str(error)


class Commands(click.Group):
    """The commands in their groups."""

    def invoke(self, ctx: click.Context) -> None:
        """Run a command; print the message of an error, without a traceback."""
        try:
            super().invoke(ctx)
        except KeyboardInterrupt:
            say(f"propensity {ctx.invoked_subcommand}: interrupted")
            ctx.exit(Exit.INTERRUPTED)
        except (BrokenPipeError, click.ClickException, click.exceptions.Exit):
            # click knows them: of the first, the reader has read enough.
            raise
        except Exception as error:
            if not (text := reason(error)):
                raise
            say(f"propensity {ctx.invoked_subcommand}: {text}")
            ctx.exit(Exit.FAILED)

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
    help="A calibrated probability for every user, from behaviour data.",
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
