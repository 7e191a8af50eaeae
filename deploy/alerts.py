"""
Alerts: what raises each, and what its mail says.

An alert is raised by a line of the log, by a metric that is above a value, or by one
that is absent. Google sends one mail of a policy within its pause, whatever else it
matches meanwhile. So an alert about use cases has a policy for each, and one for the
lines that are of none of them.

A mail has the alert's section of docs/operate.md, so that nobody has to look for it,
and function, use case, outcome and message of the line.

Sources: cloud.google.com/logging/docs/alerting/log-based-alerts;
cloud.google.com/monitoring/alerts/log-based-incidents;
cloud.google.com/logging/docs/view/logging-query-language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from deploy import functions
from deploy.configuration import DeploymentSettings, dashed
from deploy.functions import JOBS, ROOT
from propensity import usecases
from propensity.pages.findings import PAGE as MESSAGES
from propensity.pages.findings import meanings
from propensity.pages.words import plural
from propensity.runs.late import AGES, EXPORT_STOPPED_DAYS, KINDS, days_until_late
from propensity.usecases.exports import by_export

PAGE = "docs/operate.md"
# A day, for what lasts; a failure is told of as soon as Google sends another mail.
DAILY_S = 86_400
AT_ONCE_S = 300
# What a mail quotes of a line.
QUOTED = ("function", "use_case", "outcome", "message")
# Errors that most runs fail with.
FREQUENT = (
    "access_denied",
    "missing_table",
    "not_enough_data",
    "query_too_expensive",
    "score_shift",
)
# Outcomes of a run beside another one, or of which another alert tells more.
EXPECTED = ("run_in_progress", "conflict", "audience_waits", "audience_stopped")
# Those after which the scheduler calls again, as long as it has attempts.
RETRIED = ("unavailable", "quota_exceeded", "export_late", "digest_unfinished")
SEVERE = ("ERROR", "CRITICAL", "ALERT", "EMERGENCY")

# A field of an entry of the log, an operator, and the value, or those that it may have.
Condition = tuple[str, str, Any]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """
    One policy of Cloud Monitoring.

    Attributes:
        alert: Its alert, by the name of the section of ``PAGE``.
        lines: What lines of functions and training jobs meet that raise it, by their
            fields.
        given_up: What lines meet, in one of these ways, if no attempt is left.
        killed: What entries of others meet that raise it, in one of these ways.
        pause_s: For so long Google sends no second mail about a line.
        metric: Filter of a metric, ``above`` and more, as ``alerts.tf`` reads it.
        use_case: Which use case it is about; empty for all others, or for none.
    """

    alert: str
    title: str
    lines: tuple[Condition, ...] = ()
    given_up: tuple[tuple[Condition, ...], ...] = ()
    killed: tuple[tuple[Condition, ...], ...] = ()
    pause_s: int = DAILY_S
    metric: Mapping[str, Any] = field(default_factory=dict)
    use_case: str = ""

    @property
    def name(self) -> str:
        """What Terraform calls it."""
        return f"{self.alert}_{self.use_case}" if self.use_case else self.alert


def camel(target: str) -> str:
    """Return the name of a function in its log lines."""
    first, *others = target.split("_")
    return first + "".join(word.title() for word in others)


def policies(d: DeploymentSettings) -> Iterator[Policy]:
    """Yield the policies of a deployment."""
    for use_case in list(d.use_cases) + [""]:
        yield from _of_runs(d, use_case)
    for use_case in d.use_cases:
        yield from _of_ages(d, use_case)
    yield from _of_exports(d)
    yield Policy(
        alert="events_refused",
        title="events were refused",
        lines=(
            ("function", "=", ("streamFeatures", "scoreStream")),
            ("reasons", ":", "*"),
        ),
    )
    yield Policy(
        alert="message_not_sent",
        title="the weekly message was not sent",
        lines=(("function", "=", "overview"), ("outcome", "=", "message_not_sent")),
    )
    yield from _of_metrics(d)


# -- lines of the log ------------------------------------------------------------------


def _of_runs(d: DeploymentSettings, use_case: str) -> Iterator[Policy]:
    """Yield the policies that each use case has, and those for all others."""
    about: Condition = ("use_case", "=", use_case)
    if not use_case:
        about = ("use_case", "NOT =", d.use_cases)
    scheduled = list[str]()
    given_up = list[tuple[Condition, ...]]()
    for function in functions.load():
        if function.schedule:
            scheduled.append(function.target)
            failed: Condition = ("outcome", "=", RETRIED)
            is_last = ("waited_s", ">=", function.schedule.attempts_s)
            name = camel(function.target)
            given_up.append((about, ("function", "=", name), failed, is_last))
    yield Policy(
        alert="run_failed",
        title="a run failed",
        lines=(
            about,
            ("function", "=", tuple(map(camel, scheduled))),
            ("status", ">=", 400),
            ("outcome", "NOT =", EXPECTED + RETRIED),
            # Predictions before the first training.
            ("is_trained", "NOT =", False),
        ),
        given_up=tuple(given_up),
        killed=_killed(d, use_case, scheduled),
        pause_s=AT_ONCE_S,
        use_case=use_case,
    )
    yield Policy(
        alert="audience_not_sent",
        title="an audience was not sent",
        lines=(
            about,
            ("function", "=", "audiences"),
            ("outcome", "=", "audience_stopped"),
        ),
        pause_s=AT_ONCE_S,
        use_case=use_case,
    )
    first = "^no index has been published yet"
    of_lines: dict[str, tuple[str, tuple[Condition, ...]]] = {
        "bytes_billed_run": (
            "a run billed more than it should",
            (("bytes_billed", ">", int(d.own["alert_run_bytes"])),),
        ),
        "evaluation_missing": (
            "predictions ran without the week's evaluation",
            (("function", "=", "predictions"), ("evaluation_missing", "=", True)),
        ),
        "no_index": (
            "lookups are queries, without an index",
            (("outcome", "=", "no_index"), ("message", "NOT =~", first)),
        ),
        "roc_auc": (
            "ROC AUC of the evaluated week is under the bound",
            (
                ("function", "=", "modelEvaluation"),
                ("roc_auc", "<", float(d.own["alert_roc_auc"])),
            ),
        ),
    }
    for alert, (title, lines) in of_lines.items():
        yield Policy(
            alert=alert, title=title, lines=(about,) + lines, use_case=use_case
        )


def _killed(
    d: DeploymentSettings, use_case: str, scheduled: list[str]
) -> tuple[tuple[Condition, ...], ...]:
    """Return what says that a run ended without a line: of a use case, or of none."""
    severe = ("severity", "=", SEVERE)
    job = f"-{dashed(use_case)}" if use_case else ""
    clock = (
        ("resource.type", "=", "cloud_scheduler_job"),
        severe,
        # It calls again after these.
        ("httpRequest.status", "NOT =", (409, 503)),
        ("resource.labels.job_id", "=", tuple(d.name(one) + job for one in scheduled)),
    )
    if use_case:
        # A job that ends without a line of its own has told the scheduler 200 before.
        names = tuple(d.name(f"{name}-job{job}") for name in JOBS.values())
        by_job = (
            ("resource.type", "=", "cloud_run_job"),
            severe,
            ("resource.labels.job_name", "=", names),
            # It asks again itself after some of its own lines.
            ("jsonPayload.outcome", "NOT :", "*"),
        )
        return clock, by_job
    # Killed for its memory, a function answers 503 and writes nothing. It is called
    # again, and another alert tells that no run of it was done, if there is one.
    silent = scheduled
    if any(function.target == "compact_features" for function in d.functions):
        silent = [target for target in scheduled if target not in KINDS]
    log = f"projects/{d.project}/logs/run.googleapis.com%2Fvarlog%2Fsystem"
    service = (
        ("resource.type", "=", "cloud_run_revision"),
        severe,
        ("logName", "=", log),
        ("resource.labels.service_name", "=", tuple(map(d.name, silent))),
    )
    return clock, service


def _of_exports(d: DeploymentSettings) -> Iterator[Policy]:
    """Yield a policy for each export, of all use cases that read it."""
    for export, use_cases in by_export(d.settings, d.loaded):
        names = tuple(use_case.name for use_case in use_cases)
        if export.ga4_dataset and names:
            yield Policy(
                alert="export_stopped",
                title="the GA4 export has stopped",
                lines=(
                    ("use_case", "=", names),
                    ("export_age_days", ">", EXPORT_STOPPED_DAYS),
                ),
                use_case=names[0],
            )


def _of_ages(d: DeploymentSettings, use_case: str) -> Iterator[Policy]:
    """Yield the policies about a version that is old, and, by the compaction's lines,
    about runs that were not done."""
    about = ("use_case", "=", use_case)
    oldest = int(d.own["alert_champion_days"])
    yield Policy(
        alert="champion_age",
        title="the live version was trained long ago",
        lines=(about, ("champion_age_days", ">", oldest)),
        use_case=use_case,
    )
    if not any(function.target == "compact_features" for function in d.functions):
        return
    for function in d.functions:
        kind = KINDS.get(function.target, "")
        if kind not in AGES or use_case not in d.called_for(function):
            continue
        predicted = usecases.load(use_case).chosen_prediction_days(d.settings)
        days = days_until_late(kind, predicted)
        yield Policy(
            alert=f"run_missed_{function.target}",
            title=f"no run of {d.name(function.target)} was done for more than "
            f"{plural(days, 'day')}",
            lines=(about, (AGES[kind], ">", days)),
            use_case=use_case,
        )


def log_filter(policy: Policy, d: DeploymentSettings) -> str:
    """Return what raises a policy in the language of Google's filters, in which OR
    binds closer than AND."""
    service = f'resource.labels.service_name=~"^{d.prefix}-"'
    ours = f'({service} OR resource.labels.job_name=~"^{d.prefix}-")'
    parts = list[str]()
    for conditions in (policy.lines,) + policy.given_up:
        parts.append(f"{ours} AND {_all(conditions, within='jsonPayload.')}")
    for conditions in policy.killed:
        parts.append(_all(conditions))
    if len(parts) == 1:
        return parts[0]
    return " OR ".join(f"({part})" for part in parts)


def _all(conditions: tuple[Condition, ...], within: str = "") -> str:
    texts = []
    for name, operator, value in conditions:
        text = json.dumps(value)
        if operator.endswith(":"):
            text = value
        elif isinstance(value, tuple):
            text = "(" + " OR ".join(json.dumps(each) for each in value) + ")"
        # NOT stands before the field.
        negation, _, comparison = operator.rpartition(" ")
        texts.append(f"{negation} {within}{name}{comparison}{text}".strip())
    return " AND ".join(texts)


# -- metrics ---------------------------------------------------------------------------


def _of_metrics(d: DeploymentSettings) -> Iterator[Policy]:
    """Yield the policies about what Google measures."""
    deployed = {function.target for function in d.functions}
    pushed = list[str]()
    letters = list[str]()
    for subscription in functions.SUBSCRIPTIONS:
        name = f"{d.prefix}-{subscription.name}"
        if not subscription.function:
            letters.append(name)
        elif subscription.function in deployed:
            pushed.append(name)
    yield Policy(
        alert="bytes_billed_day",
        title="the project's queries billed more than a day's budget",
        metric={
            "filter": 'metric.type="bigquery.googleapis.com/query/scanned_bytes_billed"'
            ' AND resource.type="global"',
            "above": int(d.own["alert_day_bytes"]),
            "lasting": "0s",
            "period": "86400s",
            "aligner": "ALIGN_SUM",
            "reducer": "REDUCE_SUM",
        },
    )
    if pushed:
        yield Policy(
            alert="dead_letters",
            title="messages were given up",
            metric={
                "filter": _of_subscriptions("num_undelivered_messages", letters),
                "above": 0,
                "lasting": "0s",
                "period": "300s",
                "aligner": "ALIGN_MAX",
            },
        )
        yield Policy(
            alert="stream_lag",
            title="the stream lags behind",
            metric={
                "filter": _of_subscriptions("oldest_unacked_message_age", pushed),
                "above": int(d.own["alert_lag_s"]),
                "lasting": "300s",
                "period": "60s",
                "aligner": "ALIGN_MAX",
            },
        )
    if "compact_features" in deployed:
        yield Policy(
            alert="run_missed_compact_features",
            title="no compaction was done for 25 hours",
            metric={
                "filter": f'metric.type="logging.googleapis.com/user/{d.prefix}-'
                'compactions" AND resource.type="cloud_run_revision"',
                "lasting": "84600s",
                "period": "5400s",
                "aligner": "ALIGN_DELTA",
                "reducer": "REDUCE_SUM",
            },
        )


def _of_subscriptions(metric: str, names: list[str]) -> str:
    listed = "|".join(names)
    return (
        f'metric.type="pubsub.googleapis.com/subscription/{metric}" AND '
        'resource.type="pubsub_subscription" AND '
        f'resource.labels.subscription_id=monitoring.regex.full_match("{listed}")'
    )


# -- the mail --------------------------------------------------------------------------


@cache
def sections(chapter: str) -> dict[str, str]:
    """Return the sections of a chapter of ``PAGE``, by each name in their headings."""
    page = (ROOT / PAGE).read_text("utf-8")
    text = page.partition(f"\n## {chapter}\n")[2].partition("\n## ")[0]
    named = dict[str, str]()
    for part in text.split("\n### ")[1:]:
        heading, _, body = part.partition("\n")
        for name in re.findall(r"`(\w+)`", heading):
            named[name] = body.strip()
    return named


def text_of(policy: Policy, d: DeploymentSettings) -> str:
    """Return the text of a policy's mail: what to do, with the deployment's names."""
    text = sections("Alerts")[policy.alert]
    if policy.alert == "run_failed":
        words = ", ".join(FREQUENT)
        text = (
            f"Find `outcome` below first: {words} are explained at the end, all others "
            f"in {PAGE}, section Errors.\n\n{text}"
        )
        for name in FREQUENT:
            # The first paragraph is the status over HTTP.
            what_to_do = sections("Errors")[name].partition("\n\n")[2]
            text += f"\n\n**{name}**: {what_to_do}"
    # Nobody can follow a page's link in a mail.
    text = re.sub(r"\]\(#", f"]({PAGE}#", text)
    text = re.sub(r"\[([^]]+)\]\((?:docs/)?([^)]+)\)", r"\1 (docs/\2)", text)
    text = text.replace("REGION", d.own["region"]).replace("PROJECT", d.project)
    text = text.replace("propensity-", f"{d.prefix}-")
    if policy.use_case:
        text = text.replace("-ga4-purchase", f"-{dashed(policy.use_case)}")
        target = policy.alert.removeprefix("run_missed_")
        if KINDS.get(target) in AGES:
            # One section is about several functions.
            text = text.replace(f"{d.prefix}-predictions-", f"{d.name(target)}-")
    if "`propensity " in text:
        text += "\n\nOperators run `deploy/operate.sh` instead of `propensity`."
    text = f"{meanings()[policy.alert]}\n\n{text}"
    if policy.lines:
        quoted = [f"- {name}: ${{log.extracted_label.{name}}}" for name in QUOTED]
        text = "\n".join(quoted) + f"\n\n{text}"
    return f"{text}\n\nFrom {PAGE}, section Alerts, {policy.alert}; see {MESSAGES}."


def in_terraform(d: DeploymentSettings) -> dict[str, Any]:
    """Return what ``terraform/alerts.tf`` makes of a deployment: policies by name."""
    return {"policies": {policy.name: _made(policy, d) for policy in policies(d)}}


def _made(policy: Policy, d: DeploymentSettings) -> dict[str, Any]:
    about = f"{policy.use_case}: " if policy.use_case else ""
    labels = {"deployment": d.prefix, "alert": policy.alert}
    if policy.use_case:
        labels["use_case"] = policy.use_case
    is_error = meanings()[policy.alert].weight == "error"
    made: dict[str, Any] = {
        "subject": f"{d.prefix}: {about}{policy.title}",
        "severity": "ERROR" if is_error else "WARNING",
        "labels": labels,
        "text": text_of(policy, d),
    }
    if policy.lines:
        made["log"] = log_filter(policy, d)
        made |= {"pause": f"{policy.pause_s}s", "quoted": QUOTED}
    elif "above" in policy.metric:
        made["metric"] = policy.metric
    else:
        made["absent"] = policy.metric
    return made
