"""
The demo's command: reads and checks what was chosen, and says so at once.

    python -m local.play                         a generated shop, nothing downloaded
    python -m local.play --data PATH             your own export: NDJSON or Parquet
    python -m local.play --data online-retail    a public data set, downloaded
    python -m local.play --cards FILE            card transactions alone, your own

What the demo needs takes seconds to import, and more to start. So whatever can be
refused is refused before, and a line is printed first.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.stage import StageError
from local.errors import LocalError, UnusableData
from local.progress import Progress, say, step
from local.stack.stack import Stack
from local.stack.state import LOCAL, Options, State, shown

WEEKS = 8
ONLINE_RETAIL = "online-retail"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    options = parse(arguments)
    began = time.monotonic()
    chosen = Options(user_column=options.user_column, label_event=options.label_event)
    try:
        state = state_of(options, chosen)
        with Progress():
            say(f"The demo plays in {shown(str(state.folder))}, on 127.0.0.1 alone.")
            play(state, chosen, options)
    except (LocalError, StageError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped; nothing is left running", file=sys.stderr)
        return 130
    print(f"\nThat took {time.monotonic() - began:.0f} s. To go on:")
    which = "" if state.name == State().name else f" STATE={state.name}"
    print(f"  make up{which}     serves what the demo produced; it prints addresses")
    return 0


def play(state: State, chosen: Options, options: argparse.Namespace) -> None:
    """
    Check the data, start everything, and play.

    Raises:
        LocalError: Something did not work.
        UnusableData: It was the data; a state that was made for them is removed again.
    """
    is_new = not state.folder.exists()
    check(options)
    leaving = contextlib.ExitStack()
    try:
        with step("starting"):
            stack = leaving.enter_context(Stack(state, options=chosen, say=say))
            from local.demos import shop
        shop.run(stack, options)
    except UnusableData:
        with step("stopping"):
            leaving.close()
        if is_new:
            shutil.rmtree(state.folder, ignore_errors=True)
        raise
    finally:
        with step("stopping"):
            leaving.close()


def check(options: argparse.Namespace) -> None:
    """
    Refuse data that are not what they should be, before anything is started.

    The beginning of an export is read, and all of a file of card transactions.
    ``options.path`` is then where the export is.

    Raises:
        UnusableData: Says what was wanted and what was found.
    """
    options.path = Path(options.data).expanduser() if options.data else None
    if options.data == ONLINE_RETAIL:
        from local.exports import online_retail

        with step("fetching online-retail"), refusing(online_retail.DownloadError):
            options.path = online_retail.fetch(LOCAL / "downloads")
    elif options.path:
        from local.exports import ga4_rows

        with refusing(ga4_rows.ExportError):
            ga4_rows.check(options.path)
    elif options.cards:
        from local.generators.cards import files

        with refusing(files.CardsError):
            files.read_cards(Path(options.cards).expanduser())


@contextlib.contextmanager
def refusing(kind: type[Exception]) -> Iterator[None]:
    """Refuse the data where the block says that they do not do."""
    try:
        yield
    except (kind, OSError) as error:
        raise UnusableData(str(error)) from error


def state_of(options: argparse.Namespace, chosen: Options) -> State:
    """
    Return the state to play in: one for each data set, user column and label event.

    Raises:
        LocalError: There is no such file or folder.
    """
    data = options.cards or options.data
    if data and data != ONLINE_RETAIL and not Path(data).expanduser().exists():
        raise LocalError(f"there is no file or folder {data}")
    if options.state:
        return State(options.state)
    name = State.of_data(data).name
    for given, usual in (
        (chosen.user_column, Options.user_column),
        (chosen.label_event, Options.label_event),
    ):
        name += "" if given == usual else f"-{given}"
    return State(name[:64])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--data", help="file or folder of GA4 export rows, or online-retail"
    )
    source.add_argument(
        "--cards",
        help="card transactions: Parquet or CSV with Time, V1 to V28, Amount, Class",
    )
    parser.add_argument(
        "--user-column",
        default="user_pseudo_id",
        choices=("user_pseudo_id", "user_id"),
        help="who a user is (default: user_pseudo_id)",
    )
    parser.add_argument(
        "--label-event", default="purchase", help="what to predict (default: purchase)"
    )
    parser.add_argument(
        "--weeks",
        type=weeks,
        default=WEEKS,
        help=f"weeks to play, from 1 (default: {WEEKS})",
    )
    parser.add_argument("--state", help="name of the local state to play in")
    return parser.parse_args(arguments)


def weeks(text: str) -> int:
    """Read a number of weeks."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 999):
        raise argparse.ArgumentTypeError(
            f"WEEKS must be a whole number from 1 to 999, not {text!r}"
        )
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
