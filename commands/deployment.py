"""A deployment: what serves; pages about it, and what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands import flags
from commands.answers import Exit, say, show

if TYPE_CHECKING:
    from local.stack.state import Record
    from offline.doctor.run import Report

_force = click.option(
    "--force", is_flag=True, help="Also a first version that is no better than chance."
)

# Options that all changes of the champion share.
_changing = flags.together(
    flags.use_case(),
    click.option(
        "--epoch",
        type=flags.WHOLE,
        metavar="N",
        help="Do it only if N is above the present epoch, so that an old or repeated "
        "command changes nothing.",
    ),
    flags.dry_run("Check and say what would be done, and change nothing."),
    flags.as_json,
)


def _change(action: str, *, as_json: bool, **chosen: Any) -> None:
    from offline import promote as program

    show(program.run(action, **chosen), as_json=as_json)


@click.command
@flags.use_case()
@flags.as_json
def versions(*, use_case: str | None, as_json: bool) -> None:
    """
    List the model versions, and say which serves.

    The newest 50, with their metrics and why each was promoted or not.
    """
    from offline.deployment import opened
    from offline.promote import versions as listed

    with opened(use_case) as deployment:
        newest = listed(deployment)
    show(newest, as_json=as_json)


@click.command
@click.argument("version", type=flags.WHOLE)
@_force
@_changing
def promote(**chosen: Any) -> None:
    """
    Let VERSION serve, even if training did not promote it.

    A first version that was not shown to be better than chance and the use case's
    baseline takes --force. Training may promote again afterwards; `pin` prevents that.
    Where a version is pinned, this changes what is pinned. Functions follow within
    PROPENSITY_REFRESH_S, without a restart.
    """
    _change("promote", **chosen)


@click.command
@_changing
def rollback(**chosen: Any) -> None:
    """
    Let the version serve that served before.

    A second rollback goes one version further back. Training may promote again
    afterwards; `pin` prevents that.
    """
    _change("rollback", **chosen)


@click.command
@click.argument("version", type=flags.WHOLE, required=False)
@click.option("--off", "is_off", is_flag=True, help="Let training promote again.")
@_force
@_changing
def pin(*, version: int | None, is_off: bool, **chosen: Any) -> None:
    """
    Let VERSION serve, and no training promote another.

    Trainings go on recording versions; --off lets them promote again.
    """
    if (version is None) != is_off:
        raise click.UsageError("give one of VERSION and --off")
    _change("unpin" if is_off else "pin", version=version, **chosen)


# -- the whole -------------------------------------------------------------------------


# Which deployment is looked at: the environment's, or one on this machine.
_local = flags.together(
    click.option(
        "--local",
        "is_local",
        is_flag=True,
        help="Look at what `propensity up` started.",
    ),
    click.option(
        "--state", type=flags.STATE, help="Name of the local state, if several are up."
    ),
    flags.as_of,
    flags.as_json,
)


@click.command
@click.option(
    "--use-case",
    "use_cases",
    multiple=True,
    metavar="NAME",
    help="Name of the use case; can be repeated (default: PROPENSITY_USE_CASE and all "
    "that serve).",
)
@click.option(
    "--function",
    metavar="TARGET",
    default="",
    help="Check that the tables which this function reads can be read.",
)
@_local
def doctor(*, as_json: bool, is_local: bool, state: str | None, **chosen: Any) -> int:
    """
    Say what is wrong with a deployment, and what to do.

    Looks at settings, rights, the GA4 export, champions, the last run of each kind and
    dead letters. It changes nothing, and its report names no user. Exits with 1 if
    something is wrong, with 2 if nothing was found wrong but something could not be
    examined.

    Rights are those of the account that runs it. To see those of a function, take on
    its account (gcloud auth application-default login
    --impersonate-service-account=...) and name the function.
    """
    from commands.machine import state_up
    from offline.doctor.run import run
    from propensity.errors import PropensityError

    def tell(check: str) -> None:
        click.echo(f"· looking at {check} …", err=True)

    try:
        if is_local:
            _entered(state)
        report = run(is_local=is_local, tell=tell, **chosen)
        if is_local:
            look_at_processes(report, state_up(state).record())
    except PropensityError as error:
        say(f"propensity doctor: {error.message}")
        return Exit.UNKNOWN
    show(report, as_json=as_json)
    return Exit(report.status)


def look_at_processes(report: Report, record: Record | None) -> None:
    """Add to a report what of a local state has ended by itself."""
    from offline.doctor.examination import ERROR, Finding

    report.checks.append("processes")
    report.findings += [
        Finding(
            check="processes",
            severity=ERROR,
            what=f"{process.name} has ended; its log is {process.log}",
            advice="make down, then make up",
        )
        for process in (record.ended if record else ())
    ]


def _entered(state: str | None) -> None:
    """Take on the environment of a local state."""
    from commands.machine import environment_of

    environment = environment_of(state)
    for variable in [name for name in os.environ if name.startswith("PROPENSITY_")]:
        del os.environ[variable]
    os.environ.update(environment)


@click.command
@click.option(
    "--out",
    metavar="FOLDER",
    help="Where the pages go: a folder, or gs://BUCKET/PREFIX. With --local the folder "
    "that `propensity up` serves is the default.",
)
@click.option(
    "--weeks",
    type=click.IntRange(1, 104),
    metavar="N",
    default=26,
    show_default=True,
    help="Weeks to show.",
)
@flags.dry_run("Say what would be read and written, and do neither.")
@_local
def dashboard(
    *, as_json: bool, out: str | None, is_local: bool, state: str | None, **chosen: Any
) -> None:
    """
    Write what the tables say as pages for people.

    An overview of the use cases, a page for each, the stream by hour, fraud, audiences
    and what they brought, runs with their cost, and the SQL of every number. The pages
    need no server: open index.html, or put them on any web server or bucket. They hold
    no id of a user, but what they tell about your business is for your own people.

    It reads a few small tables and seven days of the stream.
    """
    from commands.machine import state_up
    from offline.dashboard.run import run

    if is_local:
        _entered(state)
        out = out or str(state_up(state).dashboard)
    if not out:
        raise click.UsageError("give --out: a folder or gs://BUCKET/PREFIX")
    show(run(out, is_local=is_local, **chosen), as_json=as_json)


@click.command()
@click.argument("function", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--requirements",
    default="requirements.txt",
    show_default=True,
    metavar="NAME",
    help="The function's file of requirements.",
)
@click.option(
    "--locked", is_flag=True, help="Stage the lock in its place, as a deploy."
)
@flags.dry_run("List the files, and write none.")
@flags.as_json
def stage(
    *, function: Path, target: Path, is_dry: bool, as_json: bool, **chosen: Any
) -> None:
    """
    Write what a deploy of a function uploads.

    FUNCTION is its folder, such as 02-GetProba; TARGET is a new or empty folder, or one
    staged before. Equal sources give equal bytes.
    """
    from deploy import stage as program

    files = program.sources(function, **chosen)
    if not is_dry:
        program.stage(function, target, **chosen)
    show(
        {
            "target": str(target),
            "sha256": program.digest(files),
            "files": [
                {"file": name, "bytes": file.stat().st_size}
                for name, file in files.items()
            ],
        },
        as_json=as_json,
    )
