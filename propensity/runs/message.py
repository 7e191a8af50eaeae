"""
The weekly message: five sentences about stored rows, which one chat gets once a week.

They name use cases and audiences, and have no user, no value of an event and no word of
a receiver. A chat that fails never fails the run: the log has a line, which raises an
alert.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from propensity import usecases
from propensity.audience import declared, stop_file
from propensity.audience.destinations import chat
from propensity.audience.programme import programme_lines, read_programmes
from propensity.audience.result import results, sentence
from propensity.errors import (
    AudienceStopped,
    AudienceWaits,
    MissingTable,
    PropensityError,
    Unavailable,
    UseCaseError,
)
from propensity.gcp import secrets
from propensity.gcp.artifacts import json_of
from propensity.pages.findings import PAGE, meanings
from propensity.pages.words import Plain, cleaned, period, plain_day, plural
from propensity.registry.deployment import Deployment, of_use_case
from propensity.registry.leases import name_of, read_lease
from propensity.runs.late import AGES, EXPORT_STOPPED_DAYS, is_late
from propensity.statements import statement
from propensity.tables.models import Evaluation
from propensity.timeframe import DAY
from propensity.weeks.judged import conversions_text, judgement_of

if TYPE_CHECKING:
    from propensity.gcp.artifacts import Artifacts
    from propensity.gcp.warehouse import Warehouse
    from propensity.runs.run import Run
    from propensity.settings import Settings
    from propensity.usecases import UseCase

# Google Chat takes 4,096 bytes, and nobody reads more.
MOST = 5
# Evaluations that are older are no news.
NEWS = 14 * DAY
# Days since the last message; audiences may be sent on any.
WEEK = 7
# Days of messages that could not be processed.
LETTERS = 7 * DAY


def sentences(
    of_use_cases: Sequence[Deployment], *, as_of: date, link: str
) -> list[str]:
    """Return the five sentences."""
    brought = list[str]()
    alone = list[tuple[str, str]]()
    verdicts = list[str]()
    needs = list[str]()
    chosen = list[str]()
    # Audiences whose sum is in that of their control group.
    told = list[str]()
    names = Names(of_use_cases)
    for deployment in of_use_cases:
        use_case = deployment.use_case
        currency = use_case.currency
        for together in read_programmes(deployment, until=as_of):
            audiences = [names.of(use_case, name) for name in together.audiences]
            said = programme_lines(replace(together, audiences=audiences), currency)[0]
            if len(audiences) > 1 or together.shared_with:
                brought.append(said)
                told += audiences
        for name, result in results(deployment, until=as_of).items():
            audience = names.of(use_case, name)
            if audience not in told:
                alone.append((audience, sentence(result, currency)))
            verdict = result.verdict
            if verdict.finding:
                needs.append(_said(verdict.finding, f"{audience} {verdict.problem}."))
        week = _newest_week(deployment, as_of)
        verdicts += _verdicts(deployment, names, as_of, week)
        needs += _needs(deployment, names, as_of, week)
        chosen += _chosen(deployment, names, as_of)
    if len(alone) == 1 and not brought:
        [(_, said)] = alone
        brought.append(said)
    else:
        brought += [f"{audience}: {said}" for audience, said in alone]
    if of_use_cases:
        needs += _letters(of_use_cases[0], as_of)
    said_of_needs = _listed("What needs a person", needs, "nothing.")
    if needs:
        said_of_needs += f" Whose is it? {PAGE}."
    return [
        _listed("What contacting brought", brought, "no audience has outcomes yet."),
        _listed("How good the predictions were", verdicts, "none was evaluated yet."),
        said_of_needs,
        _listed("Whom to contact next", chosen, "no audience was chosen this week."),
        f"Dashboard: {link}",
    ]


class Names:
    """Names of audiences, and titles of use cases, that tell them apart."""

    def __init__(self, of_use_cases: Sequence[Deployment]) -> None:
        counts = Counter[str]()
        for deployment in of_use_cases:
            use_case = deployment.use_case
            counts.update({*declared.audience_names(use_case), use_case.title})
        self._repeated = {name for name, times in counts.items() if times > 1}

    def of(self, use_case: UseCase, name: str) -> str:
        """Return a name, with its use case where several have it."""
        text = cleaned(name)
        return f"{text} of {use_case.name}" if name in self._repeated else text


def link_of(bucket: str) -> str:
    """Return the address at which a browser that is logged in shows the dashboard."""
    return f"https://storage.cloud.google.com/{bucket}/dashboard/index.html"


def deployments(
    settings: Settings, warehouse: Warehouse, artifacts: Artifacts
) -> tuple[list[Deployment], list[UseCaseError]]:
    """Return the deployment for each use case, and the errors of wrong ones."""
    use_cases, wrong = usecases.load_all()
    opened = []
    for use_case in use_cases.values():
        opened.append(
            of_use_case(use_case, settings, warehouse=warehouse, artifacts=artifacts)
        )
    return opened, wrong


def send_message(run: Run) -> dict[str, object]:
    """
    Send the message of the week, if a chat is set and it was not sent yet.

    An object with the week's name says so. It is there before the chat is asked: a run
    that is repeated, or killed, sends nothing twice. It goes where the message has
    certainly not come, so that a later run sends it. A forced run sends it again.
    """
    secret = run.settings.message_secret
    if not secret:
        return {"weekly_message": "off"}
    year, week, _ = run.as_of.isocalendar()
    name = f"messages/{year}-W{week:02}.json"
    before = run.artifacts.find(name)
    if before is not None and not run.overrides.tells_again:
        return {"weekly_message": "sent before"}
    link = link_of(run.settings.required("bucket"))
    opened, wrong = deployments(run.settings, run.warehouse, run.artifacts)
    for error in wrong:
        run.log("ERROR", error.message)
    said = sentences(opened, as_of=run.as_of, link=link)
    content = json_of({"run_id": run.run_id, "as_of": run.as_of.isoformat()})
    run.check_lease()
    run.artifacts.replace(name, content, before)
    may_have_come = False
    try:
        refusal = chat.post(secrets.reader(run.settings)(secret), said)
    except Unavailable as error:
        refusal = error.message
        may_have_come = True
    except PropensityError as error:
        refusal = error.message
    if not refusal:
        return {"weekly_message": "sent", "sentences": said}
    if before is None and not may_have_come:
        run.artifacts.delete(name)
    problem = f"the weekly message was not sent: {refusal}"
    run.log("ERROR", problem, outcome="message_not_sent")
    return {"weekly_message": "not sent", "sentences": said}


def _listed(what: str, parts: Sequence[str], none: str) -> str:
    """Return a sentence with its parts, or that there are none."""
    if not parts:
        return f"{what}: {none}"
    shown = list(parts[:MOST])
    if len(parts) > MOST:
        shown.append(f"{len(parts) - MOST} more are on the dashboard.")
    return f"{what}: {' '.join(shown)}"


def _said(word: str, text: str) -> str:
    """Return a finding with what it means, and who does what."""
    return f"{text} {meanings()[word]}"


def _newest_week(deployment: Deployment, as_of: date) -> Plain | None:
    """Return the newest week whose outcomes are over; None without one."""
    use_case = deployment.use_case
    since = as_of - NEWS - use_case.timeframe(deployment.settings).horizon
    rows = deployment.read(Evaluation, "evaluations", since=since, until=as_of)
    measured = [row for row in rows if row.metrics and row.metrics.users]
    return measured[-1].columns() if measured else None


def _verdicts(
    deployment: Deployment, names: Names, as_of: date, week: Plain | None
) -> Iterator[str]:
    """Yield how the newest week was whose outcomes are over, and what the next will."""
    use_case = deployment.use_case
    days = use_case.horizon_days
    title = names.of(use_case, use_case.title)
    if week is not None:
        what = f"{title} ({period(days)} of {plain_day(week['week'])})"
        judgement = judgement_of(week, days, use_case.currency)
        if judgement is not None:
            what += f": {judgement.text}"
            if judgement.verdict != "not judged":
                what += f", {judgement.verdict}"
        yield f"{what}."
    window = {"since": as_of - NEWS, "until": as_of}
    for published in deployment.rows("newest_publication", **window):
        when = f"{title} ({period(days)} from {plain_day(published['as_of'])} on)"
        yield f"{when}: {conversions_text(published, days)}."


def _needs(
    deployment: Deployment, names: Names, as_of: date, week: Plain | None
) -> Iterator[str]:
    use_case = deployment.use_case
    title = names.of(use_case, use_case.title)
    if not use_case.kind.is_published:
        return
    if week is not None:
        judgement = judgement_of(week, use_case.horizon_days)
        if judgement is not None and judgement.is_alarm:
            span = period(use_case.horizon_days)
            when = f"The {span} of {plain_day(week['week'])} of {title}"
            yield _said("season", f"{when} is far off.")
    age = _known_age(deployment.artifacts, use_case.name, as_of=as_of)
    has_stopped = age > EXPORT_STOPPED_DAYS
    if has_stopped:
        since = plain_day(as_of - age * DAY)
        yield _said(
            "export_stopped", f"The GA4 export of {title} lacks all since {since}."
        )
    newest = deployment.rows("newest_publication", since=date(1970, 1, 1), until=as_of)
    for publication in newest:
        day = publication["as_of"]
        alarms = deployment.rows("alarms_to_report", since=day, until=as_of)
        if alarms:
            count = plural(len(alarms), "drift warning")
            yield _said("drift", f"{title} has {count}.")
        predicted = use_case.chosen_prediction_days(deployment.settings)
        is_old = is_late("predict", day, as_of, predicted)
        # Predictions of an export that has stopped are as old as it.
        if is_old and not has_stopped:
            text = f"{title} has no predictions since {plain_day(day)}."
            yield _said("run_missed_predictions", text)
    for days in reversed(range(WEEK)):
        day = as_of - days * DAY
        name = name_of(use_case.name, declared.RUNS, day)
        _, file = read_lease(deployment.artifacts, name)
        if file.error in (AudienceStopped.__name__, AudienceWaits.__name__):
            text = f"Audiences of {title} were not sent whole on {plain_day(day)}."
            yield _said("audience_not_sent", text)
    stopped = stop_file.read(deployment.artifacts)
    for audience in declared.audience_names(use_case):
        called = names.of(use_case, audience)
        if stopped.covers(use_case.name, audience):
            yield _said("stopped", f"{called} is stopped.")
        rows = deployment.rows("audience_deliveries", audience=audience)
        newest_day = max((row["as_of"] for row in rows), default=as_of)
        for status in ("pending", "rejected"):
            users = 0
            for row in rows:
                if row["status"] == status and row["as_of"] == newest_day:
                    users += row["users"]
            if users:
                who = plural(users, "user")
                yield _said(status, f"{who} of {called} are {status}.")


def _letters(deployment: Deployment, as_of: date) -> Iterator[str]:
    window = {"since": as_of - LETTERS + DAY, "until": as_of}
    try:
        [row] = deployment.warehouse.rows(statement("dead_letter_count"), window)
    except MissingTable:
        return
    if row["messages"]:
        count = plural(row["messages"], "message")
        yield _said("events_refused", f"{count} could not be processed.")


def _chosen(deployment: Deployment, names: Names, as_of: date) -> Iterator[str]:
    """Yield the audiences that were chosen last, with their sizes."""
    for audience in declared.audience_names(deployment.use_case):
        rows = deployment.rows("audience_selections", audience=audience)
        earlier = [row for row in rows if row["as_of"] <= as_of]
        for row in earlier[:1]:
            if as_of - row["as_of"] > NEWS:
                continue
            contacted = row["users"] - row["control_users"]
            called = names.of(deployment.use_case, audience)
            text = f"{called}: {plural(contacted, 'user')}"
            if row["control_users"]:
                text += f", and a control group of {row['control_users']:,}"
            yield f"{text}, by predictions of {plain_day(row['as_of'])}."


def _known_age(artifacts: Artifacts, use_case: str, *, as_of: date) -> int:
    """Return ``export_age_days`` of the newest run of the last week; 0 without one."""
    for back in range(7):
        for kind in reversed(AGES):
            name = name_of(use_case, kind, as_of - back * DAY)
            _, file = read_lease(artifacts, name)
            days = file.answer.get("export_age_days") if file.answer else None
            if isinstance(days, int):
                return days
    return 0
