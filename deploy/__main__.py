"""
The command line of a deployment; the shell scripts call it.

    python -m deploy setup --dry-run      what would be done, each command, in order
    python -m deploy setup                do what of it is not done yet
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy import alerting, deployment, limits, permissions, plan
from deploy.deployment import Deployment, DeploymentError
from deploy.functions import Function, FunctionsError
from deploy.stage import StageError
from deploy.steps import (
    LEGEND,
    PATIENCE_S,
    NotOurs,
    Plan,
    Runner,
    StepFailed,
    printed,
    printed_removal,
    total,
)

ROOT = Path(__file__).resolve().parent.parent

# By verb: the script that calls it, and what it does.
SCRIPTS = {
    "setup": ("deploy/setup.sh", "Create all that functions need."),
    "deploy": ("deploy.sh", "Deploy the functions of a folder."),
    "schedule": ("scheduler.sh", "Let Cloud Scheduler call the functions of a folder."),
    "all": (
        "deploy/deploy_all.sh",
        "Set up, deploy every function, schedule what is scheduled.",
    ),
    "training-job": (
        "deploy/training_job.sh",
        "Make trainings Cloud Run jobs, which may take longer than a function.",
    ),
    "environment": (
        "python -m deploy environment",
        "Print the settings of a deployment as its functions have them.",
    ),
    "teardown": ("deploy/teardown.sh", "Remove what the other scripts created."),
}
OF_A_FOLDER = ("deploy", "schedule")

# The exit status where all is done but some of what watches.
UNWATCHED = 3

# Printed before a plan.
READ_ON = (
    "# What this costs: docs/cost.md. Who may do what: docs/security.md.",
    "# Nothing was called for this, and nothing is changed by it.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    given = parse(arguments)
    try:
        d = deployment.read(given.settings)
        if given.verb == "teardown":
            return teardown(d, given)
        if given.verb == "environment":
            for name, value in d.variables.items():
                print(f"export {name}={shlex.quote(value)}")
            return 0
        return carry_out(d, plans(d, given), given)
    except (
        DeploymentError,
        FunctionsError,
        NotOurs,
        StageError,
        permissions.Lacking,
    ) as error:
        print(f"deploy: {error}", file=sys.stderr)
    except StepFailed as error:
        print(
            f"deploy: this failed; what was done stays, run it again once it is "
            f"mended:\n{error}",
            file=sys.stderr,
        )
    except BrokenPipeError:
        # Whoever reads this, such as head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line: each verb's under the name of the script that calls it."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    folder = next(iter(given[1:2]), "")
    parser = argparse.ArgumentParser(
        "python -m deploy",
        description="Put Propensity on Google Cloud, or take it off.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, (script, text) in SCRIPTS.items():
        is_of_folder = verb in OF_A_FOLDER
        is_script = not is_of_folder or (ROOT / folder / script).is_file()
        name = f"{folder}/{script}" if is_of_folder else script
        one = verbs.add_parser(
            verb,
            prog=name if is_script else f"python -m deploy {verb}",
            help=text,
            description=text,
        )
        if is_of_folder:
            # The scripts say it themselves.
            told = argparse.SUPPRESS if is_script else "of functions; default: all"
            one.add_argument("folder", nargs="?", default="", help=told)
        _options(one, verb)
    return parser.parse_args(given)


def _options(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add what a verb takes."""
    parser.set_defaults(folder="", with_model=False, postcodes=None)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print each command, in order, and run none",
    )
    parser.add_argument(
        "--settings",
        type=Path,
        default=deployment.FILE,
        metavar="FILE",
        help="default: deploy/settings.env",
    )
    if verb not in ("teardown", "environment"):
        parser.add_argument(
            "--wait",
            type=float,
            default=PATIENCE_S,
            metavar="SECONDS",
            help="how long to wait for rights and names that were just made to be "
            "known everywhere; default: %(default)g",
        )
    if verb in ("setup", "all"):
        parser.add_argument(
            "--with-model",
            action="store_true",
            help="load the pre-trained model of first_day_churn",
        )
        parser.add_argument(
            "--postcodes", type=Path, metavar="FILE", help="load the postcode index"
        )
    if verb == "training-job":
        parser.add_argument(
            "--schedule",
            action="store_true",
            help="let the clock start it in the place of the function",
        )
    if verb == "teardown":
        parser.add_argument(
            "--delete-data",
            action="store_true",
            help="dataset, bucket and waiting messages as well",
        )
        parser.add_argument("--yes", action="store_true", help="do not ask")


def plans(d: Deployment, given: argparse.Namespace) -> list[tuple[str, Plan]]:
    """Return what is asked for, each part under its title, in order."""
    wanted = chosen(d, given.folder)
    if given.postcodes and not given.postcodes.is_file():
        raise DeploymentError(f"there is no {given.postcodes.resolve()} to load")
    loads = plan.loads(d, model=given.with_model, postcodes=given.postcodes)
    parts: dict[str, Callable[[], list[tuple[str, Plan]]]] = {
        "setup": lambda: [("Setup", plan.setup(d)), ("Loads", loads)],
        "watch": lambda: [("Watching", plan.watch(d))],
        "deploy": lambda: [("Functions", plan.deploy(d, wanted))],
        "schedule": lambda: [("Schedules", plan.schedule(d, wanted))],
        "training-job": lambda: [
            ("Training jobs", plan.training_job(d, is_scheduled=given.schedule))
        ],
    }
    # What watches comes last: nothing waits for it, and nothing fails with it.
    verbs = {
        "all": ("setup", "deploy", "schedule", "watch"),
        "setup": ("setup", "watch"),
    }.get(given.verb, (given.verb,))
    return [part for verb in verbs for part in parts[verb]() if part[1].steps]


