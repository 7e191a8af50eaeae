"""Try a table or a use case before anything is deployed or published."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import click

from commands.answers import Command, Printed, example, printable, say
from commands.options import day


@click.command(
    "try",
    cls=Command,
    epilog=example(
        "propensity try churn.csv --user customer --time month --label churned"
    ),
)
@click.argument("target", help="A file, project.dataset.table or use case.")
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
    "--horizon-days",
    type=click.IntRange(min=1),
    metavar="N",
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
    type=click.Path(path_type=Path),
    show_default="try-TARGET.html",
    help="File to write the report to.",
)
def trying(
    *, target: str, as_of: date | None, report: Path | None, **chosen: Any
) -> Any:
    """
    Show what a table or a use case can predict.

    TARGET is a CSV or Parquet file, a table project.dataset.table, or a use case. In a
    table, columns that are not named are features, and the newest rows compare the
    model with the best single column. A use case is compared with the live version.
    Changes nothing in a deployment.
    """
    from local.progress import announced
    from offline import trying

    report = report or Path(f"try-{Path(target).name}.html")
    if trying.is_use_case(target):
        answer = trying.try_use_case(target, as_of=as_of, report=report, step=announced)
        would = "would" if answer["would_go_live"] else "would not"
        print(printable(f"It {would} go live: {answer['verdict']}."))
        say(f"The report is in {report}")
        return Printed(answer)
    look = trying.try_file(target, report=report, step=announced, **chosen)
    print(printable(repr(look)))
    say(f"The report is in {report}")
    names = ("kinds", "left_out", "leaks")
    entries = {name: getattr(look, name) for name in names}
    card = {"metrics": look.card["metrics"], "baseline": look.card["baseline"]}
    return Printed({**entries, **card, "report": str(report)})
