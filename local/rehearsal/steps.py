"""
The first weeks of a deployment, one step after the other.

The shop's and the cards' data are generated, so that every project has the same.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import requests

from local.demos.calls import rows, send, settled
from local.demos.cards import counts_of
from local.demos.source import chosen_weeks
from local.exports import ga4_export
from local.generators.cards import cards
from local.generators.shop import Shop
from local.rehearsal.ground import AUDIENCE, CARDS, SHOP, Ground
from local.rehearsal.probes import FAILURES, No, NotTried, Rehearsal, step
from propensity import usecases
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.timeframe import DAY, midnight

# As many days as a training needs, and two weeks of predictions after it.
DAYS = 118
# With half as many no version would be shown to be better than the baseline.
USERS = 2_000
CARDS_DAYS = 21
HISTORY = 2_000
STREAMED = 300
# Some sixty groups are sent in a minute.
GROUP = 10
PATIENCE_S = 60


@contextlib.contextmanager
def warehouse_of(ground: Ground) -> Iterator[Warehouse]:
    """Open BigQuery as the environment of commands has it."""
    with contextlib.closing(Warehouse.open(ground.settings)) as warehouse:
        yield warehouse


def fill(rehearsal: Rehearsal) -> None:
    """Load the generated shop in the export's form, and choose the weeks."""
    shop = Shop(users=USERS, days=DAYS)
    with warehouse_of(rehearsal.ground) as warehouse:
        settings = warehouse.settings
        tables = {f"events_{day:%Y%m%d}": shop.shard(day) for day in shop.dates}
        ga4_export.load_tables(warehouse.client, settings.ga4_dataset, tables)
        use_case = usecases.load(SHOP)
        rehearsal.weeks = chosen_weeks(shop, use_case, settings, count=2)


@step(
    "set up",
    about="the deployer",
    page="docs/deploy.md",
    sentence="they run `deploy/roles.sh user:YOU@example.com "
    "--deployment FOLDER/production.env`",
    remedy="Read the message. Have an owner run deploy/roles.sh for you; "
    "docs/deploy-reference.md, Policies of an organisation, has the settings.",
    is_early=True,
)
def set_up(rehearsal: Rehearsal) -> str:
    """Make everything."""
    began = time.monotonic()
    ground = rehearsal.ground
    try:
        ground.set_up(lambda: fill(rehearsal))
    except FAILURES as why:
        if ground.refused_builds:
            raise NotTried("a build was refused: see builds") from why
        raise No(str(why)) from why
    rehearsal.is_set_up = True
    return f"everything was made in {(time.monotonic() - began) / 60:.0f} minutes"


@step(
    "train",
    about="model_training",
    page="docs/deploy.md",
    sentence="**You see** `modelTraining ok`, then `predictions ok`.",
)
def train(rehearsal: Rehearsal) -> str:
    """Train two versions, so that there is one to go back to."""
    seconds = 0.0
    for week in rehearsal.weeks:
        done = rehearsal.run(
            "model_training", use_case=SHOP, as_of=f"{week}", force=True
        )
        seconds += done.seconds
    versions = rehearsal.ground.command("versions", "--use-case", SHOP)
    champion = versions["champion"]
    if champion is None:
        raise No(f"no version is live: {versions['versions'][0]['verdict']}")
    if champion["version"] == 0:
        rehearsal.ground.command("promote", "1", "--use-case", SHOP)
    return f"two versions in {seconds:.0f} s, the second is live"


@step(
    "predict and evaluate",
    about="predictions",
    page="docs/deploy.md",
    sentence="**You see** `modelTraining ok`, then `predictions ok`.",
)
def predict(rehearsal: Rehearsal) -> str:
    """Predict two weeks, and evaluate the first."""
    first, second = rehearsal.weeks
    rehearsal.run("predictions", use_case=SHOP, as_of=f"{first}")
    rehearsal.run("model_evaluation", use_case=SHOP, as_of=f"{second}")
    rehearsal.run("predictions", use_case=SHOP, as_of=f"{second}")
    with warehouse_of(rehearsal.ground) as warehouse:
        users = rows(warehouse, "published_users", use_case=SHOP, weeks=[second])
    rehearsal.user = users[0]["user_id"]
    return f"{len(users):,} users have a probability"


