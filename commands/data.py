"""Data that are loaded, sent again, or deleted for good."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import click

from propensity.cli.answers import Exit, Group, command, example, say
from propensity.cli.options import DRY_RUN, FILE, use_case
from propensity.timeframe import moment_of


@click.group(cls=Group, epilog=example("propensity load postcodes postcodes.csv"))
def load() -> None:
    """
    Load postcodes, past card transactions, or the shipped model.

    Files are Parquet, or CSV in UTF-8 with a header and decimal points, also packed.
    They have to fit in memory.
    """


@load.command(epilog=example("propensity load postcodes postcodes.csv --dry-run"))
@click.argument("file", type=FILE, help="Columns postcode and socioeconomic_idx.")
@DRY_RUN
def postcodes(**arguments: Any) -> Any:
    """
    Load postcodes and their socioeconomic index.

    The table postcode_index is replaced as a whole, or stays if the load fails. Running
    functions read the new one within an hour.
    """
    from offline.load_postcodes import run

    return run(**arguments)


@load.command(epilog=example("propensity load transactions cards.parquet"))
@click.argument(
    "file",
    type=FILE,
    help="In any order, the columns transaction_id, event_time, V1 to V28, Amount, "
    "and where they are known is_fraud and truth_time.",
)
@use_case("card_fraud")
@DRY_RUN
def transactions(**arguments: Any) -> Any:
    """
    Load past card transactions and their outcomes.

    You can load a file twice, or a longer one after it: each row counts once, by its
    id.
    """
    from offline.load_transactions import run
    from propensity.cli.progress import watched

    return run(**arguments, watched=watched)


@load.command(epilog=example("propensity load model"))
@use_case("first_day_churn")
@DRY_RUN
def model(**arguments: Any) -> Any:
    """
    Load the model that is shipped with a use case.

    Use it before the first training, so that a stream is scored from its first day. The
    model goes live, until a training is not worse on the stream's events.
    """
    from offline.load_model import run

    return run(**arguments)


@command("propensity forget 1234.5678", "propensity forget - < ids.txt")
@click.argument(
    "user_id",
    nargs=-1,
    metavar="USER_ID...",
    help="Ids, or - to read them from standard input, one per line and nothing else.",
)
@use_case(shown="all of them")
@DRY_RUN
@click.option("--no-suppression", is_flag=True, help="Delete, but do not suppress.")
@click.option(
    "--allow-again",
    "is_allowing",
    is_flag=True,
    help="Lift the suppression; delete nothing.",
)
def forget(
    *,
    user_id: tuple[str, ...],
    use_case: str | None,
    is_dry: bool,
    no_suppression: bool,
    is_allowing: bool,
) -> Any:
    """
    Delete users from all tables and files, and verify it.

    Adds the users to the list of suppressed users, so that functions accept nothing new
    about them, removes their rows from every table and Parquet file, earlier
    generations included, and searches again. You can interrupt it and run it again. The
    report names no user. It names the receivers that took them, and says when to run
    the command once more. See docs/privacy.md.
    """
    from offline import forget as program
    from propensity.cli.progress import watched
    from propensity.settings import Settings
    from propensity.table_files.ids import users_of

    if is_allowing + is_dry + no_suppression > 1:
        raise click.UsageError(
            "give at most one of --dry-run, --no-suppression and --allow-again"
        )
    settings = Settings.from_environment()
    users = users_of(user_id, sys.stdin)
    if use_case is None:
        use_case = ""  # All of them.
    if is_allowing:
        return program.allow_again(settings, list(users), use_case=use_case)
    report = program.run(
        settings,
        users,
        use_case=use_case,
        is_dry=is_dry,
        is_suppressing=not no_suppression,
        announce=say,
        watched=watched,
    )
    return report, Exit.LEFT_OVER if report["left"] else Exit.DONE


@click.group(
    "dead-letters", cls=Group, epilog=example("propensity dead-letters replay")
)
def dead_letters() -> None:
    """
    Resend messages that were rejected or failed; the doctor counts them.

    You can send twice, because an event counts once by its event_id. Without one it
    counts twice if it was stored before it failed.
    """


@dead_letters.command(
    epilog=example(
        "propensity dead-letters replay",
        "propensity dead-letters replay --refused --from 2026-03-01 --to 2026-03-02",
    )
)
@click.option(
    "--refused",
    "is_refused",
    is_flag=True,
    help="Messages of dead_letters, --from to --to.",
)
@click.option("--from", "since", type=moment_of, metavar="TIME", help="UTC, or a day.")
@click.option("--to", "until", type=moment_of, metavar="TIME", help="The end, in UTC.")
@DRY_RUN
def replay(
    *, is_refused: bool, since: datetime | None, until: datetime | None, is_dry: bool
) -> Any:
    """
    Send dead letters again.

    Without --refused, sends the messages of the subscription dead-letters-replay to the
    topics that they failed on. After an interruption, wait a minute and run it again.

    With --refused, moves the messages of the table dead_letters to the topic of events.
    Correct the cause first. Messages that were too large, or not a JSON object, were
    not kept: they are counted and removed as well, and the command exits with 1.
    """
    from offline import dead_letters as program
    from propensity.settings import Settings

    if not is_refused and (since or until):
        raise click.UsageError("--from and --to can only be used with --refused")
    if is_refused and not (since and until and since < until):
        raise click.UsageError(
            "--refused needs --from and --to, and --to must be later"
        )
    settings = Settings.from_environment()
    if since and until:
        replayed = program.replay_refused(
            settings, since=since, until=until, is_dry=is_dry
        )
    else:
        replayed = program.replay(settings, is_dry=is_dry)
    return replayed, Exit.FAILED if replayed["left_out"] else Exit.DONE
