"""
Who is told of what: the policies of ``alerts/``, with a deployment's bounds.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from deploy.deployment import Deployment
from deploy.services import clocked
from deploy.steps import Step
from deploy.words import CHANNEL, gcloud, late, policy_of, project, short
from propensity import topics

ALERTS = Path(__file__).with_name("alerts")

# Of each kind of run: the field of the compaction's log line that says how many days
# ago the newest was done, and how many there may be. A week or a month has passed when
# the next run is due, later on the same day than the compaction.
AGES = {
    "model_training": ("training_age_days", 31),
    "predictions": ("publication_age_days", 7),
    "model_evaluation": ("evaluation_age_days", 7),
}
WATCHER = "compact_features"


def alerts(d: Deployment) -> Iterator[Step]:
    """Yield the policies, and what they need."""
    if _is_watched(d):
        yield _counter(d)
    if d.alerts.email:
        yield _channel(d)
    for name, policy in policies(d).items():
        yield _alert(d, name, policy)


def unwatched(d: Deployment) -> list[str]:
    """Return the functions whose missed runs nobody would notice."""
    if _is_watched(d):
        return []
    return [one.target for one in d.functions if one.schedule]


def _is_watched(d: Deployment) -> bool:
    return any(one.target == WATCHER for one in d.functions)


def policies(d: Deployment) -> dict[str, dict[str, Any]]:
    """Return the policies by name, their bounds filled in."""
    is_streaming = any(one.subscriptions for one in d.functions)
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(ALERTS.glob("*.json")):
        text = file.read_text()
        if "$field" in text:
            found |= _missed(d, file.stem, text)
        elif "$compactions" in text and not _is_watched(d):
            continue
        elif is_streaming or "$subscriptions" not in text:
            found[file.stem] = _filled(d, text, use_cases=_any_of(d.use_cases))
    return found


def _missed(d: Deployment, stem: str, text: str) -> dict[str, dict[str, Any]]:
    """Return a policy for each function whose runs the compaction knows the age of."""
    found = {}
    for one in d.functions if _is_watched(d) else ():
        called = clocked(d, one)
        if one.target in AGES and called:
            field, days = AGES[one.target]
            found[f"{stem}_{one.target}"] = _filled(
                d,
                text,
                function=d.name(one.target),
                target=one.target,
                use_cases=_any_of(called),
                field=field,
                days=days,
            )
    return found


def _any_of(names: Iterable[str]) -> str:
    return " OR ".join(f'"{name}"' for name in names)


def _counter(d: Deployment) -> Step:
    """Return the metric that counts the compactions that were done."""
    name = compactions(d)
    line = (
        f'resource.labels.service_name="{d.name(WATCHER)}" AND '
        f'jsonPayload.function="{logged_as(WATCHER)}" AND jsonPayload.outcome="ok"'
    )
    words = ("--description=Compactions that were done", f"--log-filter={line}")
    verb = "logging metrics"
    return Step(
        what=f"metric {name} of the log: compactions that were done",
        look=gcloud(f"{verb} describe", name, project(d), "--format=json"),
        holds=lambda found: found.get("filter") == line,
        create=(gcloud(f"{verb} create", name, *words, project(d)),),
        update=(gcloud(f"{verb} update", name, *words, project(d)),),
        remove=(gcloud(f"{verb} delete", name, project(d), "--quiet"),),
    )


def compactions(d: Deployment) -> str:
    """Return the name of the metric that counts compactions."""
    return f"{d.prefix}-compactions"


def logged_as(target: str) -> str:
    """Return what a function calls itself in its log lines."""
    first, *others = target.split("_")
    return first + "".join(word.title() for word in others)


def _filled(d: Deployment, text: str, **more: str | int) -> dict[str, Any]:
    bounds = d.alerts
    every = [(d.subscription(one), one.function) for one in topics.SUBSCRIPTIONS]
    pushed = [name for name, function in every if function]
    letters = [name for name, function in every if not function]
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
        "letters": d.topic(topics.DEAD_LETTERS),
        "compactions": compactions(d),
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
