"""What ``make demo`` plays and prints; ``local/play.py`` is its command.

``Choice`` has its options.

shop.py     a shop's weeks: train, predict, evaluate, look up, and what a table of the
            shop's own adds; start here
source.py   the export that is played: generated, or the user's, checked
audience.py its best users, sent and held out, and what that did
stream.py   players' events through the stream
cards.py    card fraud: transactions, delayed truth, new versions under traffic
calls.py    calls of functions, published events, tables
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from local.stack.state import Options


@dataclass(kw_only=True)
class Choice:
    """
    The options of the demo.

    ``data`` is a file or folder of GA4 export rows, ``events`` one of the table that
    the use case declares, ``cards`` a file of card transactions; with none of them, a
    shop is generated.
    """

    data: Path | None = None
    events: Path | None = None
    cards: Path | None = None
    options: Options = Options()
    weeks: int = 5
    state: str | None = None