@step(
    "look up",
    about="get_proba",
    page="docs/privacy.md",
    sentence="The accounts in `DEPLOY_CALLERS` can reach `get_proba` and `score` "
    "from any network",
    remedy="Name yourself in DEPLOY_CALLERS; DEPLOY_INGRESS must let you in.",
)
def look_up(rehearsal: Rehearsal) -> str:
    """Look a user up, and one that nobody knows."""
    version = looked_up(rehearsal, rehearsal.user)["model_version"]
    stranger = looked_up(rehearsal, "nobody")
    if stranger.get("error") != "unknown_user":
        raise No(f"a user that nobody knows got {stranger}")
    return f"the answer is of version {version}"


def looked_up(rehearsal: Rehearsal, user: str) -> dict[str, Any]:
    """Return the answer of a lookup."""
    if not user:
        raise NotTried("nobody has a prediction")
    ground = rehearsal.ground
    url = ground.url("get_proba")
    token = ground.token("get_proba")
    began = time.monotonic()
    answer = requests.get(url, {"user_id": user}, headers=token, timeout=PATIENCE_S)
    rehearsal.waits.append(time.monotonic() - began)
    try:
        said: dict[str, Any] = answer.json()
    except ValueError:
        raise NotTried(f"get_proba answered {answer.status_code}") from None
    if answer.status_code < 500:
        rehearsal.answered.add("get_proba")
    return said


@step(
    "send an audience",
    about="audiences",
    page="docs/destinations.md",
    sentence='`"bucket"` writes Parquet files for programs there.',
    remedy="propensity audience ledger shows what became of each date.",
)
def send_audience(rehearsal: Rehearsal) -> str:
    """Send an audience's first date by command, and the second by its function."""
    ground = rehearsal.ground
    first, second = rehearsal.weeks
    words = ("--use-case", SHOP, "--as-of", f"{first}")
    ground.command("audience", "send", AUDIENCE, *words)
    rehearsal.run("audiences", use_case=SHOP, as_of=f"{second}")
    with contextlib.closing(Artifacts.open(ground.settings)) as artifacts:
        names = artifacts.names(f"audiences/{SHOP}/{AUDIENCE}/")
        dates = {name.split("/")[3] for name in names if name.endswith(".parquet")}
    if dates != {f"{first}", f"{second}"}:
        raise No(f"the bucket has files of {sorted(dates)}")
    return "files of both dates are in the bucket"


@step(
    "doctor",
    about="the deployment",
    page="docs/deploy.md",
    sentence="Let the doctor check everything.",
    remedy="Run `propensity doctor`: it says what to do about each.",
)
def examine(rehearsal: Rehearsal) -> str:
    """Let the doctor look."""
    if not rehearsal.user:
        raise NotTried("nothing was predicted, which it would say")
    week = f"{rehearsal.weeks[-1]}"
    process = rehearsal.ground.run_command(["doctor", "--as-of", week, "--json"])
    report = json.loads(process.stdout)
    findings = [finding["what"] for finding in report["findings"]]
    if findings:
        raise No("; ".join(findings))
    if report["failed"]:
        raise NotTried(f"it could not examine {', '.join(report['failed'])}")
    return f"nothing is wrong with {', '.join(report['checks'])}"


@step(
    "learn card fraud",
    about="model_training",
    page="docs/card-fraud.md",
    sentence="The transactions are stored as version -1, so they count in "
    "trainings and not as predictions.",
)
def learn_cards(rehearsal: Rehearsal) -> str:
    """Load past transactions, and train on them."""
    end = midnight(datetime.now(UTC).date()) - DAY
    history = cards(transactions=HISTORY, fraud_rate=0.03, days=CARDS_DAYS, end=end)
    frame = pd.DataFrame(history.events()).drop(columns="ingest_ts")
    frame["event_time"] = pd.to_datetime(frame["event_time"])
    frame["is_fraud"] = history.is_fraud
    frame["truth_time"] = frame["event_time"] + timedelta(hours=12)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cards.parquet"
        frame.to_parquet(file)
        loaded = rehearsal.ground.command("load", "transactions", str(file))
    rehearsal.run("model_training", use_case=CARDS, as_of=loaded["train_as_of"])
    return f"{loaded['transactions']:,} transactions, {loaded['fraud']} of them fraud"


