"""All functions: set up, deployed, called by who may, and scheduled."""

from __future__ import annotations

import argparse
import subprocess

from deploy import DeploymentError, function, functions, setup
from deploy.functions import ROOT
from deploy.shell import Shell


def run(shell: Shell, options: argparse.Namespace) -> None:
    """
    Set up, deploy every function, grant access to their callers, and schedule them.

      deploy/deploy_all.sh --dry-run [--deployment FILE]
      deploy/deploy_all.sh [--yes] [--rebuild] [--remove] [--drop-columns]
      deploy/deploy_all.sh --plan=FOLDER [--yes]
    The last does what that plan says, in its images, and nothing else.
    """
    if shell.is_dry:
        show(shell, options)
        return
    every = ["--deployment", f"{shell.file}"]
    given = {"yes": options.yes, "remove": options.remove}
    given["drop-columns"] = options.drop_columns
    of_setup = [f"--{flag}" for flag, is_given in given.items() if is_given]
    of_plan = [f"--plan={options.plan}"] if options.plan else []
    images = options.images_from
    of_images = [f"--images-from={images}"] if images else []
    _script("deploy/setup.sh", every + of_setup + of_plan + of_images)
    # One after the other: gcloud keeps its credentials in one database, and calls
    # beside each other find it locked.
    rebuild = ["--rebuild"] if options.rebuild else []
    scripts = _scripts("deploy")
    failed = [
        one for one in scripts if _script(one, every + of_plan + rebuild, check=False)
    ]
    if failed:
        raise DeploymentError(
            f"these failed: {' '.join(failed)}. The others are deployed; run "
            "deploy/deploy_all.sh again"
        )
    # Functions are there now: who may call them is let in, and subscriptions push to
    # them. What follows from a kept plan may not be more than that.
    callers = ["--only-callers"] if options.plan else []
    _script("deploy/setup.sh", every + of_setup + callers)
    for script in _scripts("scheduler"):
        _script(script, every)


def show(shell: Shell, options: argparse.Namespace) -> None:
    """Print what the scripts would run, in this process: each would be another one."""
    given = vars(options) | {"only_callers": False, "function": False}
    setup.set_up(shell, argparse.Namespace(**given))
    for one in functions.load():
        function.deploy(shell, argparse.Namespace(**given, target=one.target))
    for one in functions.load():
        if one.schedule:
            function.schedule(shell, argparse.Namespace(**given, target=one.target))


def _scripts(kind: str) -> list[str]:
    return sorted(f"{file.relative_to(ROOT)}" for file in ROOT.glob(f"0*/{kind}*.sh"))


def _script(name: str, words: list[str], *, check: bool = True) -> int:
    # Waits also where Ctrl-C has begun to end the script; subprocess.run would kill it.
    with subprocess.Popen([f"{ROOT / name}"] + words) as process:
        status = process.wait()
    if check and status:
        raise subprocess.CalledProcessError(status, name)
    return status
