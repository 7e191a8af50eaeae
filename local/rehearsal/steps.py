"""The first weeks of a deployment: the demo's steps, played on Google Cloud."""

from __future__ import annotations

import json
import time

import requests

from local.demos import cards, shop, stream
from local.demos.calls import call, command, rows
from local.demos.source import chosen_weeks
from local.generators.cards import USE_CASE as CARDS
from local.generators.cards import cards as drawn
from local.generators.games import USE_CASE as GAMES
from local.progress import say
from local.rehearsal.google_cloud import AUDIENCE, SHOP
from local.rehearsal.run import No, NotTried, Rehearsal, step
from propensity import usecases

PATIENCE_S = 600
WORD = "docs/operate.md, Errors, explains the word."


@step("set up", "Read the message; docs/deploy.md, 2. Deploy, has the most frequent.")
def set_up(r: Rehearsal) -> str:
    began = time.monotonic()
    r.place.set_up(lambda: fill(r))
    r.is_set_up = True
    return f"everything was made in {(time.monotonic() - began) / 60:.0f} minutes"


def fill(r: Rehearsal) -> None:
    """Load the days of the export before the first week."""
    use_case = usecases.load(SHOP)
    r.weeks = chosen_weeks(r.shop, use_case, r.warehouse.settings, count=2)
    shop.load(r.warehouse, r.shop, len(r.shop.dates), until=r.weeks[0])


@step("train, predict and evaluate", WORD)
def play_weeks(r: Rehearsal) -> str:
    """Play two weeks; the export grows between them, as a real one does."""
    # Without an index, names are listed: what is missing must not look denied.
    shop.look_up(r.place, "nobody")
    for week in r.weeks:
        if week > r.weeks[0]:
            shop.load(r.warehouse, r.shop, (week - r.weeks[0]).days, until=week)
        body = {"use_case": SHOP, "as_of": f"{week}"}
        shop.train(r.place, body | {"force": True})
        if week > r.weeks[0]:
            shop.evaluate(r.place, body)
        if shop.predicted(r.place, body) is None:
            raise No("no version went live")
    # So that there is one to go back to.
    versions = command(r.place, "versions", "--use-case", SHOP)
    if versions["champion"]["version"] == 0:
        command(r.place, "promote", "1", "--use-case", SHOP)
    users = rows(r.warehouse, "published_users", use_case=SHOP, weeks=r.weeks[-1:])
    r.user = users[0]["user_id"]
    return f"{len(users):,} users have a probability"


@step("look up", "Name yourself in DEPLOY_CALLERS.")
def look_up(r: Rehearsal) -> str:
    return waited(r, "user_id", r.user)


def waited(r: Rehearsal, key: str, value: object) -> str:
    """Look the user up until the answer has a value: Google takes minutes to let in."""
    if not r.user:
        raise NotTried("nobody has a prediction")
    began = time.monotonic()
    while True:
        answer = shop.look_up(r.place, r.user)
        seconds = time.monotonic() - began
        if f'"{key}":{json.dumps(value)}' in answer.text:
            return f"lookups had it after {seconds:.0f} s"
        refuse_network(r, answer)
        if seconds > PATIENCE_S:
            raise No(f"after {seconds:.0f} s the answer was {answer.status_code}")
        time.sleep(10)


def refuse_network(r: Rehearsal, answer: requests.Response) -> None:
    """Raise NotTried where Cloud Run does not let this network in."""
    is_ours = "application/json" in answer.headers.get("Content-Type", "")
    if r.place.deployment.own["ingress"] != "all" and not is_ours:
        raise NotTried("DEPLOY_INGRESS lets nobody in from here")


@step("send an audience", "propensity audience ledger says what became of each date.")
def send_audience(r: Rehearsal) -> str:
    """Send the first date by command, and the second by its function."""
    first, second = r.weeks
    words = ("--use-case", SHOP, "--as-of", f"{first}")
    command(r.place, "audience", "send", AUDIENCE, *words)
    body = {"use_case": SHOP, "as_of": f"{second}"}
    [sent] = call(r.place, "audiences", body)["audiences"]
    return f"{sent['accepted']:,} users were written to the bucket"


@step("doctor", "Run `propensity doctor`: it says what to do about each.")
def examine(r: Rehearsal) -> str:
    if not r.user:
        raise NotTried("nothing was predicted, which it would say")
    words = ("doctor", "--as-of", f"{r.weeks[-1]}", "--json")
    report = json.loads(r.place.command(*words).stdout)
    findings = [finding["what"] for finding in report["findings"]]
    if findings:
        raise No("; ".join(findings))
    if report["failed"]:
        raise NotTried(f"it could not examine {', '.join(report['failed'])}")
    return f"nothing is wrong with {', '.join(report['checks'])}"


@step("stream", "Look at the log of stream_features; events wait in Pub/Sub.")
def play_stream(r: Rehearsal) -> str:
    """Stream players' events, and compare their features with a clean computation."""
    lines = list(stream.play(r.place, r.warehouse))
    for line in lines:
        say(line)
        if "clean computation" in line and " 0 differ" not in line:
            raise No(line)
    return lines[1]


@step("learn card fraud", WORD)
def play_cards(r: Rehearsal) -> str:
    """Train on transactions while others are streamed and scored."""
    lines = list(cards.play(r.place, r.warehouse))
    for line in lines:
        say(line)
    return lines[-3]


@step("score", "Name yourself in DEPLOY_CALLERS.")
def score(r: Rehearsal) -> str:
    """Score a transaction by a request."""
    [event] = drawn(transactions=1, fraud_rate=0.0, days=1).events()
    body = {"use_case": CARDS, **event}
    headers = r.place.token("score")
    url = r.place.url("score")
    answer = requests.post(url, json=body, headers=headers, timeout=PATIENCE_S)
    refuse_network(r, answer)
    if not answer.ok:
        raise No(f"the answer is {answer.status_code}: {answer.text[:200]}")
    return f"a transaction got {answer.json()['probability']}"


@step("write the dashboard", WORD)
def write_dashboard(r: Rehearsal) -> str:
    call(r.place, "overview", {})
    return "its pages are in the bucket"


@step("operate", "Look at the execution of the operators' job.")
def operate(r: Rehearsal) -> str:
    """Run a command in the operators' job."""
    done = r.place.script("operate.sh", words_last=("versions", "--use-case", SHOP))
    if done.returncode:
        raise No(done.stderr.strip())
    return "the operators' job has listed the versions"


@step("roll back", "docs/operate.md, `no_index`, says what to look at.")
def roll_back(r: Rehearsal) -> str:
    """Go back to the version before, and see lookups follow."""
    version = command(r.place, "rollback", "--use-case", SHOP)["version"]
    body = {"use_case": SHOP, "as_of": f"{r.weeks[-1]}", "force": True}
    shop.predicted(r.place, body)
    return waited(r, "model_version", version)


@step("forget", "The functions need the key of DEPLOY_SUPPRESSION_SECRET.")
def forget(r: Rehearsal) -> str:
    """Forget a user, and a player whose events were streamed minutes ago."""
    if not r.user:
        raise NotTried("nobody has a prediction")
    players = rows(r.warehouse, "streamed_features", use_case=GAMES)
    command(r.place, "forget", r.user, players[0]["user_id"])
    return waited(r, "error", "unknown_user")


# The stream's messages are wrong in part, which the doctor would find: it comes before.
STEPS = (
    set_up,
    play_weeks,
    look_up,
    send_audience,
    examine,
    play_stream,
    play_cards,
    score,
    write_dashboard,
    operate,
    roll_back,
    forget,
)
