"""The commands: try a table or a use case; write or list use cases."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from propensity.cli import texts
from propensity.cli.answers import (
    Group,
    Spoken,
    command,
    example,
    say,
    spoken,
    tell,
)
from propensity.cli.options import (
    DRY_RUN,
    FILE,
    Count,
    Folder,
    Target,
    check_folder,
    check_target,
    day,
)
from propensity.ids import EXPORT

DAYS = Count(min=1)


@command(
    "propensity try churn.csv --user customer --time month --label churned", name="try"
)
@click.argument(
    "target", type=Target(), help="A file, project.dataset.table or use case."
)
@click.option("--user", metavar="COLUMN", help="Column that names the user.")
@click.option("--time", metavar="COLUMN", help="Column that says when a row was true.")
@click.option("--label", metavar="COLUMN", help="Column with the outcome: 1 or 0.")
@click.option(
    "--outcome", metavar="VALUE", help="Value of the label to predict, if not 1 or yes."
)
@click.option(
    "--category",
    "categories",
    metavar="COLUMN",
    multiple=True,
    help="Column whose numbers are names of something. Can be repeated.",
)
@click.option(
    "--without", metavar="COLUMN", multiple=True, help="Leave out. Can be repeated."
)
@click.option(
    "--plans",
    metavar="COLUMN",
    multiple=True,
    help="Column with dates that are known in advance. Can be repeated.",
)
@click.option(
    "--test-times",
    type=Count(min=1),
    help="How many of the newest times are the test set.",
)
@click.option(
    "--candidates",
    metavar="FILE",
    type=FILE,
    help="usecase.toml whose [[candidates]] are compared.",
)
@click.option(
    "--horizon-days",
    type=DAYS,
    show_default="until the table's next time",
    help="Days after a row until its label is known.",
)
@click.option(
    "--as-of",
    type=day,
    show_default="today",
    help="Prediction date of the trial of a use case.",
)
@click.option(
    "--report",
    metavar="FILE",
    type=FILE,
    show_default="try-TARGET.html",
    help="File to write the report to.",
)
@click.option(
    "--scores",
    metavar="FILE",
    type=FILE,
    help="Also write a CSV file of the users whose outcome is open, the best first.",
)
@click.option(
    "--rows",
    metavar="FILE",
    help="File or table of the users to score, if they are not in TARGET.",
)
@click.option(
    "--treatment",
    metavar="COLUMN",
    help="Column that says how a user was contacted, in an experiment at random.",
)
@click.option(
    "--control",
    metavar="SHARE",
    help="Draw a control group into --scores, such as 10%. With --treatment: its value "
    "for users not contacted.",
)
@click.option(
    "--jobs-in",
    metavar="PROJECT",
    show_default="the export's",
    help="Project of yours whose jobs read an export.",
)
@click.option(
    "--label-event",
    metavar="EVENT",
    show_default="purchase",
    help="Event of an export to predict.",
)
@click.option(
    "--yes",
    "is_agreed",
    is_flag=True,
    help="Read an export for more than BigQuery's free month.",
)
@click.option(
    "--judge",
    metavar="FILE",
    type=FILE,
    help="Say what contacting a list brought, by TARGET: the export, or orders.",
)
@click.option("--amount", metavar="COLUMN", help="Column of orders with what was paid.")
@click.option(
    "--cost-per-contact",
    type=click.FloatRange(min=0),
    help="What a contact of an experiment costs.",
)
@click.option(
    "--margin",
    type=click.FloatRange(min=0, max=1),
    help="Share of the sums that is left, from 0 to 1.",
)
def trying(
    *,
    target: str,
    as_of: date | None,
    report: Path | None,
    scores: Path | None,
    rows: str | None,
    treatment: str | None,
    control: str | None,
    jobs_in: str | None,
    label_event: str | None,
    is_agreed: bool,
    judge: Path | None,
    amount: str | None,
    cost_per_contact: float | None,
    margin: float | None,
    **chosen: Any,
) -> Any:
    """
    Show what a table, an export or a use case predicts.

    TARGET is a CSV or Parquet file, a table project.dataset.table, an export
    project.dataset, or a use case. In a table, all other columns are features. On the
    newest rows (without --time, random ones), the model is compared with the best
    single column. A use case is compared with the live version. Changes nothing in a
    deployment.

    An export is read once, in a session of temporary tables: it needs the rights to
    read it and to create jobs in a project, and writes nothing. The price is said
    first. --scores lists the best 500 users.

    --scores lists the users whose outcome is still empty, or those of --rows, by their
    newest row: user, probability, percentile, reasons. It replaces an earlier list. A
    use case, also one of your own events, publishes predictions instead.

    --control 10% adds a column with a control group, whom you don't contact. A month
    later, --judge reads the list back, and says what contacting the others brought.

    With --treatment and --control, the table is an experiment, one row for each user:
    shows what contacting added, and whether to contact by effect or by probability.
    --scores with --rows lists other users in this order. --cost-per-contact and
    --margin say whether it paid.
    """
    if treatment and not control:
        raise click.UsageError("--treatment needs --control")
    if control and not (treatment or scores):
        raise click.UsageError("--control needs --scores FILE, or --treatment")
    if (cost_per_contact is None) != (margin is None):
        raise click.UsageError("--cost-per-contact needs --margin, and the reverse")
    if cost_per_contact is not None and not treatment:
        raise click.UsageError("--cost-per-contact needs --treatment, an experiment")
    if rows and not scores:
        raise click.UsageError("--rows needs --scores FILE, the list to write")
    check_target(target)
    if judge:
        columns = {"user": chosen["user"], "time": chosen["time"], "amount": amount}
        return _judged(judge, target, jobs_in=jobs_in, **columns)
    from propensity.trying.tables import is_use_case

    if report is None:
        report = Path(f"try-{Path(target).name}.html")
    if _is_export(target):
        _refuse(
            list(chosen) + ["as_of", "rows", "treatment"],
            f"--{{}} is not for an export, and {target} is one",
        )
        return _export(
            target,
            report,
            scores=scores,
            control=control,
            jobs_in=jobs_in,
            label_event=label_event,
            is_agreed=is_agreed,
        )
    _refuse(
        ["jobs_in", "label_event", "is_agreed"],
        f"--{{}} is for an export, project.dataset, and {target} is none",
    )
    if control and not treatment:
        raise click.UsageError("--control without --treatment is for an export")
    if treatment and control:
        chosen |= {"treatment": treatment, "control": control}
        chosen |= {"cost_per_contact": cost_per_contact, "margin": margin}
        if scores and not rows:
            raise click.UsageError(
                "--scores of an experiment needs --rows, whom to list"
            )
        return _experiment(
            target, report, scores=scores, rows=rows, as_of=as_of, **chosen
        )
    if not is_use_case(target):
        return _table(target, report, scores=scores, rows=rows, **chosen)
    if scores:
        raise click.UsageError(
            f"--scores is for a table, and {target} is a use case, whose predictions "
            "are its list: declare an audience, see docs/audiences.md"
        )
    return _use_case(target, report, as_of=as_of)


def _is_export(target: str) -> bool:
    return EXPORT.fullmatch(target) is not None and not Path(target).exists()


def _export(
    target: str,
    report: Path,
    *,
    scores: Path | None,
    control: str | None,
    jobs_in: str | None,
    label_event: str | None,
    is_agreed: bool,
) -> Any:
    from propensity.cli.progress import announced, watched
    from propensity.clock import SYSTEM
    from propensity.trying import lists

    share = None
    if control:
        try:
            share = lists.parse_share(control)
        except ValueError as error:
            raise click.UsageError(f"--control: {error}") from error

    def agrees(question: str) -> bool:
        if is_agreed or not sys.stdin.isatty():
            return is_agreed
        return click.confirm(f"{question}. Read it?", err=True)

    answer = lists.try_and_list(
        target,
        report=report,
        scores=scores,
        share=share,
        label_event=label_event,
        jobs_in=jobs_in,
        agrees=agrees,
        now=SYSTEM.now(),
        say=say,
        step=announced,
        watched=watched,
    )
    return spoken(answer, texts.tried_export)


def _judged(
    judge: Path,
    target: str,
    *,
    user: str | None,
    time: str | None,
    amount: str | None,
    jobs_in: str | None,
) -> Any:
    from propensity.clock import SYSTEM
    from propensity.trying import lists

    if _is_export(target):
        _refuse(["user", "time", "amount"], "--{} is for a file of orders")
        now = SYSTEM.now()
        judged = lists.judge_by_export(judge, target, jobs_in=jobs_in, now=now)
    else:
        if not user:
            raise click.UsageError("--judge with a file of orders needs --user COLUMN")
        judged = lists.judge_by_orders(
            judge, Path(target), user=user, amount=amount, time=time
        )
    return spoken(asdict(judged), texts.what_contacting_brought)


def _experiment(
    target: str,
    report: Path,
    *,
    scores: Path | None,
    time: str | None,
    as_of: date | None,
    horizon_days: int | None,
    plans: tuple[str, ...],
    test_times: int | None,
    candidates: Path | None,
    **chosen: Any,
) -> Any:
    from propensity.cli.progress import announced
    from propensity.measures.intervals import in_columns
    from propensity.trying import tables

    refused = {
        "--time": time,
        "--as-of": as_of,
        "--horizon-days": horizon_days,
        "--plans": plans,
        "--test-times": test_times,
        "--candidates": candidates,
    }
    for option, value in refused.items():
        if value:
            raise click.UsageError(f"an experiment takes no {option}")
    look, listed = tables.try_experiment_file(
        target, report=report, scores=scores, step=announced, **chosen
    )
    tell(repr(look))
    say(f"The report is in {report}")
    if scores:
        say(f"The list of {listed:,} users is in {scores}")
    arms = []
    for arm in look.arms:
        profit = None
        if look.cost_per_contact is not None and look.margin is not None:
            profit = arm.profit(look.cost_per_contact, look.margin)
        arms.append({**arm.plain(), **in_columns("profit", profit)})
    return Spoken(
        {
            "arms": arms,
            "left_out": look.left_out,
            "report": str(report),
            "scores": str(scores) if scores else None,
            "listed": listed,
        }
    )


def _use_case(target: str, report: Path, *, as_of: date | None) -> Any:
    from propensity.cli.progress import announced

    try:
        from propensity.trying.use_case import try_use_case
    except ModuleNotFoundError as error:
        from propensity.cli.errors import CommandError

        raise CommandError(
            f"a use case is tried on the rows of a deployment, and {error.name} is "
            "missing",
            hint="Run: pip install 'propensity[deployment]'",
        ) from error
    answer = try_use_case(target, as_of=as_of, report=report, step=announced)
    would = "would" if answer["would_go_live"] else "would not"
    tell(f"It {would} go live: {answer['verdict']}.")
    say(f"The report is in {report}")
    return Spoken(answer)


def _table(target: str, report: Path, *, scores: Path | None, **chosen: Any) -> Any:
    from propensity.cli.progress import announced, watched
    from propensity.trying import tables

    look, listed = tables.try_file(
        target, report=report, scores=scores, step=announced, watched=watched, **chosen
    )
    tell(repr(look))
    say(f"The report is in {report}")
    if scores:
        say(f"The list of {listed:,} users is in {scores}")
    card = look.card.plain()
    return Spoken(
        {
            "kinds": look.kinds,
            "left_out": look.left_out,
            "leaks": look.leaks,
            "level": look.level,
            "tells_nothing": look.tells_nothing,
            "metrics": card["metrics"],
            "baseline": card["baseline"],
            "report": str(report),
            "scores": str(scores) if scores else None,
            "listed": listed,
        }
    )


@click.group(cls=Group, epilog=example("propensity usecase list"))
def usecase() -> None:
    """Write a new use case, check one, or list them."""


@usecase.command(
    epilog=example("propensity usecase new shop_signup --label-event sign_up")
)
@click.argument("name", help="Lower-case letters, digits and underscores.")
@click.option(
    "--label",
    type=click.Choice(["event", "churn"]),
    default="event",
    help="Predict that an event comes, or (churn) that none does.",
)
@click.option(
    "--label-event", metavar="EVENT", help="Event to predict.  [default: purchase]"
)
@click.option(
    "--lookback-days", type=DAYS, default=30, help="Days of events that features read."
)
@click.option(
    "--horizon-days",
    type=DAYS,
    default=7,
    help="Days within which the event is predicted.",
)
@click.option(
    "--source",
    metavar="TABLE",
    help="Also read a table of your own, [project.]dataset.table.",
)
@click.option(
    "--events",
    metavar="TABLE",
    help="Read events of your own instead of the GA4 export, [project.]dataset.table.",
)
@click.option("--user", metavar="COLUMN", help="Its column with the user's id.")
@click.option("--time", metavar="COLUMN", help="Its column with the time.")
@click.option(
    "--event-name", metavar="COLUMN", help="Its column with the kind of event."
)
@click.option("--amount", metavar="COLUMN", help="Its column with the amount.")
@click.option(
    "--counts", metavar="EVENTS", default="", help="Kinds that features count: a,b."
)
@click.option(
    "--like",
    metavar="USE_CASE",
    help="Use the files of this use case, for another GA4 property or event.",
)
@click.option(
    "--ga4-dataset",
    metavar="DATASET",
    help="Export of the other property, [project.]dataset.",
)
@click.option(
    "--utc-offset-hours",
    type=Count(min=-12, max=14),
    default=0,
    help="Hours that its time zone is ahead of UTC, in summer.",
)
@click.option("--currency", metavar="CODE", help="Its currency, such as GBP.")
@click.option(
    "--user-column",
    type=click.Choice(["user_pseudo_id", "user_id", "person"]),
    help="What its users are.",
)
@DRY_RUN
def new(
    *,
    name: str,
    label_event: str | None,
    is_dry: bool,
    like: str | None,
    ga4_dataset: str | None,
    utc_offset_hours: int,
    currency: str | None,
    user_column: str | None,
    **own: Any,
) -> Any:
    """
    Write the folder of a new use case, for the GA4 export or a table of events.

    Its files are in usecases/NAME. They run unchanged; comments show what
    you can change. With --like, the folder has one file, which says how the use case
    differs from the other one.
    """
    from propensity.errors import RequestError
    from propensity.usecases import new as program

    differences: dict[str, Any] = {
        "ga4_dataset": ga4_dataset,
        "utc_offset_hours": utc_offset_hours,
        "currency": currency,
        "user_column": user_column,
    }
    both: dict[str, Any] = {
        "name": name,
        "label_event": label_event,
        "is_dry": is_dry,
    }
    try:
        if like:
            _refuse(own, "--like takes no --{}: edit the new file")
            return program.write_instance(like=like, **both, **differences)
        _refuse(differences, "--{} needs --like, the use case to copy")
        return program.write_use_case(**both, **_with_events(**own))
    except RequestError as error:
        raise click.UsageError(error.message) from None


def _refuse(options: Iterable[str], problem: str) -> None:
    """Refuse options that the command line names."""
    context = click.get_current_context()
    for option in sorted(options):
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            raise click.UsageError(problem.format(option.replace("_", "-")))


def _with_events(
    *,
    events: str | None,
    user: str | None,
    time: str | None,
    event_name: str | None,
    amount: str | None,
    counts: str,
    **others: Any,
) -> dict[str, Any]:
    """Return the options of a folder of its own, with its table of events as one."""
    from propensity.usecases.declaration import Events

    table = None
    if events and user and time:
        table = Events(
            table=events, user_id=user, time=time, name=event_name, amount=amount
        )
    elif events or user or time or event_name or amount:
        raise click.UsageError("a table of events needs --events, --user and --time")
    counted = [name.strip() for name in counts.split(",") if name.strip()]
    return {**others, "events": table, "counts": counted}


@usecase.command(epilog=example("propensity usecase check shop_signup"))
@click.argument("name", type=Folder(), help="Name of the use case's folder.")
def check(*, name: str) -> Any:
    """
    Check the files and SQL of a use case, and its leakage.

    It needs a clone of the project, which has Google's own analyzer of SQL.
    """
    from propensity.cli.errors import CommandError

    check_folder(name)
    raise CommandError(
        "usecase check needs a clone of the project, which has Google's own analyzer "
        "of SQL",
        hint=f"Run in one: make setup && .venv/bin/propensity usecase check {name}",
    )


@usecase.command("list", epilog=example("propensity usecase list"))
def list_usecases() -> Any:
    """List the use cases, with what each predicts, or what is wrong in its folder."""
    from propensity import usecases
    from propensity.errors import UseCaseError

    rows = []
    for name in usecases.names():
        title = ""
        fault = ""
        try:
            title = usecases.load(name).title
        except UseCaseError as error:
            fault = error.message
        rows.append({"use_case": name, "title": title, "fault": fault})
    return {"use_cases": rows}
