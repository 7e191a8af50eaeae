"""The command ``try``: a table, an experiment, an export, a use case or a list."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from propensity.cli.answers import Spoken, command, say, spoken, tell
from propensity.cli.options import FILE, Count, Decorator, check_target, read_day
from propensity.ids import EXPORT
from propensity.trying import example
from propensity.trying import sentences as texts


@dataclass(frozen=True, kw_only=True)
class Trial:
    """
    What can be tried.

    Attributes:
        noun: What it is called where an option is not for it.
        takes: Its options; all but a folder have ``report``.
        needs: An option that is missing, by the option that needs it.
        run: Tries a target with these options, and returns the answer.
    """

    noun: str
    takes: Sequence[str]
    run: Callable[..., Spoken]
    needs: Mapping[str, str] = field(default_factory=dict)


def _column(flag: str, help_text: str) -> Decorator[Any]:
    return click.option(flag, metavar="COLUMN", help=help_text)


def _columns(flag: str, name: str, help_text: str) -> Decorator[Any]:
    text = f"{help_text}. Can be repeated."
    return click.option(flag, name, metavar="COLUMN", multiple=True, help=text)


def _file(flag: str, help_text: str, *, shown: str | None = None) -> Decorator[Any]:
    return click.option(
        flag, metavar="FILE", type=FILE, show_default=shown, help=help_text
    )


@command(
    "propensity try --example",
    "propensity try churn.csv --user customer --time month --label churned",
    name="try",
)
@click.argument(
    "target", required=False, help="A file, project.dataset.table or use case."
)
@click.option(
    "--example",
    "is_example",
    is_flag=True,
    help="Write churn.csv, a table of made-up customers, here, and try it.",
)
@_column("--user", "Column that names the user.")
@_column("--time", "Column that says when a row was true.")
@_column("--label", "Column with the outcome: 1 or 0.")
@click.option(
    "--outcome", metavar="VALUE", help="Value of the label to predict, if not 1 or yes."
)
@click.option(
    "--outcomes", metavar="COLUMNS", help="Several outcomes of an experiment: a,b."
)
@click.option("--title", help="What the outcome is called, such as churned.")
@_columns("--category", "categories", "Column whose numbers are names of something")
@_columns("--without", "without", "Leave out")
@click.option(
    "--missing",
    metavar="WORD",
    multiple=True,
    help="Word that stands for a missing value, beside NA and its like. Can be "
    "repeated.",
)
@_columns("--plans", "plans", "Column with dates that are known in advance")
@click.option(
    "--test-times",
    type=Count(min=1),
    help="How many of the newest times are the test set.",
)
@_file("--candidates", "usecase.toml whose [[candidates]] are compared.")
@click.option(
    "--horizon-days",
    type=Count(min=1),
    show_default="until the table's next time",
    help="Days after a row until its label is known.",
)
@click.option(
    "--as-of",
    type=read_day,
    metavar="DAY",
    show_default="today",
    help="Prediction date of the trial of a use case.",
)
@_file("--report", "File to write the report to.", shown="try-TARGET.html")
@_file("--scores", "Also write the users to contact, the best first: .csv or .xlsx.")
@click.option(
    "--rows",
    metavar="FILE",
    help="File or table of the users to score, if they are not in TARGET.",
)
@_column(
    "--treatment",
    "Column that says how a user was contacted, in an experiment at random.",
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
@_file(
    "--judge",
    "Say what contacting a list of --scores brought, by TARGET: orders, or an export "
    "with --folder.",
)
@click.option(
    "--against",
    metavar="RULE",
    help="Your list of today, to compare with: 'recency_days < 90', or a file with a "
    "day in each row.",
)
@_column("--amount", "Column of orders with what was paid.")
@click.option(
    "--folder",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write a list of an export each week, and say what the last ones brought.",
)
@click.option(
    "--top",
    type=Count(min=1),
    show_default="500, then the folder's",
    help="How many users the lists of a new folder have.",
)
@_file("--never", "File of user ids that the lists of a folder never have.")
@_file("--forget", "File of user ids to remove from all lists of a folder.")
@click.option(
    "--control-key",
    "key",
    envvar="PROPENSITY_CONTROL_KEY",
    metavar="HEX",
    help="Key of a folder's control group, best given as PROPENSITY_CONTROL_KEY.",
)
@click.option(
    "--cost-per-contact",
    type=click.FloatRange(min=0),
    help="What a contact of an experiment or of a folder's lists costs.",
)
@click.option(
    "--margin",
    type=click.FloatRange(min=0, max=1),
    help="Share of the sums that is left, from 0 to 1.",
)
def trying(*, target: str | None, is_example: bool, **options: Any) -> Spoken:
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
    later, --folder with --judge, or --judge with a file of orders, says what
    contacting the others brought.

    --folder weekly/ --control 30%, run each week, writes a list a week into a folder,
    and says what contacting brought as soon as outcomes are final. The same week again
    changes nothing.

    With --treatment and --control, the table is an experiment, one row for each user:
    shows what contacting added, and whether to contact by effect or by probability.
    --scores with --rows lists other users in this order. --cost-per-contact and
    --margin say whether it paid.
    """
    if is_example:
        return _example(target, options)
    if target is None:
        raise click.UsageError("TARGET is missing; for a table to try, --example")
    check_target(target)
    kind = _kind_of(target, options)
    _check_options(kind, options)
    if options["report"] is None:
        options["report"] = Path(f"try-{Path(target).name}.html")
    taken = {name: options[name] for name in kind.takes}
    return kind.run(target, **taken)


