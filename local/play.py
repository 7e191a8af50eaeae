"""
The demo: check its options, start local mode, and play.

Imports take seconds, and the start takes more. So options are checked and a line is
printed before.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from local.errors import LocalError, UnusableData
from local.progress import Progress, say, shown, step
from local.stack.stack import Stack
from local.stack.state import Options, State

WEEKS = 5


@dataclass(kw_only=True)
class Choice:
    """
    The options of the demo.

    ``data`` is a file or folder of GA4 export rows; ``cards`` a file of card
    transactions; with neither, a shop is generated. ``path`` is that of the export.
    ``verbose`` is for the full tables.
    """

    data: str | None = None
    cards: str | None = None
    user_column: str = "user_pseudo_id"
    label_event: str = "purchase"
    use_case: str = Options.use_case
    weeks: int = WEEKS
    state: str | None = None
    verbose: bool = False
    path: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Played:
    """
    The local state of a demo, the page to open, and its duration.

    ``dashboard`` is empty where it could not be written, which was said.
    """

    state: str
    folder: str
    dashboard: str
    seconds: float

    def __str__(self) -> str:
        which = "" if self.state == State().name else f" STATE={self.state}"
        opened = f"\nOpen {shown(self.dashboard)}" if self.dashboard else ""
        return (
            f"\nThat took {self.seconds:.0f} s. To go on:\n"
            f"  make up{which}     serves what the demo produced; it prints addresses"
            f"{opened}"
        )


def run(choice: Choice) -> Played:
    """
    Run the demo.

    Args:
        choice: What to play.

    Raises:
        LocalError, StageError: It could not be played; the message says why.
    """
    began = time.monotonic()
    options = Options(
        user_column=choice.user_column,
        label_event=choice.label_event,
        use_case=choice.use_case,
    )
    state = state_of(choice, options)
    with Progress():
        say(f"The demo plays in {shown(state.folder)}, on 127.0.0.1 alone.")
        dashboard = play(state, options, choice)
    return Played(
        state=state.name,
        folder=str(state.folder),
        dashboard=dashboard,
        seconds=round(time.monotonic() - began, 1),
    )


def play(state: State, settings: Options, options: Choice) -> str:
    """
    Check the data, start everything, and play.

    Returns:
        The dashboard's first page; empty where there is none.

    Raises:
        LocalError: Something did not work.
        UnusableData: It was the data; a state that was made for them is removed again.
    """
    is_new = not state.folder.exists()
    check(options)
    leaving = contextlib.ExitStack()
    try:
        with step("starting"):
            stack = leaving.enter_context(Stack(state, options=settings, say=say))
            from local.demos import shop
            from local.stack import pages
        shop.run(stack, options)
        with step("writing the dashboard"):
            why = pages.write(stack)
        if why:
            say(f"There is no dashboard: {why}")
        return "" if why else str(pages.index(state))
    except UnusableData:
        with step("stopping"):
            leaving.close()
        if is_new:
            shutil.rmtree(state.folder, ignore_errors=True)
        raise
    finally:
        with step("stopping"):
            leaving.close()


def check(options: Choice) -> None:
    """
    Refuse data that are not what they should be, before anything is started.

    The beginning of an export is read, and all of a file of card transactions.
    ``options.path`` is then where the export is.

    Raises:
        UnusableData: Says what was wanted and what was found.
    """
    options.path = Path(options.data).expanduser() if options.data else None
    if options.path:
        from local.exports import ga4_rows

        with refusing(ga4_rows.ExportError):
            ga4_rows.check(options.path)
    elif options.cards:
        from local.generators import card_files

        with refusing(card_files.CardsError):
            card_files.read_cards(Path(options.cards).expanduser())


@contextlib.contextmanager
def refusing(kind: type[Exception]) -> Iterator[None]:
    """Refuse the data where the block says that they do not do."""
    try:
        yield
    except (kind, OSError) as error:
        raise UnusableData(str(error)) from error


def state_of(options: Choice, settings: Options) -> State:
    """
    Return the state to play in: one for each data set, user column and label event.

    Raises:
        LocalError: There is no such file or folder.
    """
    data = options.cards or options.data
    if data and not Path(data).expanduser().exists():
        raise LocalError(f"there is no file or folder {data}")
    if options.state:
        return State(options.state)
    return State.of_data(
        data, settings.user_column, settings.label_event, settings.use_case
    )
