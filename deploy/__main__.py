"""
The command line of a deployment; the shell scripts call it.

    python -m deploy setup --dry-run      what would be done, each command, in order
    python -m deploy setup                do what of it is not done yet
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy import deployment, plan
from deploy.deployment import Deployment, DeploymentError
from deploy.functions import Function, FunctionsError
from deploy.stage import StageError
from deploy.steps import Plan, Runner, StepFailed, printed, printed_removal

ROOT = Path(__file__).resolve().parent.parent
CHOICES = ("setup", "deploy", "schedule", "all", "training-job", "teardown")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    given = parse(arguments)
    try:
        d = deployment.read(given.settings)
        if given.verb == "teardown":
            return teardown(d, given)
        return carry_out(plans(d, given), given)
    except (DeploymentError, FunctionsError, StageError) as error:
        print(f"deploy: {error}", file=sys.stderr)
    except StepFailed as error:
        print(
            f"deploy: this failed; what was done stays, run it again once it is "
            f"mended:\n{error}",
            file=sys.stderr,
        )
    return 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        "python -m deploy",
        description="Put Propensity on Google Cloud, or take it off.",
    )
    parser.add_argument("verb", choices=CHOICES)
    parser.add_argument(
        "folder", nargs="?", default="", help="of functions; all of them without it"
    )
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
    parser.add_argument(
        "--with-model",
        action="store_true",
        help="setup: load the pre-trained model of first_day_churn",
    )
    parser.add_argument(
        "--postcodes", type=Path, metavar="FILE", help="setup: load the postcode index"
    )
    parser.add_argument(
        "--schedule",
        action="store_true",
        help="training-job: let the clock start it in the place of the function",
    )
    parser.add_argument(
        "--delete-data",
        action="store_true",
        help="teardown: dataset, bucket and waiting messages as well",
    )
    parser.add_argument("--yes", action="store_true", help="teardown: do not ask")
    return parser.parse_args(arguments)


def plans(d: Deployment, given: argparse.Namespace) -> list[tuple[str, Plan]]:
    """Return what is asked for, each part under its title, in order."""
    wanted = chosen(d, given.folder)
    loads = plan.loads(d, model=given.with_model, postcodes=given.postcodes)
    parts: dict[str, Callable[[], list[tuple[str, Plan]]]] = {
        "setup": lambda: [("Setup", plan.setup(d)), ("Loads", loads)],
        "deploy": lambda: [("Functions", plan.deploy(d, wanted))],
        "schedule": lambda: [("Schedules", plan.schedule(d, wanted))],
        "training-job": lambda: [
            ("Training jobs", plan.training_job(d, is_scheduled=given.schedule))
        ],
    }
    verbs = ("setup", "deploy", "schedule") if given.verb == "all" else (given.verb,)
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


def carry_out(parts: list[tuple[str, Plan]], given: argparse.Namespace) -> int:
    """Print the plans, or do what of them is not done yet."""
    if given.dry_run:
        for title, part in parts:
            print(f"\n## {title}", *printed(part), sep="\n")
        return 0
    installed("gcloud", "bq")
    changed = 0
    for title, part in parts:
        print(title, flush=True)
        changed += Runner(part, say, ROOT).carry_out()
    print(f"{changed} of {sum(len(part.steps) for _, part in parts)} steps changed")
    return 0


def teardown(d: Deployment, given: argparse.Namespace) -> int:
    """Print what would be removed, or ask and remove it."""
    whole = plan.everything(d)
    if given.dry_run:
        print(*printed_removal(whole, with_data=given.delete_data), sep="\n")
        return 0
    data = [step.what for step in whole.steps if step.is_data]
    fate = "DELETED, with all that is in it" if given.delete_data else "kept"
    print(f"Everything of {d.prefix!r} in project {d.project} is removed.")
    print("\n".join(f"  {fate}: {what}" for what in data))
    if not given.yes:
        answer = input(f"Type the project's name, {d.project}, to go on: ")
        if answer.strip() != d.project:
            print("nothing was removed")
            return 1
    installed("gcloud", "bq")
    changed = Runner(whole, say, ROOT).take_back(with_data=given.delete_data)
    print(f"{changed} things removed")
    return 0


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
