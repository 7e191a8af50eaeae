"""
What another BigQuery answered to the statements of the functions, to be reproduced.

``answers.json`` was written by local-bigquery 0.4, which local mode was built on
before: another translation of the same statements, over the same rows. A statement is
known by its text; an answer by its rows, whatever their order, without what each run
has anew: ids, and moments of that day.

A statement that was changed since has no answer there, and is passed over.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from local.generators.games import DEFAULT_END, Games
from local.generators.streams import encode
from local.ground import bigquery as ground
from propensity.runs import setup
from propensity.tables.stream import STREAM_EVENTS
from tests.functions.streaming import rows_of
from tests.propensity.gcp.test_contract import ANSWERS
from tests.support import scored_cards, shop
from tests.support.clocks import ManualClock
from tests.support.deployment import Deployment
from tests.support.rows import publish
from tests.support.shop import WEEK
from tests.support.shops import FIRST, LATER, TRAINED, WEEKS

FILE = Path(__file__).with_name("answers.json")
# All runs are of this day, and what is later was written by a machine's own clock.
NOW = datetime(2026, 7, 1, tzinfo=UTC)
CARDS_KNOWN = date(2026, 3, 14)
# Ids are drawn.
DRAWN = re.compile("[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
# Of bytes each engine has an idea of its own.
COUNTED = ("bytes_billed", "size_bytes")


def play(site: Deployment) -> None:
    """Let the functions run on the small shop, players and cards."""
    site.warehouse.create_dataset(site.dataset)
    for sql in ANSWERS:
        site.warehouse.rows(sql)
    site.prepare()
    shop.load(site, shop.weekly(FIRST, WEEKS))
    setup.prepare_export(site.warehouse, site.settings)
    games = Games(users=150, days=42, maximum_events=8).events()
    players = rows_of(map(encode, games), received_at=DEFAULT_END)
    site.warehouse.write(STREAM_EVENTS, players)
    scored_cards.stored(site.warehouse, scored_cards.drawn(600))
    site.load_model()
    for name in ("model-updates", "enriched", "scores"):
        site.create_topic(site.topic(name))
    buyers = {f"user.{number:03}": number / 200 for number in range(160)}
    publish(site.warehouse, TRAINED - WEEK, buyers, scored_at=NOW)
    site.run("model_training", TRAINED, use_case="ga4_purchase")
    site.run("predictions", TRAINED, use_case="ga4_purchase", force=True)
    site.run("predictions", LATER, use_case="ga4_purchase", force=True)
    site.run("model_evaluation", LATER, use_case="ga4_purchase")
    site.run("overview", LATER, use_case="ga4_purchase")
    played = DEFAULT_END.date()
    site.run("model_training", played, use_case="first_day_churn")
    site.run("predictions", played, use_case="first_day_churn", force=True)
    site.run("model_evaluation", played, use_case="first_day_churn")
    site.run("model_training", CARDS_KNOWN, use_case="card_fraud")
    site.run("model_evaluation", CARDS_KNOWN, use_case="card_fraud")


def answer_of(rows: pa.Table) -> str:
    """Return the digest of a statement's rows."""
    texts = [json.dumps(plain(row), sort_keys=True) for row in rows.to_pylist()]
    text = "\n".join(sorted(DRAWN.sub("drawn", text) for text in texts))
    return f"{len(rows)} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def plain(value: Any) -> Any:
    """Return a value as JSON has it; the last digits of floats are an engine's own."""
    match value:
        case dict():
            kept = {key: plain(one) for key, one in value.items()}
            return {key: one for key, one in kept.items() if key not in COUNTED}
        case list():
            return [plain(one) for one in value]
        case bool() | int() | None:
            return value
        case float():
            return f"{value:.9g}"
        case Decimal():
            return f"{value.normalize():f}"
        case datetime() if value.tzinfo is not None and value > NOW:
            return "now"
        case bytes():
            return value.hex()
    return str(value)


def statement_of(sql: str) -> str:
    words = " ".join(re.sub(r"--.*", "", sql).split())
    return hashlib.sha256(words.encode()).hexdigest()[:16]


@pytest.fixture
def played(monkeypatch) -> Iterator[dict[str, list[str]]]:
    """What the ground answers, by statement: as often as it is asked."""
    answers: dict[str, list[str]] = {}
    run = ground.BigQuery.run

    def recorded(self: Any, sql: str, config: Any, call: Any) -> Any:
        job = run(self, sql, config, call)
        if job.rows.table.column_names and not config.dry_run:
            found = answers.setdefault(statement_of(sql), [])
            found.append(answer_of(job.rows.table))
        return job

    monkeypatch.setattr(ground.BigQuery, "run", recorded)
    ManualClock(NOW).install(monkeypatch)
    play(Deployment())
    return answers


@pytest.mark.long
def test_the_functions_statements_answer_as_another_bigquery_does(played):
    kept = json.loads(FILE.read_text())
    both = played.keys() & kept.keys()

    assert len(both) > 40
    assert {name: sorted(played[name]) for name in both} == {
        name: sorted(kept[name]) for name in both
    }
