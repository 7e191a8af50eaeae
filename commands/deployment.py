"""A deployment: what serves; pages about it, and what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from commands.answers import Exit, say, show
from commands.flags import (
    STATE,
    WHOLE,
    as_json,
    as_of,
    dry_run,
    option,
    together,
    use_case,
)

_force = option(
    "--force", "Also a first version that is no better than chance.", is_flag=True
)

# Options that all changes of the champion share.
_changing = together(
    use_case(),
    option(
        "--epoch",
        "Do it only if N is above the present epoch, so that an old or repeated "
        "command changes nothing.",
        # With room above for commands to come.
        type=click.IntRange(0, 2**62),
        metavar="N",
    ),
    dry_run("Check and say what would be done, and change nothing."),
    as_json,
)


def _change(action: str, *, as_json: bool, **chosen: Any) -> None:
    from offline import promote as program

    show(program.run(action, **chosen), as_json=as_json)


@click.command
@use_case()
@as_json
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
@click.argument("version", type=WHOLE)
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
@click.argument("version", type=WHOLE, required=False)
@option("--off", "is_off", "Let training promote again.", is_flag=True)
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


# Which deployment is looked at: the environment's, or one on this machine.
_local = together(
    option(
        *("--local", "is_local"),
        "Look at what `propensity up` started.",
        is_flag=True,
    ),
    option("--state", "Name of the local state, if several are up.", type=STATE),
    as_of,
    as_json,
)


@click.command
@option(
    "--function",
    "Check that the tables which this function reads can be read.",
    metavar="TARGET",
    default="",
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

    ended: list[str] = []
    try:
        if is_local:
            _enter(state)
            record = state_up(state).record()
            ended += [
                f"{p.name} (its log is {p.log})"
                for p in (record.ended if record else ())
            ]
        report = run(is_local=is_local, ended=ended, **chosen)
    except PropensityError as error:
        say(f"propensity doctor: {error.message}")
        return Exit.UNKNOWN
    show(report, as_json=as_json)
    return Exit(report.status)


def _enter(state: str | None) -> None:
    """Take on the environment of a local state."""
    from commands.machine import environment_of

    environment = environment_of(state)
    for variable in [name for name in os.environ if name.startswith("PROPENSITY_")]:
        del os.environ[variable]
    os.environ.update(environment)


@click.command
@option(
    "--out",
    "Where the pages go: a folder, or gs://BUCKET/PREFIX. With --local the folder that "
    "`propensity up` serves is the default.",
    metavar="FOLDER",
)
@option(
    "--weeks",
    "Weeks to show.",
    type=click.IntRange(1, 104),
    metavar="N",
    default=26,
    show_default=True,
)
@dry_run("Say what would be read and written, and do neither.")
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
        _enter(state)
        out = out or str(state_up(state).dashboard)
    if not out:
        raise click.UsageError("give --out: a folder or gs://BUCKET/PREFIX")
    show(run(out, is_local=is_local, **chosen), as_json=as_json)


@click.command
@click.argument("function", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@option("--locked", "Stage the lock in its place, as a deploy.", is_flag=True)
@dry_run("List the files, and write none.")
@as_json
def stage(
    *, function: Path, target: Path, locked: bool, is_dry: bool, as_json: bool
) -> None:
    """
    Write what a deploy of a function uploads.

    FUNCTION is its folder, such as 02-GetProba; TARGET is a new or empty folder, or one
    staged before. Equal sources give equal bytes.
    """
    from deploy import stage as program

    files = program.sources(function, locked=locked)
    if not is_dry:
        program.stage(function, target, locked=locked)
    listed = [{"file": name, "bytes": f.stat().st_size} for name, f in files.items()]
    answer = {"target": str(target), "sha256": program.digest(files), "files": listed}
    show(answer, as_json=as_json)
