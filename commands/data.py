"""Data that come in, are sent again, or go for good."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from commands import flags
from commands.answers import show, tell
from commands.exits import Exit

CARDS = "card_fraud"
RATE = 1000.0
WAIT_S = 10.0


@click.command("load-postcodes")
@click.argument("file", type=flags.FILE)
@click.option(
    "--postcode-column",
    metavar="NAME",
    default="postcode",
    show_default=True,
    help="Column of the postcodes.",
)
@click.option(
    "--index-column",
    metavar="NAME",
    default="socioeconomic_idx",
    show_default=True,
    help="Column of their index.",
)
@flags.dry_run("Read and check, and load nothing.")
@flags.as_json
def load_postcodes(*, file: Path, as_json: bool, **chosen: Any) -> None:
    """
    Load postcodes and their socioeconomic index.

    FILE is Parquet, or CSV in UTF-8 with a header, commas between columns and points
    before decimals, plain or packed by gzip or Zstandard. The table
    postcode_index is replaced as a whole: what fails leaves the old one. Running
    functions read it anew within an hour.
    """
    from offline import load_postcodes as program

    show(program.run(file, **chosen), as_json=as_json)


@click.command("load-transactions")
@click.argument("file", type=flags.FILE)
@click.option(
    "--start",
    type=flags.MOMENT,
    help="What Time counts from: a day or a time in ISO 8601, UTC if it names no zone.",
)
@flags.use_case(CARDS)
@click.option("--limit", type=flags.whole(1), help="Only the first rows of the file.")
@flags.dry_run("Read and check, and load nothing.")
@flags.as_json
def load_transactions(*, file: Path, as_json: bool, **chosen: Any) -> None:
    """
    Load past card transactions, and what came of them.

    FILE is CSV (in the form that load-postcodes takes) or Parquet, its columns in any
    order: Time (seconds since --start), V1 to V28, Amount, and Class (1 is fraud) where
    it is known; or event_time, the same features, and where they are known
    transaction_id, is_fraud and truth_time. Loading a file twice, or a longer one after
    a shorter one, adds nothing that is there. The file has to fit in memory.
    """
    from offline import load_transactions as program

    show(program.run(file, **chosen), as_json=as_json)


@click.command
@click.argument("user_ids", nargs=-1, required=True, metavar="USER_ID...")
@flags.use_case(shown_default="all of them")
@flags.dry_run("Search, and change nothing.")
@click.option(
    "--no-suppression",
    is_flag=True,
    help="Remove the users, but let them come back with their next event.",
)
@click.option("--allow-again", is_flag=True, help="Only take the users off the list.")
@flags.as_json
def forget(
    *,
    user_ids: tuple[str, ...],
    use_case: str | None,
    is_dry: bool,
    no_suppression: bool,
    allow_again: bool,
    as_json: bool,
) -> int:
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
            "choose one of --dry-run, --no-suppression and --allow-again"
        )
    from offline import forget_user as program
    from offline.forget_report import Request, users_of
    from propensity import usecases
    from propensity.settings import Settings

    settings = Settings.from_environment()
    users = users_of(user_ids, sys.stdin)
    if use_case:
        usecases.load(use_case)
    if allow_again:
        from offline.allow_again import allow_again as allow

        show(allow(settings, users, use_case=use_case or ""), as_json=as_json)
        return Exit.DONE
    report = program.forget(
        settings,
        Request(
            user_ids=users,
            use_case=use_case or "",
            is_dry=is_dry,
            is_suppressing=not no_suppression,
            is_quiet=as_json,
        ),
    )
    show(report, as_json=as_json)
    return Exit.LEFT_OVER if report.left else Exit.DONE


# -- replay ----------------------------------------------------------------------------


# Options of all that send.
_sending = flags.together(
    click.option(
        "--topic",
        metavar="NAME",
        help="Topic to send everything to (default: events; for dead letters, the "
        "topic that each failed on).",
    ),
    click.option(
        "--rate",
        type=flags.RATE,
        default=RATE,
        help="Messages a second, 0 for no limit (default: 1000).",
    ),
    click.option("--limit", type=flags.whole(0), help="Stop after N messages."),
    click.option(
        "--show",
        "shown",
        type=flags.whole(0),
        default=0,
        help="Print the first N messages, personal fields included.",
    ),
    flags.dry_run("Count what would be sent; send and acknowledge nothing."),
    flags.as_json,
)

# The period that a command is about.
_of_period = flags.together(
    click.option(
        "--from",
        "since",
        type=flags.MOMENT,
        required=True,
        help="First moment: a day or a time in ISO 8601, UTC if it names no zone.",
    ),
    click.option(
        "--to",
        "until",
        type=flags.MOMENT,
        required=True,
        help="End of the period, which it does not include; later than --from.",
    ),
)


def _reason(text: str) -> str:
    from propensity.events.values import REASONS

    if text not in REASONS:
        raise ValueError(f"{text!r} is not a reason; there are {', '.join(REASONS)}")
    return text


def _replay(source: str, *, as_json: bool, **chosen: Any) -> int:
    """Send what a source has; print what became of it."""
    from offline.replay.run import FIRST, Plan, run

    period: dict[str, Any] = {}
    if "since" in chosen:
        period = {name: max(FIRST, chosen.pop(name)) for name in ("since", "until")}
        if period["since"] >= period["until"]:
            raise click.UsageError(
                "the period is empty: --to has to be later than --from"
            )
    tally = run(Plan(source=source, **chosen, **period))
    show(tally, as_json=as_json)
    if tally.failure is not None:
        tell(f"propensity replay: {tally.failure.message}")
    if tally.is_stopped:
        return Exit.INTERRUPTED
    return Exit.DONE if tally.is_complete else Exit.FAILED


@click.group
def replay() -> None:
    """
    Send messages again: stored, failed, or in a file.

    Replaying is harmless: an event that is stored under its event_id already counts
    once, however often it comes. Two kinds may count twice: a line of a file that has
    no event_id and is not a message with an id (these are counted); and a dead letter
    without an event_id that was stored before it failed. Every subscription of a topic
    gets what is sent to it: what returns to enriched is scored anew.

    A replayed event is received anew, now. If its day is further back than
    PROPENSITY_MAXIMUM_LATENESS_DAYS it counts as late: if it is stored already,
    features and exports stay as they were; if not, as in an empty dataset, it is in the
    features once the compaction has run, and in no export by day. To rebuild exports
    from old events, raise that setting for stream_features and compact_features.

    Ctrl-C stops after the messages that are on their way, and says how to go on. Times
    are UTC, and a period includes its beginning and not its end.
    """


@replay.command("dead-letters")
@click.option(
    "--wait",
    type=flags.RATE,
    default=WAIT_S,
    help="Seconds without a message after which to end (default: 10).",
)
@_sending
def dead_letters(**chosen: Any) -> int:
    """
    Messages that failed too often.

    Returns the messages of the subscription dead-letters-replay to the topics that they
    failed on, as they were. One is acknowledged once it is published; one that is not
    comes again within a minute or so. Pub/Sub tells nobody what an interrupted replay
    still holds: --wait 70 waits for that, too.
    """
    return _replay("dead-letters", **chosen)


@replay.command
@_of_period
@click.option(
    "--use-case",
    default="",
    metavar="NAME",
    help="Name of the use case (default: all of them).",
)
@click.option(
    "--user",
    type=flags.USER,
    default="",
    metavar="ID",
    help="Only the events of one user (default: all).",
)
@_sending
def events(**chosen: Any) -> int:
    """
    Events of stream_events, by the time of the events.

    Each once, amounts and labels as stored, with the age in the place of personal
    fields that were not kept. They are copied to a temporary file before the first is
    sent.
    """
    return _replay("events", **chosen)


@replay.command
@_of_period
@click.option(
    "--reason",
    type=flags.Read("REASON", _reason),
    help="Only messages refused for this reason (default: all).",
)
@_sending
def refused(*, reason: str | None, **chosen: Any) -> int:
    """
    Messages of the table dead_letters, by the time of receipt.

    They are sent as they came: do that once the cause has been corrected.
    """
    return _replay("refused", reason=reason or "", **chosen)


@replay.command
@click.argument("path", type=flags.FILE)
@click.option(
    "--skip", type=flags.whole(0), default=0, help="Leave out the first N lines."
)
@_sending
def file(**chosen: Any) -> int:
    """
    Lines of a file, plain or compressed by gzip or Zstandard.

    Publishes every line that is not empty as it is. A line that is {"data": base64 or
    an object, "attributes": {...}} is published as that message.
    """
    return _replay("file", **chosen)
