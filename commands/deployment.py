"""A deployment: its versions, its dashboard, and its faults."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from commands.options import FORCE, VERSION
from commands.texts import deployments as texts
from propensity.cli.answers import Exit, Group, Spoken, command, example, say, spoken
from propensity.cli.options import DRY_RUN, FILE, Count, Function, read_day, use_case
from propensity.pages.words import cleaned

_VERSION_HELP = "Number of the version, from `propensity versions`."


def local_or_not(function: Function) -> Function:
    """Add the options that say which deployment is meant, and as of which day."""
    text = "Report as of this day's end."
    as_of = click.option(
        "--as-of", type=read_day, metavar="DAY", show_default="now", help=text
    )
    text = "Use what `propensity up` started, instead of your settings."
    local = click.option("--local", "is_local", is_flag=True, help=text)
    return local(as_of(function))


@click.group(cls=Group, epilog=example("propensity deployment new ../shop"))
def deployment() -> None:
    """
    Create a deployment's folder, or price the digest of an export.

    The folder has the settings of each environment, use cases, audiences and
    destinations, and no secret. Keep it in a repository of your own.
    """


@deployment.command(epilog=example("propensity deployment new ../shop"))
@click.argument("folder", type=FILE, help="A new folder.")
@DRY_RUN
def new(folder: Path, *, is_dry: bool) -> Any:
    """
    Write FOLDER, with settings to fill in.

    Then name its file to every script and command: --deployment FOLDER/production.env,
    or PROPENSITY_DEPLOYMENT.
    """
    from deploy.new import write

    return write(folder, is_dry=is_dry)


@deployment.command(epilog=example("propensity deployment digest"))
@click.option(
    "--yes",
    "is_agreed",
    is_flag=True,
    help="Read these days now, for that price. It may take hours.",
)
@click.option(
    "--again",
    "is_again",
    is_flag=True,
    help="All days, since rows were lost. Without --yes nothing changes.",
)
@DRY_RUN
def digest(**arguments: Any) -> Any:
    """
    Say what reading the GA4 export for the first time, or again, will cost.

    Counts the days that runs have not read into the digest yet, or read with other
    settings. Takes days out at once whose events lack the consent that you ask for now.
    Runs read new days by themselves; to a first reading, or to reading others again,
    for more than PROPENSITY_MAXIMUM_BYTES_BILLED they need your --yes.
    """
    from offline.digest import run

    return spoken(run(**arguments, announce=say), texts.digested)


@command("propensity versions")
@use_case()
def versions(**arguments: Any) -> Any:
    """
    List model versions and show which one is live.

    Lists the newest 50, with their metrics and why each was promoted or not.
    """
    from offline.promote import versions as program

    return spoken(program(**arguments), texts.versions)


@command("propensity promote 3")
@click.argument("version", type=VERSION, help=_VERSION_HELP)
@FORCE
@use_case()
@DRY_RUN
def promote(**arguments: Any) -> Any:
    """
    Make VERSION live, even if training rejected it.

    Functions follow within PROPENSITY_REFRESH_S. Later trainings may replace it; see
    `pin`. If a version is pinned, this pins VERSION instead.
    """
    from offline.promote import run

    return spoken(run("promote", **arguments), texts.changed)


@command("propensity rollback", "propensity rollback --publish")
@click.option(
    "--publish",
    "publishes",
    is_flag=True,
    help="Predict again, by 01-Predictions, so that lookups and audiences follow.",
)
@use_case()
@DRY_RUN
def rollback(**arguments: Any) -> Any:
    """
    Go back to the previous live version.

    A second rollback goes one version further back. Later trainings may replace it; see
    `pin`. Until 01-Predictions runs again, lookups have the probabilities of the other
    version, and audiences of that date wait.
    """
    from offline.promote import run

    if arguments["publishes"] and not os.environ.get("PROPENSITY_DEPLOYMENT"):
        raise click.UsageError("--publish calls a function: name its deployment")
    return spoken(run("rollback", **arguments), texts.changed)


@command("propensity pin 3", "propensity pin --off")
@click.argument("version", type=VERSION, required=False, help=_VERSION_HELP)
@click.option("--off", "is_off", is_flag=True, help="Let training promote again.")
@FORCE
@use_case()
@DRY_RUN
def pin(*, version: int | None, is_off: bool, **arguments: Any) -> Any:
    """
    Make VERSION live and keep it live.

    Trainings cannot replace it until you run `pin --off`; they still record versions.
    """
    from offline.promote import run

    if (version is None) != is_off:
        raise click.UsageError("give either VERSION or --off, not both")
    action = "unpin" if is_off else "pin"
    return spoken(run(action, version=version, **arguments), texts.changed)


@command("propensity doctor --local", failure=Exit.NOT_EXAMINED)
@local_or_not
def doctor(*, is_local: bool, **arguments: Any) -> Any:
    """
    Check a deployment and suggest what to fix.

    Checks settings, your permissions, the GA4 export, live versions, the last run of
    each kind and dead letters. Changes nothing, and names no user.
    """
    from commands.machine import enter_state, state_of_environment
    from offline.doctor.run import run

    # The `export` lines of `up` mean the state that is up.
    local = enter_state() if is_local else state_of_environment()
    ended = local.record().ended if local else ()
    processes = [f"{process.name} (its log is {process.log})" for process in ended]
    report = run(is_local=local is not None, ended=processes, **arguments)
    answer = {"status": report.status, **asdict(report)}
    return Spoken(answer, cleaned(str(report))), report.status


@command("propensity dashboard --out gs://my-bucket/dashboard")
@click.option(
    "--out",
    metavar="FOLDER",
    help="A folder, or gs://BUCKET/PREFIX. With --local: the folder that `up` shows.",
)
@click.option("--weeks", type=Count(1, 104), default=26, help="Weeks to show.")
@local_or_not
def dashboard(*, out: str | None, is_local: bool, **arguments: Any) -> Any:
    """
    Write the dashboard: web pages that need no server.

    They show use cases, audiences and their uplift, how many messages could not be
    processed, and the SQL of every number, but no user id. Open index.html, or put the
    pages on any web server or bucket.
    """
    if not out and not is_local:
        raise click.UsageError("give --out: a folder or gs://BUCKET/PREFIX")
    from commands.machine import enter_state, state_of_environment
    from offline.write_dashboard import run

    # The `export` lines of `up` mean the state that is up, whose data may be old.
    is_played = is_local or state_of_environment() is not None
    if is_local:
        folder = enter_state().dashboard
        if not out:
            out = str(folder)
    return run(str(out), is_local=is_played, **arguments)
