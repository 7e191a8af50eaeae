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

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote

from deploy import functions
from deploy.configuration import DeploymentSettings
from deploy.functions import ROOT
from propensity import usecases
from propensity.findings import PAGE as MESSAGES
from propensity.findings import meanings
from propensity.pages.words import plural
from propensity.runs.late import AGES, KINDS, days_until_late

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
# Outcomes after which the scheduler calls again, or another alert tells more.
EXPECTED = ("run_in_progress", "export_late", "audience_waits", "audience_stopped")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """
    One policy of Cloud Monitoring.

    Attributes:
        alert: Its alert, by the name of the section of ``PAGE``.
        log: The filter of the lines that raise it; empty if a metric does.
        pause_s: For so long Google sends no second mail about a line.
        metric: Filter of a metric, ``above`` and more, as ``alerts.tf`` reads it.
        use_case: Which use case it is about; empty for all others, or for none.
    """

    alert: str
    title: str
    log: str = ""
    pause_s: int = DAILY_S
    metric: Mapping[str, Any] = field(default_factory=dict)
    use_case: str = ""

    @property
    def name(self) -> str:
        """What Terraform calls it."""
        return f"{self.alert}_{self.use_case}" if self.use_case else self.alert

    @property
    def severity(self) -> str:
        """As Cloud Monitoring names it."""
        return "ERROR" if meanings()[self.alert].weight == "error" else "WARNING"


def camel(target: str) -> str:
    """Return the name of a function in its log lines."""
    first, *others = target.split("_")
    return first + "".join(word.title() for word in others)


def policies(d: DeploymentSettings) -> Iterator[Policy]:
    """Yield the policies of a deployment."""
    deployed = {function.target for function in d.functions}
    for use_case in list(d.use_cases) + [""]:
        yield from _of_lines(d, use_case)
    for use_case in d.use_cases:
        yield _old(d, use_case)
        if "compact_features" in deployed:
            yield from _missed(d, use_case)
    yield from _of_the_whole(d)
    yield from _of_metrics(d)


# -- lines of the log ------------------------------------------------------------------


def ours(d: DeploymentSettings) -> str:
    """Return the filter of lines that functions and training jobs write."""
    service = f'resource.labels.service_name=~"^{d.prefix}-"'
    return f'({service} OR resource.labels.job_name=~"^{d.prefix}-")'


def _any(values: Iterable[str]) -> str:
    """Return what is equal to any of some values, in the language of filters."""
    return "(" + " OR ".join(f'"{value}"' for value in values) + ")"


def _about(d: DeploymentSettings, use_case: str) -> str:
    """Return the condition that a line is of a use case, or of none of them."""
    if use_case:
        return f'jsonPayload.use_case="{use_case}"'
    return f"NOT jsonPayload.use_case={_any(d.use_cases)}"


def _of_lines(d: DeploymentSettings, use_case: str) -> Iterator[Policy]:
    """Yield the policies that each use case has, and those for all others."""
    lines = f"{ours(d)} AND {_about(d, use_case)} AND "
    yield Policy(
        alert="run_failed",
        title="a run failed",
        use_case=use_case,
        log=_failed(d, use_case),
        pause_s=AT_ONCE_S,
    )
    yield Policy(
        alert="audience_not_sent",
        title="an audience was not sent",
        use_case=use_case,
        log=lines + 'jsonPayload.function="audiences" AND '
        'jsonPayload.outcome="audience_stopped"',
        pause_s=AT_ONCE_S,
    )
    yield Policy(
        alert="bytes_billed_run",
        title="a run billed more than it should",
        use_case=use_case,
        log=lines + f"jsonPayload.bytes_billed>{d.own['alert_run_bytes']}",
    )
    yield Policy(
        alert="evaluation_missing",
        title="predictions ran without the week's evaluation",
        use_case=use_case,
        log=lines + 'jsonPayload.function="predictions" AND '
        "jsonPayload.evaluation_missing=true",
    )
    yield Policy(
        alert="no_index",
        title="lookups are queries, without an index",
        use_case=use_case,
        log=lines + 'jsonPayload.function="getProba" AND '
        'jsonPayload.outcome="no_index" AND '
        'NOT jsonPayload.message=~"^no index has been published yet"',
    )
    yield Policy(
        alert="roc_auc",
        title="ROC AUC of the evaluated week is under the bound",
        use_case=use_case,
        log=lines + 'jsonPayload.function="modelEvaluation" AND '
        f"jsonPayload.roc_auc<{d.own['alert_roc_auc']}",
    )


