"""Data that come in, are sent again, or go for good."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import click

from commands.answers import Exit, command
from commands.flags import DRY_RUN, argument, option, use_case


@command(argument("FILE"), DRY_RUN)
def postcodes(**chosen: Any) -> Any:
    """
    Load postcodes and their socioeconomic index.

    FILE has the columns postcode and socioeconomic_idx. The table postcode_index is
    replaced as a whole: what fails leaves the old one. Running functions read it anew
    within an hour.
    """
    from offline.load_postcodes import run

    return run(**chosen)


@command(argument("FILE"), use_case("card_fraud"), DRY_RUN)
def transactions(**chosen: Any) -> Any:
    """
    Load past card transactions, and what came of them.

    FILE has, in any order, the columns transaction_id, event_time, V1 to V28, Amount,
    and where they are known is_fraud and truth_time. Loading a file twice, or a longer
    one after a shorter one, changes no result: each row counts once, by its id.
    """
    from offline.load_transactions import run

    return run(**chosen)


@command(use_case("first_day_churn"), DRY_RUN)
def model(**chosen: Any) -> Any:
    """
    Load the model that is shipped with a use case.

    Where nothing serves yet, so that a stream is scored from its first day on. The
    model becomes a version like any other, and champion. The first training that is not
    worse on what the stream has collected replaces it.
    """
    from offline.load_model import run

    return run(**chosen)


load = click.Group(
    "load",
    commands=[postcodes, transactions, model],
    help="""
    Load postcodes, past card transactions, or the shipped model.

    Files are Parquet, or CSV in UTF-8 with a header, commas between columns and points
    before decimals; plain, .gz or .zst. They have to fit in memory.
    """,
)


@command(
    argument("USER_ID...", nargs=-1),
    *(use_case(shown="all of them"), DRY_RUN),
    option("--no-suppression", "Let the users come back with their next event."),
    option("--allow-again", "Only take the users off the list.", "is_allowing"),
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

    Puts the users on the list of suppressed users, so that functions take nothing new
    of them; removes their rows from every table and Parquet file, earlier generations
    included; and searches all again. It can be interrupted at any point and run again.
    The report names no user, and says when to run it again, after which nothing more
    can come. Exits with 3 where something is left. See docs/privacy.md.

    A minus in the place of USER_ID reads ids from standard input, a line each.
    """
    from offline import forget as program
    from propensity.settings import Settings

    if is_allowing + is_dry + no_suppression > 1:
        raise click.UsageError(
            "give at most one of --dry-run, --no-suppression and --allow-again"
        )
    settings = Settings.from_environment()
    users = program.users_of(user_id, sys.stdin)
    if is_allowing:
        return program.allow_again(settings, users, use_case=use_case or "")
    report = program.run(
        settings,
        users,
        use_case=use_case or "",
        is_dry=is_dry,
        is_suppressing=not no_suppression,
    )
    return report, Exit.LEFT_OVER if report["left"] else Exit.DONE


@command(name="list")
def list_letters() -> Any:
    """
    Count dead letters.

    Messages that were refused in the last seven days, by reason and field, and messages
    that failed too often and wait in the subscription dead-letters-replay.
    """
    from offline.dead_letters import letters
    from propensity.settings import Settings

    return letters(Settings.from_environment(), now=datetime.now(UTC))


@command(
    option("--refused", "Messages of dead_letters, --from to --to.", "is_refused"),
    option(
        "--from MOMENT",
        "First moment of receipt, in ISO 8601, UTC without a zone.",
        "since",
    ),
    option("--to MOMENT", "End of the period, which it does not include.", "until"),
    DRY_RUN,
)
def replay(
    *, is_refused: bool, since: datetime | None, until: datetime | None, is_dry: bool
) -> Any:
    """
    Send dead letters again.

    Without --refused: messages of the subscription dead-letters-replay, whose every
    delivery failed, back to the topics that they failed on. Each is acknowledged once
    it is published; those that an interrupted replay holds come again after a minute.

    With --refused: messages of the table dead_letters, to the topic of events. Correct
    the cause first. A message that is too large or no JSON object was not kept; it is
    left out, and then the command exits with 1.
    """
    from offline import dead_letters as program
    from propensity.settings import Settings

    period = (since, until) if since and until and since < until else None
    if is_refused != bool(period) or (not is_refused and (since or until)):
        raise click.UsageError(
            "--refused needs --from and a later --to, and these need --refused"
        )
    settings = Settings.from_environment()
    if period:
        replayed = program.replay_refused(
            settings, since=period[0], until=period[1], is_dry=is_dry
        )
    else:
        replayed = program.replay(settings, is_dry=is_dry)
    return replayed, Exit.FAILED if replayed["left_out"] else Exit.DONE


dead_letters = click.Group(
    "dead-letters",
    commands=[list_letters, replay],
    help="""
    List messages that were rejected or failed, and resend them.

    Sending again is harmless: an event counts once under its event_id, however often it
    comes. A dead letter without an event_id gets its message id; it counts twice only
    if it had been stored before it failed.
    """,
)