def _example(target: str | None, options: Mapping[str, Any]) -> Spoken:
    """Try the table that comes along, as a person would type it."""
    _check_options(EXAMPLE, options)
    if target is not None:
        raise click.UsageError(f"{target} is not for {EXAMPLE.noun}")
    example.write_example()
    words = ["propensity", "try", str(example.FILE)]
    for name, value in example.OPTIONS.items():
        words += [f"--{name}", str(value)]
    say(f"$ {' '.join(words)}")
    report = Path(f"try-{example.FILE}.html")
    taken = {name: options[name] for name in TABLE.takes}
    taken.update(example.OPTIONS, report=report)
    answer = TABLE.run(str(example.FILE), **taken)
    say(f"Next: open {report} in a browser. Then try a file of yours, as above")
    return answer


def _kind_of(target: str, options: Mapping[str, Any]) -> Trial:
    is_export = EXPORT.fullmatch(target) is not None and not Path(target).exists()
    if options["judge"]:
        return JUDGED_IN_FOLDER if is_export else JUDGED_BY_ORDERS
    if is_export and options["folder"]:
        return FORGOTTEN if options["forget"] else FOLDER
    if is_export:
        return EXPORTED
    if options["treatment"]:
        return EXPERIMENT
    from propensity.trying.tables import is_use_case

    return USE_CASE if is_use_case(target) else TABLE


def _check_options(kind: Trial, options: Mapping[str, Any]) -> None:
    """Refuse options that are not for a kind of target, or lack another one."""
    context = click.get_current_context()
    flags = {}
    for parameter in context.command.params:
        flags[str(parameter.name)] = parameter.opts[0]
    for name in options:
        source = context.get_parameter_source(name)
        if source is ParameterSource.COMMANDLINE and name not in kind.takes:
            raise click.UsageError(f"{flags[name]} is not for {kind.noun}")
    for name, needed in kind.needs.items():
        if options[name] is not None and options[needed] is None:
            raise click.UsageError(f"{flags[name]} needs {flags[needed]}")


def _table(target: str, **options: Any) -> Spoken:
    from propensity.trying import tables

    tried = tables.try_file(target, **options)
    look = tried.look
    card = look.card.plain()
    answer = {
        "kinds": look.kinds,
        "left_out": look.left_out,
        "leaks": look.leaks,
        "level": look.level,
        "tells_nothing": look.tells_nothing,
        "too_few_rows": look.ranking.is_too_few,
        "metrics": card["metrics"],
        "baseline": card["baseline"],
        "who": [asdict(trait) for trait in tried.traits],
        "against": None if tried.duel is None else tried.duel.plain(),
    }
    return _told(tried.words, answer, tried.listed, options)


def _experiment(target: str, *, outcomes: str | None, **options: Any) -> Spoken:
    from propensity.trying import tables

    if outcomes:
        options["label"] = [name.strip() for name in outcomes.split(",")]
    look, listed = tables.try_experiment_file(target, **options)
    answer = {
        "arms": look.plain_arms(),
        "left_out": look.left_out,
        "list_of": look.whom_it_lists,
    }
    return _told(repr(look), answer, listed, options)


def _told(
    look: str, answer: Mapping[str, Any], listed: int, options: Mapping[str, Any]
) -> Spoken:
    """Print what a look says and where its files are, and return the whole answer."""
    scores = options["scores"]
    tell(look)
    say(f"The report is in {options['report']}")
    if scores and listed:
        whom = f", of {answer['list_of']}" if "list_of" in answer else ""
        say(f"The list of {listed:,} users is in {scores}{whom}")
    elif scores:
        say(f"{scores} has no users: there is nobody to contact")
    files = {
        "report": str(options["report"]),
        "scores": str(scores) if scores else None,
    }
    return Spoken({**answer, **files, "listed": listed})


def _export(target: str, **options: Any) -> Spoken:
    from propensity.trying import lists

    answer = lists.try_and_list(target, **_of_export(**options))
    return spoken(answer, texts.tried_export)


