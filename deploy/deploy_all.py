"""All functions: set up, deployed, called by who may, and scheduled."""

from __future__ import annotations

from argparse import Namespace
from subprocess import CalledProcessError

from deploy import DeploymentError, function, functions, setup
from deploy.shell import Shell, tell


def run(shell: Shell, options: Namespace) -> None:
    """
    Set up, deploy every function, grant access to their callers, and schedule them.

      deploy/deploy_all.sh --dry-run [--deployment FILE]
      deploy/deploy_all.sh [--yes] [--rebuild] [--remove] [--drop-columns]
      deploy/deploy_all.sh --plan=FOLDER [--yes]
    The last does what that plan says, in its images, and nothing else.
    """
    given = vars(options) | {"only_callers": False, "job": False, "function": False}
    setup.set_up(shell, Namespace(**given))
    failed = list[str]()
    # One after the other: gcloud keeps its credentials in one database, and calls
    # beside each other find it locked.
    for each in functions.load():
        try:
            function.deploy(shell, Namespace(**given, target=each.target))
        except (CalledProcessError, DeploymentError) as error:
            tell(getattr(error, "stderr", "") or f"deploy: {error}")
            failed.append(each.target)
    if failed:
        raise DeploymentError(
            f"these failed: {' '.join(failed)}. The others are deployed; run "
            "deploy/deploy_all.sh again"
        )
    if not shell.is_dry:
        # Functions are there now: who may call them is let in, and subscriptions push
        # to them. What follows from a kept plan may not be more than that.
        callers = {"only_callers": bool(options.plan), "plan": None}
        setup.set_up(shell, Namespace(**given | callers))
    for each in functions.load():
        if each.schedule:
            function.schedule(shell, Namespace(**given, target=each.target))
