"""Audiences: who is contacted, who is the control group, and what became of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.texts import audiences as texts
from propensity.cli.answers import Exit, File, Group, example, say, spoken
from propensity.cli.errors import CommandError
from propensity.cli.options import DRY_RUN, read_day, use_case

if TYPE_CHECKING:
    from propensity.audience.declared import DeclaredAudience
    from propensity.audience.members import Member
    from propensity.registry.deployment import Deployment

# Users whom a workbook or JSON may have, as each is in memory.
MOST_AT_ONCE = 100_000
_NAME = click.argument("audience", help="Name of the audience.")
_ONE_OR_ALL = click.argument("audience", required=False, help="Name of the audience.")
_ALL = click.option(
    "--all", "is_for_all", is_flag=True, help="All audiences of the deployment."
)
_AS_OF = click.option(
    "--as-of",
    "until",
    type=read_day,
    metavar="DAY",
    show_default="today",
    help="Use the newest predictions up to this day.",
)


@click.group(cls=Group, epilog=example("propensity audience send winback"))
def audience() -> None:
    """
    Send top users to a destination, and keep a control group.

    An audience is a file, audiences/NAME.toml in the folder of a use case. Its members
    are chosen from the newest predictions, once for their date. A share of them is the
    control group, the same users every week, so that 03-ModelEvaluation can say whether
    acting helped.
    """


@contextlib.contextmanager
def _declared(
    audience: str, use_case: str | None
) -> Iterator[tuple[Deployment, DeclaredAudience, Any]]:
    """Open a deployment, a declared audience, and the reader of secrets."""
    from propensity import usecases
    from propensity.audience.declared import load_audience
    from propensity.settings import Settings

    # A wrong name is told before Google's libraries are imported.
    settings = Settings.from_environment()
    if use_case is None:
        use_case = settings.use_case
    named = load_audience(usecases.load(use_case), audience)

    from propensity.gcp import secrets
    from propensity.registry.deployment import open_deployment

    with open_deployment(use_case, settings=settings) as deployment:
        yield deployment, named, secrets.reader(settings)


def _show(words: Sequence[str]) -> None:
    """Show what a receiver said, which may name users, to the person who sends."""
    # The log keeps what a job prints.
    if not os.environ.get("CLOUD_RUN_JOB"):
        for said in words:
            say(f"The receiver said: {said}")


def _watched(requests: Any, users: int) -> Any:
    """Show how many users are done, on a terminal."""
    from propensity.cli.progress import step

    with step("sending") as running:
        running.unit = "users"
        running.total = users
        for request in requests:
            yield request
            running.done += len(request.members)


@audience.command(epilog=example("propensity audience preview winback"))
@_NAME
@_AS_OF
@click.option(
    "--validate", is_flag=True, help="Let Google check the first request, too."
)
@use_case()
def preview(audience: str, use_case: str | None, **chosen: Any) -> Any:
    """
    Show what `send` would do, without sending anything.

    Counts members, the control group, requests and cost. Says what the users of each
    decile may bring, from which uplift contacting them pays, and which effect the
    audience can prove after 1, 4, 13 and 52 weeks, or up to its `until`.
    """
    with _declared(audience, use_case) as (deployment, named, secret):
        from propensity.audience import run

        answer = run.preview(deployment, named, secret, **chosen)
        return spoken(
            answer,
            texts.previewed,
            effect=named.declared.effect,
            currency=deployment.use_case.currency,
        )


@audience.command(epilog=example("propensity audience send winback"))
@_NAME
@_AS_OF
@click.option(
    "--allow-empty",
    "may_be_empty",
    is_flag=True,
    help="If the audience is empty, remove everyone added earlier.",
)
@use_case()
def send(audience: str, use_case: str | None, **chosen: Any) -> Any:
    """
    Store an audience's members, and send all but the control group.

    Removes users who have left the audience, if the destination can do that, then adds
    all others. Records each in the table ma_audience_ledger, as accepted or rejected
    with a reason. You can interrupt it and run it again: it continues with what is
    left.

    Send the first date of an audience by this command; 05-Audiences sends later dates.
    Fails if the receiver stops accepting users.
    """
    with _declared(audience, use_case) as (deployment, named, secret):
        from propensity.audience import run

        done = run.send(deployment, named, secret, watched=_watched, **chosen)
    _show(done.words)
    if done.failure:
        say(
            f"propensity audience: {done.failure.message}. {done.pending:,} users are "
            "pending: run the same command again to continue"
        )
    answer = spoken(done.answer(), texts.sent)
    return answer, Exit.FAILED if done.failure else Exit.DONE


@audience.command(epilog=example("propensity audience end winback"))
@_NAME
@click.option(
    "--destination", metavar="NAME", help="Only the list of this destination."
)
@click.option(
    "--removed-by-hand",
    "is_by_hand",
    is_flag=True,
    help="Only record it, because you have removed them yourself.",
)
@DRY_RUN
@use_case()
def end(
    audience: str,
    use_case: str | None,
    destination: str | None,
    is_by_hand: bool,
    is_dry: bool,
) -> Any:
    """
    Take all users of an audience off the lists of its destinations.

    Do this before you delete or rename an audience, or send it elsewhere; it also works
    afterwards. If its file stays and its `until` has not passed, 05-Audiences sends it
    again. You can interrupt this command and run it again.
    """
    from propensity.audience.run import end
    from propensity.audience.stopping import check_sent, listed
    from propensity.gcp import secrets
    from propensity.registry.deployment import open_deployment

    answers = []
    failed = False
    with open_deployment(use_case) as deployment:
        secret = secrets.reader(deployment.settings)
        for listing in listed(deployment):
            is_chosen = destination in (None, listing.destination)
            if listing.audience != audience or not is_chosen:
                continue
            if is_dry:
                answers.append(asdict(listing))
                continue
            done = end(
                deployment, listing, secret, is_by_hand=is_by_hand, watched=_watched
            )
            _show(done.words)
            answers.append(done.answer())
            if done.failure:
                failed = True
        if not answers:
            check_sent(deployment, audience, destination)
    if not answers:
        say(f"Nothing to take back: {audience} is on no list that can remove users")
    answer = spoken({"lists": answers}, texts.ended)
    return answer, Exit.FAILED if failed else Exit.DONE


@audience.command(epilog=example("propensity audience stop winback"))
@_ONE_OR_ALL
@_ALL
@DRY_RUN
@use_case()
def stop(audience: str | None, use_case: str | None, **how: bool) -> Any:
    """
    Send nothing more of an audience, or of all, until you resume it.

    A delivery that is under way ends before its next request. Users who are to be added
    or removed wait, and the answer counts them. 05-Audiences and `send` skip a stopped
    audience without an alert.
    """
    return _changed(audience, use_case, is_stopped=True, **how)


@audience.command(epilog=example("propensity audience resume winback"))
@_ONE_OR_ALL
@_ALL
@DRY_RUN
@use_case()
def resume(audience: str | None, use_case: str | None, **how: bool) -> Any:
    """
    Let a stopped audience go on, or all.

    It sends nothing by itself: the next `send` or call of 05-Audiences does. With
    --all, audiences that you have stopped by their names stay stopped.
    """
    return _changed(audience, use_case, is_stopped=False, **how)


def _changed(
    audience: str | None,
    use_case: str | None,
    *,
    is_stopped: bool,
    is_for_all: bool,
    is_dry: bool,
) -> Any:
    """Stop audiences or let them go on; return what waits."""
    from offline import stopping
    from propensity import usecases
    from propensity.registry.deployment import open_deployment

    if (audience is None) != is_for_all:
        raise click.UsageError("Name one audience, or add --all.")
    answers = []
    for each in usecases.names() if is_for_all else [use_case]:
        with open_deployment(each) as deployment:
            if not is_dry:
                stopping.change(deployment, audience, is_stopped=is_stopped)
            answers += stopping.states(deployment, audience)
    return spoken({"audiences": answers}, texts.stopped)


@audience.command(
    "list",
    epilog=example(
        "propensity audience list winback > monday.csv",
        "propensity audience list winback --excel > monday.xlsx",
    ),
)
@_NAME
@click.option(
    "--excel",
    "is_workbook",
    is_flag=True,
    help="As a workbook of Excel, in which ids stay as they are.",
)
@use_case()
def list_members(audience: str, use_case: str | None, is_workbook: bool) -> Any:
    """
    Print the users to contact as CSV, the best first.

    These are the members of the newest date that was sent, without the control group,
    suppressed users, users whom the destination has rejected, and users who are not in
    the audience's SQL any more. They have rank, probability, expected value, if any,
    and the columns of the SQL. A workbook or JSON has up to 100,000 users.
    """
    from propensity.audience.destinations.files import (
        csv_of_members,
        workbook_of_members,
    )
    from propensity.audience.members import find_treated

    # It is open until the last page is printed.
    context = click.get_current_context()
    deployment, named, _ = context.with_resource(_declared(audience, use_case))
    members, pages = context.with_resource(find_treated(deployment, named))

    def parts() -> Iterator[bytes]:
        about = (members.sums, members.columns, members.order)
        if is_workbook:
            yield workbook_of_members(_whole(pages, members.sums.treated), *about)
        else:
            yield from csv_of_members(pages, *about)

    def answer() -> dict[str, Any]:
        whole = _whole(pages, members.sums.treated)
        users = [member.values for member in whole]
        return {"audience": audience, "as_of": members.as_of, "users": users}

    return File(parts(), answer)


def _whole(pages: Iterable[Sequence[Member]], users: int) -> list[Member]:
    """Return the members of all pages, which must fit in memory."""
    if users > MOST_AT_ONCE:
        raise CommandError(
            f"{users:,} users are more than fit in JSON or in a workbook",
            hint="Print them as CSV: leave --json and --excel out",
        )
    return list(chain.from_iterable(pages))


@audience.command(epilog=example("propensity audience experiment winback --to w.csv"))
@_NAME
@click.option(
    "--to",
    "file",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The CSV to write.",
)
@click.option(
    "--as-of",
    type=read_day,
    metavar="DAY",
    show_default="today",
    help="Use what was known on this day.",
)
@use_case()
def experiment(audience: str, use_case: str | None, **options: Any) -> Any:
    """
    Write contacted users and the control group as a table for `propensity try`.

    Each user is in it once, with the features of the date on which they joined, the
    column group (contact or control) and the outcome, label, where that is final;
    without suppressed users. `propensity try` says whom to contact by it, behind a
    gate.
    """
    from offline.experiment import write_experiment

    answer = write_experiment(audience, use_case=use_case, **options)
    return spoken(answer, texts.experiment)


@audience.command(epilog=example("propensity audience ledger winback"))
@_NAME
@use_case()
def ledger(audience: str, use_case: str | None) -> Any:
    """
    Show how many users were accepted, rejected, or are pending.

    Counts pending, accepted and rejected users by date, destination, action and reason.
    """
    from propensity.audience.delivery import account
    from propensity.registry.deployment import open_deployment

    with open_deployment(use_case) as deployment:
        return spoken(account(deployment, audience), texts.ledger)


@audience.command(epilog=example("propensity audience programme"))
@use_case()
def programme(use_case: str | None) -> Any:
    """
    Show what all audiences of a control group brought together.

    Each user counts once, at the first date in any of the audiences: what contacted
    users paid more than the control group, with cost and profit, in all and by quarter.
    """
    from propensity.audience.programme import programme_account
    from propensity.registry.deployment import open_deployment

    with open_deployment(use_case) as deployment:
        return spoken(programme_account(deployment), texts.programme)
