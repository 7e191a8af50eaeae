"""What the parts of the demo share: calls of functions, published events, tables."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from tabulate import tabulate

from local.errors import LocalError
from local.generators.streams import Delivery
from local.place import Place
from local.processes import PATIENCE_S
from propensity.cli.progress import step
from propensity.gcp.pubsub import publish_messages
from propensity.gcp.warehouse import Warehouse
from propensity.settings import EVENTS
from propensity.statements import statement

FOLDER = resources.files(__package__)
POLL_S = 2.0
# What functions that are called do, by target.
DOES = {
    "model_training": "training",
    "model_evaluation": "evaluating",
    "predictions": "predicting",
    "audiences": "sending audiences",
    "compact_features": "compacting the stream",
    "overview": "writing the dashboard",
}


def rows(warehouse: Warehouse, name: str, **parameters: Any) -> list[dict[str, Any]]:
    """Return the rows of a statement of the demo or the product."""
    result = warehouse.rows(statement(name, folder=FOLDER), parameters)
    return [dict(row.items()) for row in result]


def call(
    place: Place, function: str, body: Mapping[str, Any], *, accepted: str = ""
) -> dict[str, Any]:
    """
    Call a function as the scheduler does; an ``accepted`` error is an answer, too.
    """
    with step(f"{DOES[function]} as of {body.get('as_of', 'today')}"):
        called = place.call(function, body)
    answer = called.answer
    # The scheduler gets 200 for an error that a retry would not mend.
    if called.is_taken and answer.get("error", accepted) == accepted:
        return answer
    asked = json.dumps(dict(body))
    raise LocalError(
        f"{function} answered {called.status} to {asked}: {answer.get('message')}",
        hint=f"Its log is {place.log_of(function)}",
    )


def command(place: Place, *words: str) -> dict[str, Any]:
    """Run a ``propensity`` command that must succeed; return its answer."""
    answer: dict[str, Any] = json.loads(place.command(*words, "--json").stdout)
    return answer


def send(warehouse: Warehouse, deliveries: Iterable[Delivery]) -> None:
    """Publish messages as a producer does, ingested now if they say when."""
    messages = []
    for delivery in deliveries:
        data = delivery.data
        if b'"ingest_ts"' in data and data.endswith(b"}"):
            ingested = {"ingest_ts": datetime.now(UTC).isoformat()}
            data = json.dumps(json.loads(data) | ingested).encode()
        messages.append((data, delivery.attributes))
    publish_messages(warehouse.settings, warehouse.settings.prefixed(EVENTS), messages)


def settled(
    warehouse: Warehouse,
    use_case: str,
    expected: Mapping[str, int],
    *,
    since: datetime,
) -> Mapping[str, int]:
    """
    Wait until all that was sent has come through; return the row of ``counts.sql``.
    """
    before: Mapping[str, int] = {}
    while True:
        [counts] = rows(warehouse, "counts", use_case=use_case, since=since)
        if counts != before:
            before = counts
            deadline = time.monotonic() + PATIENCE_S
        missing = {name: n - counts[name] for name, n in expected.items()}
        if max(missing.values()) <= 0:
            return counts
        if time.monotonic() > deadline:
            raise LocalError(
                f"for {PATIENCE_S} s nothing more has come, and these are missing: "
                f"{missing}",
                hint="Look at the logs that `make status` lists",
            )
        time.sleep(POLL_S)


def training_text(answer: Mapping[str, Any]) -> str:
    """Return a line on a training; the figures behind it are on the version's page."""
    area = answer["holdout"]["roc_auc"]
    measured = "no ROC AUC: one class" if area is None else f"ROC AUC {area:.3f}"
    outcome = "went live" if answer["promoted"] else "did not go live"
    reason = answer["verdict"].partition(":")[0]
    return (
        f"{answer['as_of']}  train     version {answer['model_version']} "
        f"({answer['algorithm']}), {measured} on the test set; {outcome}: {reason}"
    )


def table(
    columns: Sequence[tuple[str, str, str]], rows: Sequence[Mapping[str, Any]]
) -> str:
    """
    Return rows as a table, right-aligned; a missing figure is a dash.

    Args:
        columns: Title, key in the rows and format of each.
    """
    cells = [[title for title, _, _ in columns]]
    for row in rows:
        values = ((row.get(key), form) for _, key, form in columns)
        cells.append([form.format(v) if v is not None else "-" for v, form in values])
    text = tabulate(cells, tablefmt="plain", stralign="right", disable_numparse=True)
    lines = text.splitlines()
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)
