"""
Who is told of what: the policies of ``alerts/``, with a deployment's bounds.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deploy.deployment import Deployment
from deploy.steps import Step
from deploy.words import CHANNEL, gcloud, late, policy_of, project, short
from propensity import topics

ALERTS = Path(__file__).with_name("alerts")

# Days within which a scheduled run must have succeeded once. A missed training is
# noticed by the age of the champion: the log reaches back no further than a month.
MISSED_AFTER_DAYS = {"predictions": 8, "model_evaluation": 8, "compact_features": 2}


def alerts(d: Deployment) -> Iterator[Step]:
    """Yield the policies, and what they need."""
    # run_missed asks the log by SQL, which only a bucket with analytics answers.
    bucket = "_Default --location=global"
    yield Step(
        what="log bucket _Default answers SQL (a teardown leaves it so)",
        look=gcloud(f"logging buckets describe {bucket} --format=json", project(d)),
        pick=lambda found: found if found.get("analyticsEnabled") else None,
        create=(
            gcloud(
                f"logging buckets update {bucket} --enable-analytics --quiet",
                project(d),
            ),
        ),
    )
    if d.alerts.email:
        yield _channel(d)
    for name, policy in policies(d).items():
        yield _alert(d, name, policy)


def policies(d: Deployment) -> dict[str, dict[str, Any]]:
    """Return the policies by name, their bounds filled in."""
    is_streaming = any(one.subscriptions for one in d.functions)
    found = {}
    for file in sorted(ALERTS.glob("*.json")):
        text = file.read_text()
        if "$logged" in text:
            for one in d.functions:
                if days := MISSED_AFTER_DAYS.get(one.target):
                    found[f"{file.stem}_{one.target}"] = _filled(
                        d,
                        text,
                        function=d.name(one.target),
                        logged=logged_as(one.target),
                        days=days,
                    )
        elif is_streaming or "$subscriptions" not in text:
            found[file.stem] = _filled(d, text)
    return found


def logged_as(target: str) -> str:
    """Return what a function calls itself in its log lines."""
    first, *others = target.split("_")
    return first + "".join(word.title() for word in others)


def _filled(d: Deployment, text: str, **more: str | int) -> dict[str, Any]:
    bounds = d.alerts
    pushed = [one.name for one in topics.SUBSCRIPTIONS if one.function]
    letters = [one.name for one in topics.SUBSCRIPTIONS if not one.function]
    words: dict[str, str | int | float] = {
        "prefix": d.prefix,
        "project": d.project,
        "roc_auc": bounds.roc_auc,
        "champion_days": bounds.champion_days,
        "run_bytes": bounds.run_bytes,
        "day_bytes": bounds.day_bytes,
        "lag_s": bounds.lag_s,
        "subscriptions_pushed": "|".join(pushed),
        "subscriptions_of_letters": "|".join(letters),
        **more,
    }
    policy: dict[str, Any] = _with(words, json.loads(text))
    return policy


def _with(words: Mapping[str, str | int | float], value: Any) -> Any:
    # A text that is nothing but a word is its value: "$lag_s" is a number then.
    if isinstance(value, dict):
        return {key: _with(words, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with(words, each) for each in value]
    if not isinstance(value, str):
        return value
    if value.startswith("$") and value[1:] in words:
        return words[value[1:]]
    return string.Template(value).substitute(words)


def _channel(d: Deployment) -> Step:
    verb, address = "beta monitoring channels", f"email_address={d.alerts.email}"

    def pick(found: list[dict[str, Any]]) -> Any:
        return next((one for one in found if one.get("displayName") == d.prefix), None)

    create = gcloud(f"{verb} create --type=email", f"--display-name={d.prefix}")
    update = gcloud(f"{verb} update", late(CHANNEL))
    delete = gcloud(f"{verb} delete", late(CHANNEL), "--force", "--quiet", project(d))
    return Step(
        what=f"mail to {d.alerts.email}",
        look=gcloud(f"{verb} list --format=json", project(d)),
        pick=pick,
        holds=lambda found: (
            found.get("labels", {}).get("email_address") == d.alerts.email
        ),
        create=((*create, f"--channel-labels={address}", project(d)),),
        update=((*update, f"--update-channel-labels={address}", project(d)),),
        remove=(delete,),
    )


def _alert(d: Deployment, name: str, policy: dict[str, Any]) -> Step:
    digest = short(json.dumps([policy, d.alerts.email], sort_keys=True))
    labels = {"deployment": d.prefix, "alert": name, "digest": digest}
    text = f"--policy={json.dumps({**policy, 'userLabels': labels})}"
    verb, ours = "alpha monitoring policies", late(policy_of(name))

    def pick(found: list[dict[str, Any]]) -> Any:
        for one in found:
            theirs = one.get("userLabels", {})
            if (theirs.get("deployment"), theirs.get("alert")) == (d.prefix, name):
                return theirs
        return None

    create = gcloud(f"{verb} create", text)
    update = gcloud(f"{verb} update", ours, text)
    if d.alerts.email:
        create += (f"--notification-channels={late(CHANNEL)}",)
        update += (f"--set-notification-channels={late(CHANNEL)}",)
    return Step(
        what=f"alert {name}: {policy['displayName'].partition(': ')[2]}",
        look=gcloud(f"{verb} list --format=json", project(d)),
        pick=pick,
        holds=lambda found: found.get("digest") == digest,
        create=((*create, project(d)),),
        update=((*update, project(d)),),
        remove=(gcloud(f"{verb} delete", ours, project(d), "--quiet"),),
    )
