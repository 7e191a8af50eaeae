"""What the scripts do: ``deploy/NAME.sh WORDS`` is ``python -m deploy NAME WORDS``."""

from __future__ import annotations

import argparse
import functools
import inspect
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import CalledProcessError

from deploy import (
    DeploymentError,
    UsageError,
    by_hand,
    configuration,
    deploy_all,
    function,
    roles,
    setup,
    stage,
)
from deploy.shell import Shell
from propensity.errors import PropensityError

# By its name a script, whose docstring --help prints; and what it takes: words, flags,
# and flags with a value.
SCRIPTS = {
    "call": (by_hand.call, "target request --hang-up"),
    "deploy_all": (
        deploy_all.run,
        "--yes --remove --drop-columns --rebuild --plan= --images-from=",
    ),
    "function": (function.deploy, "target --rebuild --plan="),
    "operate": (by_hand.operate, "command"),
    "roles": (roles.run, "member --operator --planner"),
    "schedule": (function.schedule, "target --job --function"),
    "setup": (
        setup.set_up,
        "--yes --only-callers --remove --drop-columns --plan= --images-from=",
    ),
    "stage": (stage.run, "--function= --folder="),
    "teardown": (setup.tear_down, "--delete-data --yes"),
}
# Whose values are files and folders.
FILES = ("--plan", "--images-from")


def main(arguments: Sequence[str]) -> int:
    """Run a script; return the exit status."""
    name, *words = arguments or [""]
    if name not in SCRIPTS:
        print(f"deploy: use one of {', '.join(SCRIPTS)}", file=sys.stderr)
        return 2
    options = parsed(name, words)
    try:
        file = deployment_of(options)
        shell = Shell(configuration.read(file), file, is_dry=options.is_dry)
        return SCRIPTS[name][0](shell, options) or 0
    except UsageError as error:
        print(f"deploy/{name}.sh: {error}", file=sys.stderr)
        return 2
    except (DeploymentError, PropensityError) as error:
        # Also where a file of a use case is wrong.
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    except CalledProcessError as error:
        # What a program says is shown, unless it was asked something.
        print(error.stderr or "", end="", file=sys.stderr)
        return error.returncode


def parsed(name: str, words: Sequence[str]) -> argparse.Namespace:
    """Return what a script is told; end the process where it does not take that."""
    script, takes = SCRIPTS[name]
    parser = argparse.ArgumentParser(
        f"deploy/{name}.sh",
        usage=argparse.SUPPRESS,
        description=inspect.getdoc(script),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    # The docstring has them.
    add = functools.partial(parser.add_argument, help=argparse.SUPPRESS)
    add("-h", "--help", action="help")
    deployment = os.environ.get("PROPENSITY_DEPLOYMENT") or None
    add("--deployment", type=_from_here, default=deployment)
    add("--dry-run", dest="is_dry", action="store_true")
    for each in takes.split():
        flag = each.rstrip("=")
        if flag == "command":
            add(flag, nargs=argparse.REMAINDER)
        elif not flag.startswith("--"):
            add(flag, nargs="?", default="")
        elif each.endswith("="):
            add(flag, type=_from_here if flag in FILES else str)
        else:
            add(flag, action="store_true")
    return parser.parse_args(words)


def _from_here(text: str) -> Path:
    """Return the file that somebody names in the folder where a script was started."""
    return Path(os.environ.get("STARTED", ""), text).resolve()


def deployment_of(options: argparse.Namespace) -> Path:
    """Return the file of the deployment that is named; in a dry run the template's."""
    if options.deployment:
        return Path(options.deployment)
    if not options.is_dry:
        raise UsageError(
            "name your deployment by --deployment FOLDER/production.env or "
            "PROPENSITY_DEPLOYMENT; 'propensity deployment new FOLDER' creates one"
        )
    told = "# no deployment is named: the template's names stand for yours"
    print(told, file=sys.stderr)
    return configuration.EXAMPLE


if __name__ == "__main__":
    # What a script began, its ``finally`` takes away, also where somebody ends it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    # Who reads a few lines of what is printed, as by head, ends it.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    # What programs print comes in its turn.
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(main(sys.argv[1:]))
