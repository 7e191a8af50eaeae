"""
The weekly message: five sentences about what the dashboard shows, which one chat gets.

They name use cases and audiences, and have no user, no value of an event and no word of
a receiver. A chat that fails never fails the run: the log has a line, which raises an
alert.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from propensity.audience.destinations import chat
from propensity.audience.programme import programme_lines
from propensity.dashboard.cases import Case
from propensity.dashboard.pages import Dashboard
from propensity.errors import PropensityError, Unavailable
from propensity.gcp import secrets
from propensity.gcp.artifacts import json_of
from propensity.pages.findings import PAGE, meanings
from propensity.pages.words import period, plain_day, plural
from propensity.weeks.judged import conversions_text

if TYPE_CHECKING:
    from propensity.runs.run import Run

# Google Chat takes 4,096 bytes, and nobody reads more.
MOST = 5
# Predictions and members that are older are no news.
NEWS = timedelta(days=14)


def sentences(read: Dashboard, *, link: str) -> list[str]:
    """Return the five sentences."""
    brought = list[str]()
    alone = list[tuple[str, str]]()
    verdicts = list[str]()
    needs = list[str]()
    chosen = list[str]()
    for case in read.cases:
        # Two use cases may have audiences of one name.
        suffix = ""
        if len(read.cases) > 1:
            suffix = f" of {case.name}"
        # Audiences whose sum is in that of their control group.
        told = list[str]()
        for together in case.together:
            audiences = [f"{name}{suffix}" for name in together.audiences]
            named = replace(together, audiences=audiences)
            if len(audiences) > 1 or together.shared_with:
                brought.append(programme_lines(named, case.facts.unit)[0])
                told += together.audiences
        for row in case.uplifts:
            if row["audience"] not in told:
                alone.append((f"{row['audience']}{suffix}", row["said"]))
        verdicts += _verdicts(case)
        for action in case.actions:
            needs.append(f"{case.title}: {action.text} {action.meaning}")
        chosen += _chosen(case, suffix)
    if len(alone) == 1 and not brought:
        [(_, said)] = alone
        brought.append(said)
    else:
        brought += [f"{audience}: {said}" for audience, said in alone]
    if read.letters:
        count = plural(read.letters, "message")
        meaning = meanings()["events_refused"]
        needs.append(f"{count} could not be processed. {meaning}")
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


def _listed(what: str, parts: Sequence[str], none: str) -> str:
    """Return a sentence with its parts, or that there are none."""
    if not parts:
        return f"{what}: {none}"
    shown = list(parts[:MOST])
    if len(parts) > MOST:
        shown.append(f"The dashboard has {len(parts) - MOST} more.")
    return f"{what}: {' '.join(shown)}"


def _verdicts(case: Case) -> Iterator[str]:
    """Yield how the newest week was whose outcomes are over, and what the next will."""
    days = case.facts.horizon_days
    for week in case.weeks[:1]:
        if case.as_of - week["week_end"] > NEWS:
            continue
        what = f"{case.title} ({period(days)} of {plain_day(week['week'])})"
        if case.judged is not None:
            what += f": {case.judged.text}"
            if case.judged.verdict != "not judged":
                what += f", {case.judged.verdict}"
        yield f"{what}."
    for published in case.rows["publications"][:1]:
        if case.as_of - published["as_of"] <= NEWS:
            since = plain_day(published["as_of"])
            when = f"{case.title} ({period(days)} from {since} on)"
            yield f"{when}: {conversions_text(published, days)}."


def _chosen(case: Case, suffix: str) -> Iterator[str]:
    """Yield the audiences that were chosen last, with their sizes."""
    told = set[str]()
    for row in case.rows["audiences"]:
        # The newest date comes first; audiences are sent on different days.
        if row["audience"] in told or case.as_of - row["as_of"] > NEWS:
            continue
        told.add(row["audience"])
        contacted = row["members"] - row["held_out"]
        text = f"{row['audience']}{suffix}: {plural(contacted, 'user')}"
        if row["held_out"]:
            text += f", and a control group of {row['held_out']:,}"
        yield f"{text}, by predictions of {plain_day(row['as_of'])}."


def link_of(bucket: str) -> str:
    """Return the address at which a browser that is logged in shows the dashboard."""
    return f"https://storage.cloud.google.com/{bucket}/dashboard/index.html"


def send_message(run: Run, read: Dashboard) -> dict[str, object]:
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
    said = sentences(read, link=link)
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
