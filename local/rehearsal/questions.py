"""What only Google can answer, each question asked by itself, after the steps."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime

import requests

from deploy.plans import UNCHANGED
from local.errors import NotTried
from local.rehearsal.google_cloud import SHOP, last_of
from local.rehearsal.run import No, Rehearsal
from local.rehearsal.steps import PATIENCE_S
from propensity import usecases
from propensity.runs import digest, digest_state
from propensity.timeframe import DAY

# Words of a function's line for a missing permission.
REFUSED = "access_denied|PERMISSION_DENIED|denies access"
HANGS_UP_S = 15
ISSUE = "Attach this answer to an issue of Propensity"


def have_permissions(r: Rehearsal) -> str:
    """Read what each function has said of everything that the others did."""
    refusals = []
    silent = []
    for function in r.place.deployment.functions:
        name = r.place.deployment.name(function.target)
        about = f'resource.labels.service_name="{name}" AND jsonPayload.outcome:*'
        lines = [line["jsonPayload"] for line in r.place.logged(about)]
        if not lines:
            silent.append(function.target)
        for line in lines:
            if re.search(REFUSED, f"{line}"):
                refusals.append(f"{function.target}: {line['message']}")
    if refusals:
        hint = f"Grant what is missing. {ISSUE}"
        raise No("; ".join(sorted(set(refusals))), hint=hint)
    if silent:
        raise NotTried(
            f"{', '.join(silent)} wrote no line; the others' have no refusal"
        )
    return "no line of a function is a refusal"


def plan_again(r: Rehearsal) -> str:
    """Plan without a change: what differs all the same would end each deploy of CI."""
    folder = r.place.file.with_name("plan")
    done = r.place.script("setup.sh", "--dry-run", f"--plan={folder}")
    if not (folder / "plan.json").is_file():
        raise NotTried(f"there is no second plan: {last_of(done)}")
    differing = []
    for resource in json.loads((folder / "plan.json").read_text())["resource_changes"]:
        if resource["change"]["actions"] not in UNCHANGED:
            differing.append(resource["address"])
    if differing:
        raise No(f"a second plan changes {', '.join(differing)}", hint=ISSUE)
    return "a second plan is empty"


def refuse_strangers(r: Rehearsal) -> str:
    status = requests.get(r.place.url("get_proba"), timeout=PATIENCE_S).status_code
    expected = [401, 403]
    # So Cloud Run answers a network that it does not let in.
    if r.place.deployment.own["ingress"] != "all":
        expected.append(404)
    seen = f"a request without a token was answered with {status}"
    if status not in expected:
        hint = "Look who has roles/run.invoker, also of the project"
        raise No(seen, hint=hint)
    return seen


def spare_retries(r: Rehearsal) -> str:
    since = datetime.now(UTC)
    answer = r.place.call("predictions", {"use_case": "nobody"}).answer
    lines = r.place.logged(
        f'resource.labels.job_id=~"^{r.place.deployment.prefix}-by-hand-" AND '
        'jsonPayload."@type":"AttemptFinished"',
        since=since,
    )
    if not lines or answer["error"] == "no_line":
        raise NotTried("Cloud Scheduler or predictions wrote no line")
    status = lines[0]["httpRequest"]["status"]
    if status != 200:
        raise No(
            f"the scheduler got {status}, and would call again",
            hint="A proxy may take the header X-CloudScheduler away",
        )
    return f"the line says {answer['error']}, and the scheduler got 200"


def keep_the_time(r: Rehearsal) -> str:
    """Call audiences of today, of which there are no predictions: they wait."""
    place = r.place
    since = datetime.now(UTC)
    place.schedule(place.url("audiences"), {"use_case": SHOP})
    name = place.deployment.name("audiences")
    about = f'resource.labels.service_name="{name}" AND jsonPayload.due>"2"'
    lines = place.logged(about, since=since, at_least=4)
    dues = [line["jsonPayload"]["due"] for line in lines]
    if len(dues) < 4:
        raise NotTried(f"{len(dues)} calls came, and 4 are needed")
    if len(set(dues)) == len(dues):
        problem = "each call has a time of its own, so no retry has that of its call"
        raise No(problem, hint=ISSUE)
    return f"{len(dues)} calls have {len(set(dues))} times"


def go_on(r: Rehearsal) -> str:
    body = f'{{"use_case": "{SHOP}", "as_of": "{r.weeks[-1]}", "force": true}}'
    since = datetime.now(UTC)
    r.place.script("call.sh", "model_training", body, "--hang-up")
    name = r.place.deployment.name("model_training")
    about = f'resource.labels.service_name="{name}" AND jsonPayload.seconds:*'
    lines = r.place.logged(about, since=since)
    ended = "no line"
    seconds = 0.0
    if lines:
        ended = lines[0]["jsonPayload"]["outcome"]
        seconds = lines[0]["jsonPayload"]["seconds"]
    if ended != "ok":
        hint = "deploy/schedule.sh model_training --job"
        raise No(f"a training ended with {ended}: its caller hung up", hint=hint)
    if seconds <= HANGS_UP_S:
        raise NotTried(f"the training took {seconds:.0f} s, which is too short")
    return f"a training ended after {seconds:.0f} s, its caller had hung up"


def prune_days(r: Rehearsal) -> str:
    """Price a day and all days through the view, and digest the day once more."""
    last = r.weeks[-1] - DAY
    sql = usecases.load(SHOP).statement("user_days_of_export")

    def priced(first: date) -> int:
        span = {"first_suffix": f"{first:%Y%m%d}", "last_suffix": f"{last:%Y%m%d}"}
        return r.warehouse.dry_run(sql, {**span, "event_names": ["purchase"]})

    one = priced(last)
    every = priced(r.shop.dates[0])
    state = digest_state.read_state(r.warehouse, today=datetime.now(UTC).date())
    before = r.warehouse.bytes_billed
    digest.replace_days(
        r.warehouse, [state.tables[last]], state.rules, run_id="rehearsal"
    )
    billed = r.warehouse.bytes_billed - before
    size = sum(table.size_bytes for table in state.tables.values())
    seen = (
        f"a day reads {one:,} bytes of {every:,} through view and union; its script "
        f"was billed {billed:,}, of an export of {size:,}"
    )
    if 10 * one > every:
        raise No(f"{seen}: constants prune no days", hint=ISSUE)
    return seen


# The last ones: the steps have left lines of every function, and a schedule stays.
QUESTIONS = {
    "a second plan is empty": plan_again,
    "private functions": refuse_strangers,
    "no useless retries": spare_retries,
    "runs outlast their caller": go_on,
    "constants prune days": prune_days,
    "permissions": have_permissions,
    "a retry has the time of its call": keep_the_time,
}
