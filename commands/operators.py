"""``propensity`` of the operators' job, which has the commands of a deployment."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from commands import audience, data, deployment
from propensity.cli.answers import example
from propensity.cli.options import FILE
from propensity.cli.program import Program

SECTIONS: Mapping[str, Sequence[click.Command]] = {
    "A deployment": (
        deployment.deployment,
        deployment.versions,
        deployment.promote,
        deployment.rollback,
        deployment.pin,
        deployment.dashboard,
        deployment.doctor,
    ),
    "Data": (data.load, data.forget, data.dead_letters, audience.audience),
}


def _version() -> str:
    """Return the release, or the commit where there was none."""
    # A copy without git's folder, or a machine without git, has no number.
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        command = ["git", "describe", "--tags", "--always", "--dirty"]
        folder = Path(__file__).parent
        described = subprocess.check_output(
            command, cwd=folder, text=True, stderr=subprocess.DEVNULL
        )
        return described.strip()
    return "(unknown version)"


def _enter(ctx: click.Context, _: Any, file: Path | None) -> None:
    """Have the settings of a deployment's file, and no others."""
    if file is None:
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


DEPLOYMENT = click.Option(
    ["--deployment"],
    type=FILE,
    metavar="FILE",
    envvar="PROPENSITY_DEPLOYMENT",
    expose_value=False,
    callback=_enter,
    show_default="PROPENSITY_DEPLOYMENT",
    help="Settings of the deployment, FOLDER/production.env.",
)


def program(sections: Mapping[str, Sequence[click.Command]]) -> Program:
    """Return the program that has these commands, by the titles of the help."""
    return Program(
        sections,
        version=_version,
        options=[DEPLOYMENT],
        epilog="`propensity COMMAND --help` explains a command's options. "
        "docs/commands.md lists all commands and exit codes.\n\n"
        + example("propensity demo"),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return program(SECTIONS).run(arguments)