@step(
    "stream",
    about="stream_features",
    page="README.md",
    sentence="keeps each user's features up to date, and scores them",
    remedy="Look at the log of stream_features and score_stream; events wait in "
    "Pub/Sub.",
)
def stream(rehearsal: Rehearsal) -> str:
    """Publish a minute of transactions; see all of them stored and scored."""
    ground = rehearsal.ground
    now = datetime.now(UTC)
    drawn = cards(transactions=STREAMED, days=1, end=midnight(now.date()))
    transactions = replace(drawn, prefix=f"{now:%Y%m%d%H%M%S}-")
    deliveries = transactions.deliveries()
    sent = [delivery for delivery in deliveries if delivery.sent_time < now]
    with warehouse_of(ground) as warehouse:
        for first in range(0, len(sent), GROUP):
            send(warehouse, sent[first : first + GROUP])
            time.sleep(ground.pause_s)
        counts = settled(
            warehouse, CARDS, counts_of(sent), since=now, patience_s=ground.patience_s
        )
    rehearsal.answered |= {"stream_features", "score_stream"}
    return (
        f"of {len(sent)} messages {counts['stored_rows']} transactions and "
        f"{counts['truths']} outcomes were stored, {counts['scored']} were scored, and "
        f"{counts['dead_letters']} were rejected, as they should be"
    )


@step(
    "compact",
    about="compact_features",
    page="04-StreamFeatures/README.md",
    sentence="count everything again from the first event on",
)
def compact(rehearsal: Rehearsal) -> str:
    """Compact the stream, and write its days as Parquet."""
    rehearsal.run("compact_features")
    return "the stream's days were compacted and exported"


@step(
    "roll back",
    about="get_proba",
    page="docs/operate.md",
    sentence="Go back and publish that version's predictions",
    remedy="Predict again; docs/operate.md, `no_index`, says what to look at.",
)
def roll_back(rehearsal: Rehearsal) -> str:
    """Go back to the version before, and see lookups follow."""
    ground = rehearsal.ground
    version = ground.command("rollback", "--use-case", SHOP)["version"]
    week = f"{rehearsal.weeks[-1]}"
    rehearsal.run("predictions", use_case=SHOP, as_of=week, force=True)
    seconds = waited(rehearsal, "model_version", version)
    return f"lookups had version {version} after {seconds:.0f} s"


@step(
    "forget",
    about="secrets",
    page="docs/privacy.md",
    sentence="If a list exists but the key is missing or wrong, the functions stop",
    remedy="The functions need the secret of DEPLOY_SUPPRESSION_SECRET, with the "
    "key that the command uses.",
)
def forget(rehearsal: Rehearsal) -> str:
    """Forget a user, whom nobody can look up then."""
    if not rehearsal.user:
        raise NotTried("nobody has a prediction")
    report = rehearsal.ground.command("forget", rehearsal.user)
    seconds = waited(rehearsal, "error", "unknown_user")
    return f"{report['left']} rows are left; lookups knew nobody after {seconds:.0f} s"


def waited(rehearsal: Rehearsal, key: str, value: object) -> float:
    """Look the user up until an answer has a value; return the seconds."""
    began = time.monotonic()
    while True:
        answer = looked_up(rehearsal, rehearsal.user)
        seconds = time.monotonic() - began
        if answer.get(key) == value:
            return seconds
        if seconds > rehearsal.ground.patience_s:
            raise No(f"after {seconds:.0f} s lookups answered {answer}")
        time.sleep(1)


# The stream's messages are wrong in part, which the doctor would find: it comes before.
STEPS = (
    set_up,
    train,
    predict,
    look_up,
    send_audience,
    examine,
    learn_cards,
    stream,
    compact,
    roll_back,
    forget,
)
