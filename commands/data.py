"""Data that come in, are sent again, or go for good."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from commands.answers import Exit, answering
from commands.flags import FILE, dry_run, flag, moment, option, use_case


@click.group
def load() -> None:
    """
    Load postcodes, past card transactions, or the shipped model.

    Files are Parquet, or CSV in UTF-8 with a header, commas between columns and points
    before decimals; plain, .gz or .zst. They have to fit in memory.
    """


@load.command
@click.argument("file", type=FILE)
@dry_run("Read and check, and load nothing.")
@answering
def postcodes(*, file: Path, is_dry: bool) -> Any:
    """
    Load postcodes and their socioeconomic index.

    FILE has the columns postcode and socioeconomic_idx. The table postcode_index is
    replaced as a whole: what fails leaves the old one. Running functions read it anew
    within an hour.
    """
    from offline import load_postcodes as program

    return program.run(file, is_dry=is_dry)


@load.command
@click.argument("file", type=FILE)
@use_case("card_fraud")
@dry_run("Read and check, and load nothing.")
@answering
def transactions(*, file: Path, **chosen: Any) -> Any:
    """
    Load past card transactions, and what came of them.

    FILE has, in any order, the columns transaction_id, event_time, V1 to V28, Amount,
    and where they are known is_fraud and truth_time. Loading a file twice, or a longer
    one after a shorter one, changes no result: each row counts once, by its id.
    """
    from offline import load_transactions as program

    return program.run(file, **chosen)


@load.command
@use_case("first_day_churn")
@dry_run("Verify and check, and write nothing.")
@answering
def model(*, use_case: str, is_dry: bool) -> Any:
    """
    Load the model that is shipped with a use case.

    Where nothing serves yet, so that a stream is scored from its first day on. The
    model becomes a version like any other: stored in the bucket, recorded in
    ma_model_training_metadata, and champion. The first training that is not worse on
    what the stream has collected replaces it.
    """
    from offline import load_model as program

    return program.run(use_case, is_dry=is_dry)


@click.command
@click.argument("user_ids", nargs=-1, required=True, metavar="USER_ID...")
@use_case(shown="all of them")
@dry_run("Search, and change nothing.")
@flag(
    "--no-suppression",
    "Remove the users, but let them come back with their next event.",
)
@flag("--allow-again", "Only take the users off the list.")
@answering
def forget(
    *,
    user_ids: tuple[str, ...],
    use_case: str | None,
    is_dry: bool,
    no_suppression: bool,
    allow_again: bool,
) -> Any:
    """
    Remove users from all data about them, and prove it.

    Puts the users on the list of suppressed users, by a keyed hash, so that functions
    take nothing new of them; removes their rows from every table and every Parquet file
    of the bucket, earlier generations included; and searches all again. It can be
    interrupted at any point and run again. The report names no user, and says when to
    run it again, after which nothing more can come.

    A minus in the place of USER_ID reads ids from standard input, a line each, which
    leaves none in the history of a shell. Exits with 3 where something is left. See
    docs/privacy.md.
    """
    if is_dry + no_suppression + allow_again > 1:
        raise click.UsageError(
            "give at most one of --dry-run, --no-suppression and --allow-again"
        )
    from offline import forget as program
    from propensity.settings import Settings

    settings = Settings.from_environment()
    users = program.users_of(user_ids, sys.stdin)
    if allow_again:
        return program.allow_again(settings, users, use_case=use_case or "")
    report = program.run(
        settings,
        users,
        use_case=use_case or "",
        is_dry=is_dry,
        is_suppressing=not no_suppression,
    )
    return report, Exit.LEFT_OVER if report["left"] else Exit.DONE


@click.group("dead-letters")
def dead_letters() -> None:
    """
    Count dead letters, and send them again.

    Sending again is harmless: an event counts once under its event_id, however often it
    comes. A dead letter without an event_id gets its message id; it counts twice only
    if it had been stored before it failed.
    """


@dead_letters.command("list")
@answering
def list_letters() -> Any:
    """
    Count dead letters.

    Messages that were refused in the last seven days, by reason and field, and messages
    that failed too often and wait in the subscription dead-letters-replay.
    """
    from offline import dead_letters as program
    from propensity.settings import Settings

    return program.letters(Settings.from_environment(), now=datetime.now(UTC))


@dead_letters.command
@flag(
    *("--refused", "is_refused"),
    "Messages of the table dead_letters, of the period --from to --to.",
)
@option(
    *("--from", "since"),
    "First moment of receipt, in ISO 8601, UTC if it names no zone.",
    type=moment,
)
@option(
    *("--to", "until"),
    "End of the period, which it does not include.",
    type=moment,
)
@dry_run("Count what would be sent; send and acknowledge nothing.")
@answering
def replay(
    *,
    is_refused: bool,
    since: datetime | None,
    until: datetime | None,
    is_dry: bool,
) -> Any:
    """
    Send dead letters again.

    Without --refused: messages of the subscription dead-letters-replay, whose every
    delivery failed, back to the topics that they failed on. Each is acknowledged once
    it is published. Those that an interrupted replay still holds come again after a
    minute.

    With --refused: messages of the table dead_letters, to the topic of events. Correct
    the cause first. Of a message over 4 MiB only the beginning was kept; it is left
    out.

    Exits with 1 if a message was left out.
    """
    from offline import dead_letters as program
    from propensity.settings import Settings

    is_period = since is not None and until is not None and since < until
    if is_refused != is_period or (not is_refused and (since or until)):
        raise click.UsageError("--refused needs --from and a later --to, and they it")
    settings = Settings.from_environment()
    if since is not None and until is not None:
        replayed = program.replay_refused(
            settings, since=since, until=until, is_dry=is_dry
        )
    else:
        replayed = program.replay(settings, is_dry=is_dry)
    return replayed, Exit.FAILED if replayed["left_out"] else Exit.DONE
