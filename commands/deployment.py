"""A deployment: what serves; pages about it, and what is wrong with it."""

from __future__ import annotations

import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from commands.answers import Exit, Printed, command, printable, reason, say
from commands.flags import (
    DRY_RUN,
    argument,
    local_state,
    option,
    use_case,
)

_FORCE = option("--force", "Also a first version that is no better than chance.")
# Which deployment is looked at: the environment's, or one on this machine.
_LOCAL = (
    option(
        "--local",
        "Look at what `propensity up` started, by its settings and none of yours.",
        "is_local",
    ),
    local_state("the one that is up"),
    option("--as-of DAY", "Look as if that day (UTC) had just ended (default: now)."),
)


@command(use_case())
def versions(**chosen: Any) -> Any:
    """
    List model versions and show which one is live.

    The newest 50, with their metrics and why each was promoted or not.
    """
    from offline.promote import versions as listed

    return listed(**chosen)


@command(argument("VERSION"), _FORCE, use_case(), DRY_RUN)
def promote(**chosen: Any) -> Any:
    """
    Make VERSION live, even if training rejected it.

    A first version that was not shown to be better than chance and the use case's
    baseline takes --force. Training may promote again afterwards; `pin` prevents that.
    Where a version is pinned, this changes what is pinned. Functions follow within
    PROPENSITY_REFRESH_S, without a restart.
    """
    from offline.promote import run

    return run("promote", **chosen)


@command(use_case(), DRY_RUN)
def rollback(**chosen: Any) -> Any:
    """
    Go back to the previous live version.

    A second rollback goes one version further back. Training may promote again
    afterwards; `pin` prevents that.
    """
    from offline.promote import run

    return run("rollback", **chosen)


@command(
    argument("[VERSION]"),
    option("--off", "Let training promote again.", "is_off"),
    *(_FORCE, use_case(), DRY_RUN),
)
def pin(*, version: int | None, is_off: bool, **chosen: Any) -> Any:
    """
    Make VERSION live and keep it live.

    Trainings cannot replace it until you run `pin --off`; they still record versions.
    """
    from offline.promote import run

    if (version is None) != is_off:
        raise click.UsageError("give either VERSION or --off, not both")
    return run("unpin" if is_off else "pin", version=version, **chosen)


@command(*_LOCAL)
def doctor(*, is_local: bool, state: str | None, **chosen: Any) -> Any:
    """
    Check a deployment and suggest what to fix.

    Looks at settings, rights of the account that runs it, the GA4 export, champions,
    the last run of each kind and dead letters. It changes nothing, and its report names
    no user. Exits with 1 if something is wrong, with 4 if nothing was found wrong but
    something could not be examined.
    """
    from commands.machine import entered
    from offline.doctor.run import run

    try:
        ended = entered(state).record().ended if is_local else ()
        about = [f"{one.name} (its log is {one.log})" for one in ended]
        report = run(is_local=is_local, ended=about, **chosen)
    except Exception as error:
        # A program that asks for JSON gets it, also of a fault of ours.
        if not (text := reason(error)):
            text = f"{type(error).__name__}: {error}"
            traceback.print_exc()
        say(f"propensity doctor: {text}")
        answer = Printed(status=int(Exit.NOT_EXAMINED), error={"message": text})
        return answer, Exit.NOT_EXAMINED
    click.echo(printable(str(report)))
    return Printed(status=report.status, **asdict(report)), report.status


@command(
    option(
        "--out FOLDER",
        "A folder, or gs://BUCKET/PREFIX (default with --local: what `up` serves).",
    ),
    option("--weeks N", "Weeks to show.", type=click.IntRange(1, 104), default=26),
    *(DRY_RUN, *_LOCAL),
)
def dashboard(
    *, out: str | None, is_local: bool, state: str | None, **chosen: Any
) -> Any:
    """
    Write the dashboard: web pages that need no server.

    The use cases, the stream by hour, fraud, audiences and what they brought, runs with
    their cost, and the SQL of every number. The pages need no server: open index.html,
    or put them on any web server or bucket. They hold no id of a user.

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


@command(
    *(argument("FUNCTION"), argument("TARGET")),
    option("--locked", "Stage the lock in its place, as a deploy."),
    DRY_RUN,
)
def stage(*, function: Path, target: Path, locked: bool, is_dry: bool) -> Any:
    """
    Build the folder that a deploy would upload.

    FUNCTION is its folder, such as 02-GetProba; TARGET is a new or empty folder, or one
    staged before. Equal sources give equal bytes.
    """
    from deploy import stage as program

    files = program.sources(function, locked=locked)
    if not is_dry:
        program.stage(function, target, locked=locked)
    listed = [{"file": name, "bytes": f.stat().st_size} for name, f in files.items()]
    return {"target": str(target), "sha256": program.digest(files), "files": listed}
