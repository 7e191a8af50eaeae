"""A rehearsal on Google Cloud."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import click

from propensity.cli.answers import Exit, Spoken, command
from propensity.cli.options import DRY_RUN


@command(
    "propensity rehearse --project my-project --region europe-west1 --dry-run",
    "propensity rehearse --email ana@example.com --json > rehearsal.json",
)
@click.option("--project", metavar="PROJECT", help="A project with billing.")
@click.option("--region", metavar="REGION", help="For example europe-west1.")
@click.option("--prefix", default="rehearse1", help="Begins the names of all it makes.")
@click.option("--email", default="", help="Gets a mail about run_failed.")
@click.option("--yes", "is_agreed", is_flag=True, help="Do not ask.")
@DRY_RUN
def rehearse(
    *,
    project: str | None,
    region: str | None,
    prefix: str,
    email: str,
    is_agreed: bool,
    is_dry: bool,
) -> Any:
    """
    See what holds in your Google Cloud project, before you deploy.

    In 75 to 100 minutes and for less than a dollar it deploys everything under a
    scratch prefix, plays the demo's steps there, asks what only Google can answer, and
    takes everything away, also if you break it off. The answer has no ids and no names,
    so you can send it on. With --deployment it takes region, keys and networks from
    there.
    """
    given: dict[str, str] = {}
    file = os.environ.get("PROPENSITY_DEPLOYMENT")
    if file:
        from deploy import configuration

        given = dict(configuration.read(Path(file)).given)
    project = project or given.get("GOOGLE_CLOUD_PROJECT")
    region = region or given.get("DEPLOY_REGION")
    if not project or not region:
        raise click.UsageError("give --project and --region, or --deployment")
    from local.rehearsal import google_cloud
    from local.rehearsal.questions import QUESTIONS
    from local.rehearsal.run import Rehearsal, rehearse
    from local.rehearsal.steps import STEPS

    settings = google_cloud.settings_of(
        project, region=region, prefix=prefix, email=email, given=given
    )
    with tempfile.TemporaryDirectory(prefix="propensity-rehearsal-") as name:
        folder = Path(name)
        if is_dry:
            lines = google_cloud.planned(settings, folder)
            return Spoken({"commands": lines}, "\n".join(lines))
        if not is_agreed:
            click.confirm(
                f"This makes a whole deployment in {project} (docs/resources.md counts "
                f"it), all called {prefix}…, and takes it away after 75 to 100 "
                "minutes. --dry-run lists everything. Go on?",
                abort=True,
                err=True,
            )
        rehearsal = Rehearsal(
            place=google_cloud.GoogleCloud(settings, folder, runner=google_cloud.run),
        )
        answer = rehearse(rehearsal, steps=STEPS, questions=QUESTIONS)
    is_wrong = any(finding["answer"] == "no" for finding in answer["findings"])
    code = Exit.FAILED if is_wrong or answer["left"] else Exit.DONE
    return answer, code
