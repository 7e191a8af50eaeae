"""The first half hour on Google Cloud, rehearsed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.answers import Exit, command, spoken
from commands.options import DRY_RUN, FILE
from commands.texts import rehearsal as texts

if TYPE_CHECKING:
    from local.rehearsal.ground import Ground


@command(
    "propensity rehearse --project my-project --region europe-west1 --dry-run",
    "propensity rehearse --local",
)
@click.option("--project", metavar="PROJECT", help="A project with billing.")
@click.option("--region", metavar="REGION", help="For example europe-west1.")
@click.option("--prefix", default="rehearse1", help="Begins the names of all it makes.")
@click.option("--email", default="", help="Gets the mail of an alert.")
@click.option(
    "--out", type=FILE, default=Path("rehearsal"), help="Folder of page and JSON."
)
@click.option("--with-names", is_flag=True, help="Leave names and ids on the page.")
@click.option("--local", "is_local", is_flag=True, help="Rehearse on the emulators.")
@click.option("--yes", "is_agreed", is_flag=True, help="Do not ask.")
@DRY_RUN
def rehearse(**choice: Any) -> Any:
    """
    See what holds in your Google Cloud project, before you deploy.

    For half an hour and less than a dollar it deploys everything under a scratch
    prefix, loads a generated shop, trains, predicts, streams, forgets a user, and takes
    everything away, also if you break it off. The page says of each assumption whether
    it holds, and what to do if not. It has no ids and no names, so you can send it on.
    With --deployment it takes region, keys and networks from there.
    """
    if choice["is_local"]:
        return _local(choice)
    given = _given()
    project = choice["project"] or given.get("GOOGLE_CLOUD_PROJECT")
    region = choice["region"] or given.get("DEPLOY_REGION")
    if not project or not region:
        raise click.UsageError(
            "give --project and --region, or --deployment, or --local"
        )
    from local.rehearsal import google_cloud
    from local.rehearsal.run import planned

    settings = google_cloud.settings_of(
        project,
        region=region,
        prefix=choice["prefix"],
        email=choice["email"],
        caller=google_cloud.account(),
        given=given,
    )
    with google_cloud.opened(settings) as ground:
        if choice["is_dry"]:
            answer = planned(settings=settings, commands=ground.planned())
            return spoken(answer, texts.planned)
        if not choice["is_agreed"]:
            _agree(project, choice["prefix"])
            if choice["email"]:
                ground.ask = _ask
        return _rehearsed(ground, choice)


def _local(choice: dict[str, Any]) -> Any:
    """Rehearse on this machine, which costs nothing."""
    from local.rehearsal.ground import Emulated
    from local.rehearsal.run import planned

    if choice["is_dry"]:
        return spoken(planned(commands=()), texts.planned)
    # Without this, grpc prints between the lines that an emulator has ended.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    return _rehearsed(Emulated(), choice)


def _rehearsed(ground: Ground, choice: dict[str, Any]) -> Any:
    """Rehearse, and write the page."""
    from local.rehearsal import report
    from local.rehearsal.run import rehearse as program

    result = program(ground)
    answer = report.answer_of(result, with_names=choice["with_names"])
    files = report.write(answer, choice["out"])
    answer["files"] = [str(file) for file in files]
    code = Exit.DONE
    if result.is_wrong:
        code = Exit.FAILED
    return spoken(answer, texts.rehearsed), code


def _given() -> dict[str, str]:
    """Return the settings of the deployment that the command names; none without."""
    file = os.environ.get("PROPENSITY_DEPLOYMENT")
    if not file:
        return {}
    from deploy import configuration

    return dict(configuration.read(Path(file)).given)


def _agree(project: str, prefix: str) -> None:
    """Let a person agree, once."""
    print(
        f"This makes about 180 resources in {project}, all called {prefix}…, and takes "
        "them away after half an hour. It costs less than a dollar. --dry-run lists "
        "everything.",
        file=sys.stderr,
    )
    click.confirm("Go on?", abort=True, err=True)


def _ask(question: str) -> bool | None:
    """Let a person answer a question; None without one."""
    if not sys.stdin.isatty():
        return None
    kinds = click.Choice(["yes", "no", "skip"])
    answer = click.prompt(question, type=kinds, default="skip", err=True)
    return {"yes": True, "no": False}.get(answer)
