"""
Check the streamed features against one clean computation over all events.

    python -m offline.check_features
    python -m offline.check_features --use-case first_day_churn --show 20

The view ``stream_features`` is made of a row for each user and what came since; this
computes every user anew from ``stream_events``, each event once, and compares all
columns. They must be the same to the last digit, whatever was duplicated, reordered or
compacted when. Users who differ by an event that came too late to count before the next
compaction are counted for themselves. Exits with 1 where another differs. Reads all
events of the use case, which is billed.

Reads the same environment as the functions (``docs/settings.md``).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from propensity import usecases
from propensity.edges.warehouse import Warehouse
from propensity.errors import PropensityError
from propensity.runs import compact
from propensity.runs.watermark import EPOCH
from propensity.settings import Settings
from propensity.statements import statement

# Events may be dated some minutes ahead of the clock.
AHEAD = timedelta(days=2)
SHOWN = 10

_SINCE = re.compile(r"received_at >= TIMESTAMP '([^']*)'")


@dataclass(frozen=True)
class Compared:
    """
    How many users were compared, and the columns in which some differ.

    ``waiting`` is how many differ for now: a late event of theirs has come since the
    last compaction, and the next counts it.
    """

    users: int
    differing: Mapping[str, Mapping[str, tuple[Any, Any]]]
    waiting: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    options = parse(arguments)
    try:
        settings = Settings.from_environment()
        use_case = usecases.load(options.use_case).name
        found = compare(Warehouse.open(settings), use_case, now=datetime.now(UTC))
    except PropensityError as error:
        print(f"check_features: {error.message}", file=sys.stderr)
        return 2
    print(f"{use_case}: {found.users:,} users, {len(found.differing):,} differ")
    if found.waiting:
        print(f"  {found.waiting:,} more wait for the next compaction, by late events")
    for columns in list(found.differing.values())[: options.show]:
        # Users are personal data: their features say which rows to look at.
        told = (
            f"{name} {view} in the view, {clean} anew"
            for name, (view, clean) in columns.items()
        )
        print("  " + "; ".join(told))
    return 1 if found.differing else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m offline.check_features",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--use-case", default="first_day_churn")
    parser.add_argument(
        "--show",
        type=int,
        default=SHOWN,
        metavar="N",
        help=f"users who differ to show (default: {SHOWN})",
    )
    return parser.parse_args(arguments)


def compare(warehouse: Warehouse, use_case: str, *, now: datetime) -> Compared:
    """
    Compare the view with the clean computation, user by user.

    Args:
        warehouse: Of the deployment.
        use_case: Whose users.
        now: Events until now are compared.
    """
    view = _by_user(warehouse, "streamed_features", {"use_case": use_case})
    clean = _by_user(
        warehouse,
        "stream_features_as_of",
        {"use_case": use_case, "as_of": now + AHEAD, "earliest": date(1970, 1, 1)},
    )
    differing = {}
    for user in view.keys() | clean.keys():
        one, other = view.get(user, {}), clean.get(user, {})
        columns = {
            name: (one.get(name), other.get(name))
            for name in one.keys() | other.keys()
            if one.get(name) != other.get(name)
        }
        if columns:
            differing[user] = columns
    waiting = differing.keys() & _late_users(warehouse, use_case) if differing else ()
    return Compared(
        users=len(view.keys() | clean.keys()),
        differing={
            user: columns for user, columns in differing.items() if user not in waiting
        },
        waiting=len(waiting),
    )


def _late_users(warehouse: Warehouse, use_case: str) -> set[str]:
    """Return users with late events since the moment that the view reads from."""
    found = _SINCE.search(warehouse.view_text(compact.VIEW))
    since = datetime.fromisoformat(found[1]) if found else EPOCH
    parameters = {"use_case": use_case, "since": since, "since_day": since.date()}
    return {*_by_user(warehouse, "late_users", parameters)}


def _by_user(
    warehouse: Warehouse, name: str, parameters: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    return {
        row["user_id"]: row
        for batch in warehouse.batches(statement(name), parameters)
        for row in batch.to_pylist()
    }


if __name__ == "__main__":
    sys.exit(main())