def chosen(d: Deployment, folder: str) -> list[Function]:
    """
    Return the functions of a folder, all of them without one.

    Raises:
        DeploymentError: There is none of it in this deployment.
    """
    wanted = [one for one in d.functions if folder in ("", one.folder)]
    if not wanted:
        raise DeploymentError(
            f"no function of {folder} is among DEPLOY_FUNCTIONS: "
            f"{' '.join(one.target for one in d.functions)}"
        )
    return wanted


def too_low(d: Deployment) -> list[str]:
    """Return which limits on bytes the size of the deployment would exceed."""
    if d.size is None:
        return [
            "limits on bytes were compared with no size: DEPLOY_USERS is not set, nor "
            "how many events a day there are (propensity cost does the same)"
        ]
    found = limits.limits(
        d.size,
        d.settings,
        run_bytes=d.alerts.run_bytes,
        day_bytes=d.alerts.day_bytes,
        only=[one.target for one in d.functions],
    )
    size = f"{d.size.users:,} users, {d.size.events_a_day:,} events a day"
    if d.size.stream_events_a_day:
        size += f", {d.size.stream_events_a_day:,} on the stream"
    told = limits.told(found)
    return told or [f"no limit on bytes is too low for {size}"]


def carry_out(
    d: Deployment, parts: list[tuple[str, Plan]], given: argparse.Namespace
) -> int:
    """Print the plans, or do what of them is not done yet; return the exit status."""
    if given.dry_run:
        print(*legend("look", "create", "update", "run"), sep="\n")
        print(*(f"# {line}" for line in too_low(d)), sep="\n")
        for title, part in parts:
            print(f"\n## {title}", *printed(part), sep="\n")
        print("", *notes(d, parts), total([part for _, part in parts]), sep="\n")
        return 0
    installed("gcloud", "bq")
    permissions.check(d, say)
    if given.verb in ("setup", "all"):
        print(*too_low(d), sep="\n", flush=True)
    changed, left_out = 0, []
    for title, part in parts:
        print(title, flush=True)
        runner = Runner(part, say, ROOT, patience_s=given.wait)
        changed += runner.carry_out()
        left_out += runner.left_out
    print(*notes(d, parts), sep="\n", end="\n" if notes(d, parts) else "")
    print(f"{changed} of {sum(len(part.steps) for _, part in parts)} steps changed")
    if not left_out:
        return 0
    names = "".join(f"\n  {one.partition(chr(10))[0]}" for one in left_out)
    print(
        f"deploy: all else is done, but {len(left_out)} of what watches could not be "
        f"made, for the reasons above; deploy/setup.sh tries again:{names}",
        file=sys.stderr,
    )
    return UNWATCHED


def notes(d: Deployment, parts: list[tuple[str, Plan]]) -> list[str]:
    """Return what is worth knowing of a plan and is no step of it."""
    missing = alerting.unwatched(d)
    if not missing or all(title != "Watching" for title, _ in parts):
        return []
    return [
        f"# nothing would notice a missed run of {', '.join(missing)}: "
        f"{alerting.WATCHER}, which looks every day, is not among DEPLOY_FUNCTIONS"
    ]


def teardown(d: Deployment, given: argparse.Namespace) -> int:
    """Print what would be removed, or ask and remove it."""
    whole = plan.everything(d)
    if given.dry_run:
        print(*legend("look", "remove"), sep="\n")
        print(*printed_removal(whole, with_data=given.delete_data), sep="\n")
        return 0
    data = [step.what for step in whole.steps if step.is_data]
    fate = "DELETED, with all that is in it" if given.delete_data else "kept"
    print(f"Everything of {d.prefix!r} in project {d.project} is going to be removed.")
    print("\n".join(f"  {fate}: {what}" for what in data))
    if not given.yes:
        try:
            answer = input(f"Type the project's name, {d.project}, to go on: ")
        except EOFError:
            answer = ""
            print()
        if answer.strip() != d.project:
            print("nothing was removed")
            return 1
    installed("gcloud", "bq")
    changed = Runner(whole, say, ROOT).take_back(with_data=given.delete_data)
    left = "" if given.delete_data else "; what holds data was kept"
    print(f"{changed} things of {d.prefix!r} removed from {d.project}{left}")
    return 0


def legend(*labels: str) -> list[str]:
    """Return what is printed before a plan: what its words mean, where to read on."""
    return [f"# {label:<7} {LEGEND[label]}" for label in labels] + list(READ_ON)


def installed(*programs: str) -> None:
    """Raise StepFailed where a program is missing: else nothing would be found."""
    for program in programs:
        if shutil.which(program) is None:
            raise StepFailed(
                f"    {program} is not installed: "
                "https://cloud.google.com/sdk/docs/install"
            )


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
