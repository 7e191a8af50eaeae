"""
The fraud part of the demo: card transactions, their delayed truth, new versions.

    python -m local.demos.cards                 generated transactions alone
    python -m local.demos.cards --cards FILE    real ones, in the public columns

A simulated clock runs over some past days: what a producer has sent by then is
published, transactions and truths as they come. Three times a training begins, and
what comes next flows meanwhile, so that each version takes over under traffic: the
first from nothing, the others from one another. What is printed is read from BigQuery,
but for the optimum, which only the generator knows.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from local.demos.calls import call
from local.demos.cards_online import PAUSE_S, Online
from local.demos.cards_plan import (
    DAY,
    DAYS,
    FRAUD_RATE,
    MAXIMUM_TRANSACTIONS,
    PACED_SHARE,
    SINCE_LAST,
    TRANSACTIONS,
    Plan,
    moment_of,
    planned,
)
from local.demos.cards_tables import (
    Counts,
    Played,
    Window,
    show,
    training_text,
    window_of,
)
from local.demos.producer import Producer
from local.errors import LocalError
from local.generators.cards.cards import Cards
from local.generators.cards.files import CardsError, read_cards
from local.generators.cards.transactions import FEATURES, USE_CASE, Transactions
from local.generators.delivery import Delivery
from local.progress import Progress, bar, say, step
from local.stack.stack import Stack
from local.stack.state import Options, State
from propensity.edges.warehouse import Warehouse
from propensity.settings import Settings
from propensity.statements import statement
from propensity.timeframe import midnight

SQL = resources.files(__package__)

# Under traffic: messages a second, and the share of a part that may be sent while
# training lasts.
PACE = 60
POLL_S = 0.5
SETTLE_S = 300.0


def stamped(data: bytes, now: datetime) -> bytes:
    """
    Return a payload with ``ingest_ts`` of now, written as it was.

    Events are played days after they happened; a producer takes them just now.
    """
    try:
        payload = json.loads(data)
        written = payload["ingest_ts"]
    except (ValueError, KeyError, TypeError):
        return data
    since_ms = round(now.timestamp() * 1_000)
    payload["ingest_ts"] = {
        int: since_ms,
        float: since_ms / 1_000,
        str: str(since_ms) if str(written).isdigit() else now.isoformat(),
    }.get(type(written), written)
    return json.dumps(payload).encode()


def play(stack: Stack, warehouse: Warehouse, *, cards: str | None = None) -> None:
    """
    Play transactions and truths, train three times, and show the results.

    Args:
        stack: Running.
        warehouse: Of the stack.
        cards: Real transactions; None for generated ones.

    Raises:
        LocalError: Something did not come through.
        CardsError: The file is not of card transactions.
    """
    began = time.monotonic()
    now = datetime.now(UTC)
    earlier = versions_before(stack)
    transactions = chosen(cards, now=now, seed=Cards.seed + earlier)
    plan = planned(transactions, now=now)
    say("\n" + start_text(plan, is_real=cards is not None))
    if earlier:
        say(earlier_text(earlier, is_real=cards is not None))
    played = Played(plan, since=now)
    with Producer(stack) as producer:
        demo = _Demo(stack, warehouse, played, producer)
        demo.publish(plan.parts[0])
        demo.settle()
        for part in plan.parts[1:]:
            demo.train_under(part)
    evaluated = call(stack, "model_evaluation", {"use_case": USE_CASE})
    seconds = time.monotonic() - began
    show(warehouse, played, evaluated, seconds=seconds)


def versions_before(stack: Stack) -> int:
    """Return how many versions earlier runs in this state have left."""
    folder = stack.bucket_folder / "models" / USE_CASE
    return sum(1 for version in folder.glob("[0-9]*") if version.is_dir())


def earlier_text(versions: int, *, is_real: bool) -> str:
    """Return a line on the versions of earlier runs."""
    if is_real:
        return (
            f"Earlier runs in this state have left {versions} versions, which may have "
            "learned these very transactions: `make clean` forgets them"
        )
    return (
        f"Earlier runs in this state have left {versions} versions: they go on, and "
        "these are other transactions than theirs"
    )


def chosen(cards: str | None, *, now: datetime, seed: int) -> Transactions:
    """
    Return the transactions to play, over past days, under ids of this run.

    Args:
        cards: A file of real ones; None for generated ones.
        now: Ids begin with it.
        seed: Of those that are generated.
    """
    end = midnight(now.date()) - SINCE_LAST * DAY
    if cards is None:
        drawn = Cards(
            seed=seed,
            transactions=TRANSACTIONS,
            fraud_rate=FRAUD_RATE,
            days=DAYS,
            end=end,
        ).drawn
    else:
        drawn = read_cards(Path(cards).expanduser()).first(MAXIMUM_TRANSACTIONS)
        drawn = drawn.stretched(end - DAYS * DAY, end)
    return drawn.named(f"{now:%Y%m%d%H%M%S}-")


def start_text(plan: Plan, *, is_real: bool) -> str:
    """Return lines on the plan."""
    transactions = plan.transactions
    rows, frauds = len(transactions), int(transactions.is_fraud.sum())
    first, last = (moment_of(transactions, row).date() for row in (0, rows - 1))
    what = f"{rows:,} transactions, {frauds} of them fraud"
    if is_real:
        what = "; ".join(transactions.notes) + f".\nPlayed are {what}, stretched"
    return (
        f"Card fraud: {what} over {first} to {last}.\n"
        "Truths come hours or days later, some twice, some wrong first, some never"
    )


class _Demo:
    """The steps of the demo, and their shared state."""

    def __init__(
        self, stack: Stack, warehouse: Warehouse, played: Played, producer: Producer
    ) -> None:
        self._stack = stack
        self._warehouse = warehouse
        self._played = played
        self._producer = producer
        self._sent: list[Delivery] = []

    def publish(self, deliveries: Sequence[Delivery]) -> None:
        """Publish at full speed."""
        self._send(deliveries)
        self._producer.flush()

    def _send(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            data = stamped(delivery.data, datetime.now(UTC))
            self._producer.send(data, delivery.attributes)
        self._sent += deliveries

    def settle(self) -> None:
        """
        Wait until all that was sent is stored, scored or a dead letter.

        Raises:
            LocalError: It takes too long.
        """
        expected = Counts.of(self._sent)
        window = window_of(self._played)
        deadline = time.monotonic() + SETTLE_S
        total = expected.transactions + expected.truths + expected.broken
        with bar("handled", total=total, unit=" messages") as counted:
            while True:
                [row] = self._warehouse.rows(statement("card_counts", own=SQL), window)
                stored, truths = row["stored_rows"], row["truths"]
                handled = min(stored + truths + row["dead_letters"], total)
                counted.update(handled - counted.n)
                if (
                    stored >= expected.transactions
                    and truths >= expected.truths
                    and row["dead_letters"] >= expected.broken
                    and row["scored"] >= expected.distinct
                ):
                    return
                if time.monotonic() > deadline:
                    raise LocalError(
                        f"after {SETTLE_S:.0f} s {stored:,} of "
                        f"{expected.transactions:,} transactions are stored and "
                        f"{row['scored']:,} of {expected.distinct:,} scored, "
                        f"{truths:,} of {expected.truths:,} truths, and "
                        f"{row['dead_letters']:,} of {expected.broken:,} broken "
                        "messages are dead letters"
                    )
                time.sleep(POLL_S)

    def _trained(self) -> dict[str, Any]:
        # As of today: what was scored today is read, of events before it.
        return call(
            self._stack, "model_training", {"use_case": USE_CASE, "force": True}
        )

    def _tell(self, trained: dict[str, Any]) -> None:
        self._played.trainings.append(trained)
        parts = [Counts.of(part) for part in self._played.plan.parts]
        done = len(self._played.trainings)
        sent = sum(part.distinct for part in parts[:done])
        truths = sum(part.truths for part in parts[:done])
        stop = self._played.plan.stops[done - 1]
        say(training_text(trained, stop=stop, sent=sent, truths=truths))

    def train_under(self, part: Sequence[Delivery]) -> None:
        """Train while the next part is sent, with online requests beside it."""
        began = datetime.now(UTC)
        online = self._online()
        with contextlib.ExitStack() as leaving:
            if online is not None:
                self._played.online.append(online)
                online.start()
                leaving.callback(online.stop)
            executor = leaving.enter_context(ThreadPoolExecutor(1))
            training = executor.submit(self._trained)
            with step("sending while a model is trained"):
                paced = self._paced(part, training)
            self._tell(training.result())
            paced_until = datetime.now(UTC)
            self.publish(part[paced:])
            self.settle()
        self._played.windows.append(Window(began, paced_until, datetime.now(UTC)))

    def _paced(self, part: Sequence[Delivery], training: Future[Any]) -> int:
        """
        Send evenly until what was trained serves; return how many were sent.

        While training lasts no more than a share is sent, so that the new version gets
        the rest.
        """
        sent, due, before = 0, 0.0, time.monotonic()
        while sent < len(part):
            is_trained = training.done()
            if is_trained and self._serves(training.result()):
                break
            limit = len(part) * (1.0 if is_trained else PACED_SHARE)
            now = time.monotonic()
            due = min(due + PACE * (now - before), limit)
            before = now
            self._send(part[sent : int(due)])
            sent = int(due)
            time.sleep(PAUSE_S)
        return sent

    def _serves(self, trained: Mapping[str, Any]) -> bool:
        """Say whether a version has scored a transaction, or never will."""
        if not trained["promoted"]:
            return True
        [row] = self._warehouse.rows(
            statement("card_counts", own=SQL), window_of(self._played)
        )
        newest: int | None = row["newest_version"]
        return newest is not None and newest >= trained["model_version"]

    def _online(self) -> Online | None:
        """Return who asks the function ``score``, None where that does not run."""
        if not any(function.target == "score" for function in self._stack.functions):
            return None
        events = itertools.islice(self._played.plan.transactions.events(), 200)
        # As the original sends them: numbers as text.
        payloads = [{name: repr(event[name]) for name in FEATURES} for event in events]
        return Online(self._stack.url("score"), payloads)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the fraud part alone; return the exit status."""
    parser = argparse.ArgumentParser("python -m local.demos.cards")
    parser.add_argument("--cards", help="Parquet or CSV; generated without")
    parser.add_argument("--state", default="cards", help="name of the local state")
    options = parser.parse_args(arguments)
    try:
        with (
            Progress(),
            Stack(State(options.state), options=Options(), say=say) as stack,
        ):
            warehouse = Warehouse.open(Settings.from_environment(stack.environment))
            with contextlib.closing(warehouse):
                play(stack, warehouse, cards=options.cards)
    except (LocalError, CardsError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
