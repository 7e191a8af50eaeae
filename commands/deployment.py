"""A deployment as a whole: show it, examine it, stage its code."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands import flags
from commands.answers import show, tell
from commands.exits import Exit

if TYPE_CHECKING:
    from local.stack.state import Record
    from offline.doctor.run import Report


_state = click.option(
    "--state", type=flags.STATE, help="Name of the local state, if several are up."
)
_as_of = click.option(
    "--as-of",
    type=flags.DAY,
    help="Look as if that day (UTC) had just ended (default: now).",
)


@click.command
@flags.as_json
@click.option(
    "--local", "is_local", is_flag=True, help="Look at what `propensity up` started."
)
@_state
@click.option(
    "--use-case",
    "use_cases",
    multiple=True,
    metavar="NAME",
    help="Name of the use case; can be repeated (default: PROPENSITY_USE_CASE and all "
    "that serve).",
)
@_as_of
@click.option(
    "--function",
    metavar="TARGET",
    default="",
    help="Check that the tables which this function reads can be read.",
)
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

    try:
        if is_local:
            _entered(state)
        report = run(is_local=is_local, tell=_looking, **chosen)
        if is_local:
            look_at_processes(report, state_up(state).record())
    except PropensityError as error:
        tell(f"propensity doctor: {error.message}")
        return Exit.UNKNOWN
    show(report, as_json=as_json)
    return Exit(report.status)


def _looking(check: str) -> None:
    click.echo(f"· looking at {check} …", err=True)


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


def _entered(state: str | None) -> Mapping[str, str]:
    """Take on the environment of a local state; return its functions' addresses."""
    from commands.machine import environment_of

    environment, addresses = environment_of(state)
    for variable in [name for name in os.environ if name.startswith("PROPENSITY_")]:
        del os.environ[variable]
    os.environ.update(environment)
    return addresses


@click.command
@click.option(
    "--out",
    metavar="FOLDER",
    help="Where the pages go: a folder, or gs://BUCKET/PREFIX. With --local the folder "
    "that `propensity up` serves is the default.",
)
@click.option(
    "--weeks",
    type=flags.whole(1, 104),
    default=26,
    show_default=True,
    help="Weeks to show.",
)
@_as_of
@click.option(
    "--local", "is_local", is_flag=True, help="Read what `propensity up` started."
)
@_state
@flags.dry_run("Say what would be read and written, and do neither.")
@flags.as_json
def dashboard(
    *, as_json: bool, out: str | None, is_local: bool, state: str | None, **chosen: Any
) -> None:
    """
    Write what the tables say as pages for people.

    An overview of the use cases, a page for each, the stream by hour, fraud, audiences
    and what they brought, runs with their cost, and the SQL of every figure. The pages
    need no server: open index.html, or put them on any web server or bucket. They hold
    no id of a user, but what they tell about your business is for your own people.

    It reads a few small tables and seven days of the stream, by statements that are
    bounded by dates; --dry-run says what they would scan. If a table is missing, its
    page says so.
    """
    from commands.machine import state_up
    from offline.dashboard.run import run

    if is_local:
        _entered(state)
        out = out or str(state_up(state).dashboard)
    if not out:
        raise click.UsageError(
            "--out is missing: where the pages go, a folder or gs://BUCKET/PREFIX"
        )
    show(run(out, is_local=is_local, **chosen), as_json=as_json)


@click.command
@click.argument("function", type=flags.FILE)
@click.argument("target", type=flags.FILE)
@click.option(
    "--requirements",
    default="requirements.txt",
    show_default=True,
    metavar="NAME",
    help="File of the function's folder to stage as requirements.txt.",
)
@click.option(
    "--locked",
    is_flag=True,
    help="Stage the lock of these requirements, as a deploy does.",
)
@flags.dry_run("List the files, and write nothing.")
@flags.as_json
def stage(
    *,
    function: Path,
    target: Path,
    requirements: str,
    locked: bool,
    is_dry: bool,
    as_json: bool,
) -> None:
    """
    Write what a deploy of a function uploads.

    FUNCTION is its folder, such as 02-GetProba; TARGET is a new or empty folder, one
    staged before, or a file that ends in .zip. Equal sources give equal bytes.
    """
    from deploy import stage as program

    files = program.sources(function, requirements=requirements, locked=locked)
    digest = program.digest(files)
    if is_dry:
        lines = [f"{file.stat().st_size:>9,}  {name}" for name, file in files.items()]
        text = "\n".join([*lines, f"{len(files)} files for {target}, SHA-256 {digest}"])
    else:
        write = partial(
            program.stage, function, requirements=requirements, locked=locked
        )
        if target.suffix == ".zip":
            # Made beside the target, which is whole or is not there.
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(
                dir=target.parent, prefix=".staging-"
            ) as folder:
                place = Path(folder, "staged")
                write(place)
                # It keeps the order and the one time of the staged files.
                Path(shutil.make_archive(f"{place}", "zip", place)).replace(target)
        else:
            write(target)
        text = str(target)
    if as_json:
        sizes = {name: file.stat().st_size for name, file in files.items()}
        show({"target": str(target), "sha256": digest, "files": sizes}, as_json=True)
    else:
        show(text, as_json=False)