def _folder(target: str, **options: Any) -> Spoken:
    from propensity.trying import weekly

    answer = weekly.write_week(target, **_of_export(**options))
    return spoken(answer, texts.week_of_folder)


def _of_export(
    *, control: str | None, is_agreed: bool, **options: Any
) -> dict[str, Any]:
    """Return the options of what reads an export, and how it asks."""
    from propensity.clock import SYSTEM

    asked = {"share": _share(control), "agrees": _agrees(is_agreed)}
    return {**options, **asked, "now": SYSTEM.now()}


def _share(control: str | None) -> float | None:
    from propensity.trying.lists import parse_share

    if control is None:
        return None
    try:
        return parse_share(control)
    except ValueError as error:
        raise click.UsageError(f"--control: {error}") from error


def _agrees(is_agreed: bool) -> Callable[[str], bool]:
    def agrees(question: str) -> bool:
        if is_agreed or not sys.stdin.isatty():
            return is_agreed
        return click.confirm(f"{question}. Read it?", err=True)

    return agrees


def _forgotten(target: str, *, forget: Path, **options: Any) -> Spoken:
    from propensity.trying import weekly

    answer = weekly.forget(file=forget, **options)
    return spoken(answer, texts.forgotten)


def _use_case(target: str, **options: Any) -> Spoken:
    try:
        from propensity.trying.use_case import try_use_case
    except ModuleNotFoundError as error:
        from propensity.cli.errors import CommandError

        raise CommandError(
            f"a use case is tried on the rows of a deployment, and {error.name} is "
            "missing",
            hint="Run it in a clone after `make setup`, or install the wheel's file "
            "with [deployment] after its name",
        ) from error
    answer = try_use_case(target, **options)
    would = "would" if answer["would_go_live"] else "would not"
    tell(f"It {would} go live: {answer['verdict']}.")
    say(f"The report is in {options['report']}")
    return Spoken(answer)


def _judged_in_folder(target: str, *, is_agreed: bool, **options: Any) -> Spoken:
    from propensity.clock import SYSTEM
    from propensity.trying import weekly

    answer = weekly.judge_list(
        target, agrees=_agrees(is_agreed), now=SYSTEM.now(), **options
    )
    return spoken(answer, texts.list_in_folder)


def _judged_by_orders(target: str, *, judge: Path, **options: Any) -> Spoken:
    from propensity.clock import SYSTEM
    from propensity.trying import lists

    now = SYSTEM.now()
    answer = lists.judge_by_orders(judge, Path(target), now=now, **options)
    return spoken(answer, texts.what_contacting_brought)


_FILES = ("report", "scores", "rows")
_COLUMNS = (
    "user", "label", "outcome", "title", "categories", "without", "missing",
)  # fmt: skip
_TIMES = ("time", "horizon_days", "test_times", "plans")
_PROFIT = ("cost_per_contact", "margin")
_EXPORT = ("control", "jobs_in", "label_event", "is_agreed")

EXAMPLE = Trial(
    noun="--example, which tries a table of its own", takes=(), run=lambda: Spoken({})
)
TABLE = Trial(
    noun="a table, unless --treatment names the column of an experiment",
    takes=_FILES + _COLUMNS + _TIMES + ("candidates", "against"),
    needs={"rows": "scores"},
    run=_table,
)
EXPERIMENT = Trial(
    noun="an experiment",
    takes=_FILES + _COLUMNS + _PROFIT + ("outcomes", "treatment", "control"),
    needs={
        "treatment": "control",
        "scores": "rows",
        "rows": "scores",
        "cost_per_contact": "margin",
        "margin": "cost_per_contact",
    },
    run=_experiment,
)
EXPORTED = Trial(
    noun="an export, project.dataset",
    takes=("report", "scores", "against") + _EXPORT,
    needs={"control": "scores"},
    run=_export,
)
FOLDER = Trial(
    noun="a folder of weekly lists",
    takes=("folder", "key", "top", "never") + _EXPORT + _PROFIT,
    run=_folder,
)
FORGOTTEN = Trial(
    noun="removing people from a folder",
    takes=("folder", "forget", "key"),
    run=_forgotten,
)
USE_CASE = Trial(
    noun="a use case, whose predictions are its list (docs/audiences.md)",
    takes=("report", "as_of"),
    run=_use_case,
)
JUDGED_IN_FOLDER = Trial(
    noun="a list that a folder judges by an export",
    takes=("judge", "folder", "key", "jobs_in", "is_agreed") + _PROFIT,
    needs={"judge": "folder"},
    run=_judged_in_folder,
)
JUDGED_BY_ORDERS = Trial(
    noun="a list that a file of orders judges",
    takes=("judge", "user", "time", "amount"),
    needs={"judge": "user"},
    run=_judged_by_orders,
)
