"""The first weeks of a deployment: the demo's steps, played on Google Cloud."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable

import requests

from local.demos import cards, shop, stream
from local.demos.calls import call, command, rows
from local.demos.source import chosen_weeks
from local.errors import NotTried
from local.generators.cards import USE_CASE as CARDS
from local.generators.cards import cards as drawn
from local.generators.games import USE_CASE as GAMES
from local.rehearsal.google_cloud import AUDIENCE, SHOP, patiently
from local.rehearsal.run import No, Rehearsal
from propensity import usecases
from propensity.cli.answers import Exit
from propensity.cli.progress import say

PATIENCE_S = 600


def set_up(r: Rehearsal) -> str:
    r.place.set_up(lambda: fill(r))
    return "everything was made"


def fill(r: Rehearsal) -> None:
    """Load the days of the export before the first week."""
    use_case = usecases.load(SHOP)
    r.weeks = chosen_weeks(r.shop, use_case, r.warehouse.settings, count=2)
    shop.load(r.warehouse, r.shop, len(r.shop.dates), until=r.weeks[0])


def play_weeks(r: Rehearsal) -> str:
    """Play two weeks; the export grows between them, as a real one does."""
    # Without an index, names are listed: what is missing must not look denied.
    with contextlib.suppress(NotTried):
        shop.look_up(r.place, "nobody")
    for week in r.weeks:
        if week > r.weeks[0]:
            shop.load(r.warehouse, r.shop, (week - r.weeks[0]).days, until=week)
        body = {"use_case": SHOP, "as_of": f"{week}"}
        shop.train(r.place, body | {"force": True})
        if week > r.weeks[0]:
            shop.evaluate(r.place, body)
        if shop.predicted(r.place, body) is None:
            raise No("no version went live", hint="Look at the version's page")
    # So that there is one to go back to.
    versions = command(r.place, "versions", "--use-case", SHOP)
    if versions["champion"]["version"] == 0:
        command(r.place, "promote", "1", "--use-case", SHOP)
    users = rows(r.warehouse, "published_users", use_case=SHOP, weeks=r.weeks[-1:])
    r.user = users[0]["user_id"]
    return f"{len(users):,} users have a probability"


def look_up(r: Rehearsal) -> str:
    return waited(r, "user_id", r.user)


def waited(r: Rehearsal, key: str, value: object) -> str:
    """Look the user up until the answer has a value."""
    be_let_in(r)
    began = time.monotonic()
    user = with_prediction(r)
    wanted = f'"{key}":{json.dumps(value)}'
    answer = patiently(
        lambda: shop.look_up(r.place, user), lambda answer: wanted in answer.text
    )
    if wanted not in answer.text:
        raise No(
            f"after minutes the answer still was {answer.status_code}",
            hint="docs/operate.md, `no_index`, says what to look at",
        )
    return f"lookups had it after {time.monotonic() - began:.0f} s"


def be_let_in(r: Rehearsal) -> None:
    if r.place.deployment.own["ingress"] != "all":
        raise NotTried(
            "with this DEPLOY_INGRESS, Cloud Run may let nobody in from here"
        )


def with_prediction(r: Rehearsal) -> str:
    """Return a user with a prediction; raise NotTried where there is none."""
    if not r.user:
        raise NotTried("nobody has a prediction")
    return r.user


def send_audience(r: Rehearsal) -> str:
    """Send the first date by command, and the second by its function."""
    first, second = r.weeks
    words = ("--use-case", SHOP, "--as-of", f"{first}")
    command(r.place, "audience", "send", AUDIENCE, *words)
    body = {"use_case": SHOP, "as_of": f"{second}"}
    [sent] = call(r.place, "audiences", body)["audiences"]
    return f"{sent['accepted']:,} users were written to the bucket"


def examine(r: Rehearsal) -> str:
    # It would say that nothing was predicted.
    with_prediction(r)
    words = ("doctor", "--as-of", f"{r.weeks[-1]}", "--json")
    # With findings it fails, and what it could not examine has a code of its own.
    codes = (Exit.DONE, Exit.FAILED, Exit.NOT_EXAMINED)
    report = json.loads(r.place.command(*words, codes=codes).stdout)
    findings = [finding["what"] for finding in report["findings"]]
    if findings:
        raise No("; ".join(findings), hint="Run propensity doctor")
    if report["failed"]:
        raise NotTried(f"it could not examine {', '.join(report['failed'])}")
    return f"nothing is wrong with {', '.join(report['checks'])}"


def told(lines: Iterable[str]) -> list[str]:
    """Print what a part of the demo says, as it comes; return it."""
    heard = []
    for line in lines:
        say(line)
        heard.append(line)
    return heard


def play_stream(r: Rehearsal) -> str:
    """Stream players' events, and compare their features with a clean computation."""
    lines = told(stream.play(r.place, r.warehouse, broken=True))
    [compared] = [line for line in lines if "clean computation" in line]
    if ": 0 differ" not in compared:
        raise No(compared)
    return lines[1]


def play_cards(r: Rehearsal) -> str:
    """Train on transactions while others are streamed and scored."""
    return told(cards.play(r.place, r.warehouse))[-2]


def score(r: Rehearsal) -> str:
    """Score a transaction by a request."""
    be_let_in(r)
    [event] = drawn(transactions=1, fraud_rate=0.0, days=1).events()
    body = {"use_case": CARDS, **event}
    headers = r.place.token("score")
    url = r.place.url("score")
    answer = requests.post(url, json=body, headers=headers, timeout=PATIENCE_S)
    if not answer.ok:
        raise No(f"the answer is {answer.status_code}: {answer.text[:200]}")
    return f"a transaction got {answer.json()['probability']}"


def write_dashboard(r: Rehearsal) -> str:
    call(r.place, "overview", {})
    return "its pages are in the bucket"


def operate(r: Rehearsal) -> str:
    """Run a command in the operators' job."""
    done = r.place.script("operate.sh", "versions", "--use-case", SHOP)
    if done.returncode:
        raise No(done.stderr.strip())
    return "the operators' job has listed the versions"


def roll_back(r: Rehearsal) -> str:
    """Go back to the version before, and see lookups follow."""
    version = command(r.place, "rollback", "--use-case", SHOP)["version"]
    body = {"use_case": SHOP, "as_of": f"{r.weeks[-1]}", "force": True}
    shop.predicted(r.place, body)
    return waited(r, "model_version", version)


def forget(r: Rehearsal) -> str:
    """Forget a user, and a player whose events were streamed minutes ago."""
    players = rows(r.warehouse, "streamed_features", use_case=GAMES)
    command(r.place, "forget", with_prediction(r), players[0]["user_id"])
    return waited(r, "error", "unknown_user")


# The stream's messages are wrong in part, which the doctor would find: it comes before.
STEPS = {
    "set up": set_up,
    "train, predict and evaluate": play_weeks,
    "look up": look_up,
    "send an audience": send_audience,
    "doctor": examine,
    "stream": play_stream,
    "learn card fraud": play_cards,
    "score": score,
    "write the dashboard": write_dashboard,
    "operate": operate,
    "roll back": roll_back,
    "forget": forget,
}