def _failed(d: DeploymentSettings, use_case: str) -> str:
    """Return the filter of what says that a run of a use case, or of none, failed."""
    scheduled = [function for function in functions.load() if function.schedule]
    jobs = dict[str, list[str]]()
    trainings = dict[str, str]()
    for name in d.use_cases:
        dashed = name.replace("_", "-")
        jobs[name] = [f"{d.name(function.target)}-{dashed}" for function in scheduled]
        trainings[name] = f"{d.prefix}-training-job-{dashed}"
    names = _any(camel(function.target) for function in scheduled)
    is_ours = (
        f"{ours(d)} AND {_about(d, use_case)} AND jsonPayload.function={names} AND "
        f"jsonPayload.status>=400 AND NOT jsonPayload.outcome={_any(EXPECTED)} AND "
        'NOT (jsonPayload.outcome="no_champion" AND jsonPayload.is_trained=false)'
    )
    is_clocks = (
        'resource.type="cloud_scheduler_job" AND severity>=ERROR AND '
        # It calls again after these.
        "NOT httpRequest.status=(409 OR 503) AND "
    )
    # A job that ends without a line of its own has told the scheduler 200 before.
    is_training = 'resource.type="cloud_run_job" AND severity>=ERROR AND '
    if use_case:
        clocks = is_clocks + f"resource.labels.job_id={_any(jobs[use_case])}"
        training = is_training + f'resource.labels.job_name="{trainings[use_case]}"'
        return f"({is_ours}) OR ({clocks}) OR ({training})"
    every_job = [job for names_of_jobs in jobs.values() for job in names_of_jobs]
    clocks = (
        is_clocks + f'resource.labels.job_id=~"^{d.prefix}-" AND '
        f"NOT resource.labels.job_id={_any(every_job)}"
    )
    training = (
        is_training + f'resource.labels.job_name=~"^{d.prefix}-training-job-" AND '
        f"NOT resource.labels.job_name={_any(trainings.values())}"
    )
    # Killed for its memory, a function answers 503 and writes nothing.
    services = _any(d.name(function.target) for function in scheduled)
    killed = (
        'resource.type="cloud_run_revision" AND severity>=ERROR AND '
        'log_id("run.googleapis.com/varlog/system") AND '
        f"resource.labels.service_name={services}"
    )
    return f"({is_ours}) OR ({clocks}) OR ({training}) OR ({killed})"


def _old(d: DeploymentSettings, use_case: str) -> Policy:
    days = d.own["alert_champion_days"]
    return Policy(
        alert="champion_age",
        title="the live version was trained long ago",
        use_case=use_case,
        log=f"{ours(d)} AND {_about(d, use_case)} AND "
        f"jsonPayload.champion_age_days>{days}",
    )


def _missed(d: DeploymentSettings, use_case: str) -> Iterator[Policy]:
    """Yield the policies about runs that were not done, by the compaction's lines."""
    loaded = usecases.load(use_case)
    for function in d.functions:
        kind = KINDS.get(function.target, "")
        if kind not in AGES or function.schedule is None:
            continue
        if not function.schedule.called_for([loaded]):
            continue
        days = days_until_late(kind, d.own["prediction_days"])
        yield Policy(
            alert=f"run_missed_{function.target}",
            title=f"no run of {d.name(function.target)} was done for more than "
            f"{plural(days, 'day')}",
            use_case=use_case,
            log=f'{ours(d)} AND jsonPayload.function="compactFeatures" AND '
            f"{_about(d, use_case)} AND jsonPayload.{AGES[kind]}>{days}",
        )


def _of_the_whole(d: DeploymentSettings) -> Iterator[Policy]:
    """Yield the policies about lines that are of no use case."""
    yield Policy(
        alert="events_refused",
        title="events were refused",
        log=f'{ours(d)} AND jsonPayload.function=("streamFeatures" OR "scoreStream") '
        "AND jsonPayload.reasons:*",
    )
    yield Policy(
        alert="message_not_sent",
        title="the weekly message was not sent",
        log=f'{ours(d)} AND jsonPayload.function="overview" AND '
        'jsonPayload.outcome="message_not_sent"',
    )


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
    text = re.sub(r"\]\(#", f"]({PAGE}#", text)
    text = re.sub(r"\[([^]]+)\]\((?:docs/)?([^)]+)\)", r"\1 (docs/\2)", text)
    text = text.replace("REGION", d.own["region"]).replace("PROJECT", d.project)
    text = text.replace("propensity-", f"{d.prefix}-")
    if policy.use_case:
        dashed = policy.use_case.replace("_", "-")
        text = text.replace("-ga4-purchase", f"-{dashed}")
        target = policy.alert.removeprefix("run_missed_")
        if KINDS.get(target) in AGES:
            # One section is about several functions.
            text = text.replace(f"{d.prefix}-predictions-", f"{d.name(target)}-")
    if "`propensity " in text:
        text += "\n\nOperators run `deploy/operate.sh` instead of `propensity`."
    text = f"{meanings()[policy.alert]}\n\n{text}"
    if policy.log:
        said = [f"- {name}: ${{log.extracted_label.{name}}}" for name in QUOTED]
        text = "\n".join(said) + f"\n\n{text}"
    return f"{text}\n\nFrom {PAGE}, section Alerts, {policy.alert}; see {MESSAGES}."


def in_terraform(d: DeploymentSettings) -> dict[str, Any]:
    """Return what ``terraform/alerts.tf`` makes of a deployment: policies by name."""
    return {"policies": {policy.name: _made(policy, d) for policy in policies(d)}}


def _made(policy: Policy, d: DeploymentSettings) -> dict[str, Any]:
    about = f"{policy.use_case}: " if policy.use_case else ""
    labels = {"deployment": d.prefix, "alert": policy.alert}
    if policy.use_case:
        labels["use_case"] = policy.use_case
    made: dict[str, Any] = {
        "subject": f"{d.prefix}: {about}{policy.title}",
        "severity": policy.severity,
        "labels": labels,
        "text": text_of(policy, d),
        "link": _log_of(policy, d),
    }
    if policy.log:
        made |= {"log": policy.log, "pause": f"{policy.pause_s}s", "quoted": QUOTED}
    elif "above" in policy.metric:
        made["metric"] = policy.metric
    else:
        made["absent"] = policy.metric
    return made


def _log_of(policy: Policy, d: DeploymentSettings) -> str:
    """Return the address of the log, where it has the lines of an alert."""
    lines = ours(d)
    if policy.use_case:
        lines += f" AND {_about(d, policy.use_case)}"
    query = quote(f"{lines} AND severity>=WARNING", safe="")
    address = "https://console.cloud.google.com/logs/query"
    return f"{address};query={query}?project={d.project}"
