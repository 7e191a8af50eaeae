"""A deployment: what serves; pages about it, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from commands.answers import Exit, answering, say
from commands.flags import (
    FILE,
    WHOLE,
    Whole,
    day,
    dry_run,
    flag,
    option,
    state,
    together,
    use_case,
)

_force = flag("--force", "Also a first version that is no better than chance.")

# Options that all changes of the champion share.
_changing = together(
    use_case(),
    dry_run("Check and say what would be done, and change nothing."),
)


def _changed(action: str, **chosen: Any) -> Any:
    from offline import promote as program

    return program.run(action, **chosen)


@click.command
@use_case()
@answering
def versions(*, use_case: str | None) -> Any:
    """
    List the model versions, and say which serves.

    The newest 50, with their metrics and why each was promoted or not.
    """
    from offline.deployment import opened
    from offline.promote import versions as listed

    with opened(use_case) as deployment:
        return listed(deployment)


@click.command
@click.argument("version", type=WHOLE)
@_force
@_changing
@answering
def promote(**chosen: Any) -> Any:
    """
    Let VERSION serve, even if training did not promote it.

    A first version that was not shown to be better than chance and the use case's
    baseline takes --force. Training may promote again afterwards; `pin` prevents that.
    Where a version is pinned, this changes what is pinned. Functions follow within
    PROPENSITY_REFRESH_S, without a restart.
    """
    return _changed("promote", **chosen)


@click.command
@_changing
@answering
def rollback(**chosen: Any) -> Any:
    """
    Let the version serve that served before.

    A second rollback goes one version further back. Training may promote again
    afterwards; `pin` prevents that.
    """
    return _changed("rollback", **chosen)


@click.command
@click.argument("version", type=WHOLE, required=False)
@flag("--off", "is_off", "Let training promote again.")
@_force
@_changing
@answering
def pin(*, version: int | None, is_off: bool, **chosen: Any) -> Any:
    """
    Let VERSION serve, and no training promote another.

    Trainings go on recording versions; --off lets them promote again.
    """
    if (version is None) != is_off:
        raise click.UsageError("give one of VERSION and --off")
    return _changed("unpin" if is_off else "pin", version=version, **chosen)


# Which deployment is looked at: the environment's, or one on this machine.
_local = together(
    flag("--local", "is_local", "Look at what `propensity up` started."),
    state("the one that is up"),
    option(
        *("--as-of", "Look as if that day (UTC) had just ended (default: now)."),
        type=day,
    ),
)


@click.command
@_local
@answering
def doctor(*, is_local: bool, state: str | None, **chosen: Any) -> Any:
    """
    Say what is wrong with a deployment, and what to do.

    Looks at settings, rights of the account that runs it, the GA4 export, champions,
    the last run of each kind and dead letters. It changes nothing, and its report names
    no user. Exits with 1 if something is wrong, with 2 if nothing was found wrong but
    something could not be examined.
    """
    from commands.machine import entered
    from offline.doctor.run import run
    from propensity.errors import PropensityError

    ended: list[str] = []
    try:
        if is_local:
            stopped = entered(state).record().ended
            ended = [f"{one.name} (its log is {one.log})" for one in stopped]
        report = run(is_local=is_local, ended=ended, **chosen)
    except PropensityError as error:
        say(f"propensity doctor: {error.message}")
        return None, Exit.UNKNOWN
    return report, report.status


@click.command
@option(
    "--out",
    "Where the pages go: a folder, or gs://BUCKET/PREFIX. With --local the folder that "
    "`propensity up` serves is the default.",
    metavar="FOLDER",
)
@option("--weeks", "Weeks to show.", type=Whole(1, 104), default=26)
@dry_run("Say what would be read and written, and do neither.")
@_local
@answering
def dashboard(
    *, out: str | None, is_local: bool, state: str | None, **chosen: Any
) -> Any:
    """
    Write what the tables say as pages for people.

    An overview of the use cases, a page for each, the stream by hour, fraud, audiences
    and what they brought, runs with their cost, and the SQL of every number. The pages
    need no server: open index.html, or put them on any web server or bucket. They hold
    no id of a user, but what they tell about your business is for your own people.

    It reads a few small tables and seven days of the stream.
    """
    from commands.machine import entered
    from offline.dashboard.run import run

    if is_local:
        local = entered(state)
        out = out or str(local.dashboard)
    if not out:
        raise click.UsageError("give --out: a folder or gs://BUCKET/PREFIX")
    return run(out, is_local=is_local, **chosen)


@click.command
@click.argument("function", type=FILE)
@click.argument("target", type=FILE)
@flag("--locked", "Stage the lock in its place, as a deploy.")
@dry_run("List the files, and write none.")
@answering
def stage(*, function: Path, target: Path, locked: bool, is_dry: bool) -> Any:
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
    return {"target": str(target), "sha256": program.digest(files), "files": listed}
