"""What people read of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from propensity.measures.verdicts import OPEN, verdict_of
from propensity.pages.words import count, plural

ONCE = (
    "This is right once, not weekly: a deployment predicts each week, keeps the "
    "control group, adds up what contacting brought, and sends to your tools."
)


def tried_export(answer: Mapping[str, Any]) -> str:
    """Write what an export can predict, and where report and list are."""
    would = "would" if answer["would_go_live"] else "would not"
    lines = [f"{answer['claim']}.", f"It {would} go live: {answer['verdict']}."]
    if answer["who_words"]:
        chosen = "the list" if answer["scores"] else "the best 10% of the test set"
        lines.append(f"Who is in {chosen}: {answer['who_words']}")
    lines += [f"{note}." for note in answer["notes"]]
    if answer["against"]:
        lines.append(answer["against"]["sentence"])
    lines.append(f"The report is in {answer['report']}.")
    if answer["scores"]:
        listed = plural(answer["listed"], "user")
        lines.append(f"The best {listed} are in {answer['scores']}.")
    if answer["provable"]:
        lines.append(f"{answer['provable']}.")
        lines.append(
            f"The control group is drawn by {answer['key']}: keep it, so that the next "
            "list holds out the same people."
        )
    lines.append(ONCE)
    return "\n".join(lines)


def what_contacting_brought(answer: Mapping[str, Any]) -> str:
    """Write what contacting the users of a list brought."""
    until = f" to {answer['until']}" if answer["until"] else ""
    contacted = plural(answer["contacted"], "user")
    event = answer["label_event"]
    did = did_of(event)
    who = "buyers" if event == "purchase" else f"users with {event}"
    lines = [
        f"Since {answer['since']}{until}, {count(answer['contacted_buyers'])} of "
        f"{contacted} who were contacted {did}, and "
        f"{count(answer['control_buyers'])} of {count(answer['control'])} in the "
        "control group.",
    ]
    if answer["orders"] is not None:
        lines.append(
            f"{count(answer['matched'])} of {plural(answer['orders'], 'row')} since "
            "then are of the list's users."
        )
    if answer["buyers"]:
        lines.append(
            f"Contacting {contacted} brought {_with_interval(answer['buyers'], who)}."
        )
    if answer["amount"]:
        lines.append(f"They paid {_with_interval(answer['amount'], 'more')}.")
    verdict = verdict_of(answer["verdict"])
    known_on = answer["known_on"]
    if verdict is OPEN and answer["until"] and answer["until"] < known_on:
        lines.append(
            f"That is too early to say: the outcomes are known from {known_on} on."
        )
    else:
        lines.append(verdict.terminal.format(did=did))
    lines.append(ONCE)
    return "\n".join(lines)


def week_of_folder(answer: Mapping[str, Any]) -> str:
    """Write whom the list of a week names, and what the lists before brought."""
    if not answer["is_new"]:
        return (
            f"Nothing new: {answer['list']} is the list of {answer['as_of']}, and the "
            f"next one is of {answer['next']}."
        )
    lines = [
        f"{answer['list']} is the list of {answer['as_of']}: contact "
        f"{plural(answer['contacted'], 'user')}, and leave the "
        f"{count(answer['held_out'])} of the control group out."
    ]
    together = answer["together"]
    if together["amount"]:
        sum_text = _with_interval(together["amount"], "more")
        lines.append(f"The lists before brought {sum_text}.")
    elif together["buyers"]:
        buyers = _with_interval(together["buyers"], "buyers")
        lines.append(f"The lists before brought {buyers}.")
    if together["profit"]:
        lines.append(
            f"The profit is {_with_interval(together['profit'], 'after cost')}."
        )
    lines.append(brought_text(together, answer["label_event"]))
    lines.append(f"{answer['page']} shows all lists.")
    return "\n".join(lines)


def forgotten(answer: Mapping[str, Any]) -> str:
    """Write how many rows went, and what keeps these people out of the next lists."""
    rows = plural(answer["removed"], "row")
    return (
        f"{rows} removed. Until Analytics has deleted these users, name the file by "
        "--never, too."
    )


def did_of(event: str) -> str:
    return "bought" if event == "purchase" else f"had {event}"


def brought_text(together: Mapping[str, Any], event: str) -> str:
    """Write what the verdict on all lists of a folder means."""
    if not together["lists"]:
        return "What contacting brings is said once the outcomes of a list are final."
    return verdict_of(together["verdict"]).terminal.format(did=did_of(event))


def _with_interval(difference: Mapping[str, Any], noun: str) -> str:
    value = f"{difference['estimate']:+,.1f} {noun}"
    if difference["low"] is None:
        return f"{value} (too few for an interval)"
    low = f"{difference['low']:+,.1f}"
    return f"{value} (95% interval {low} to {difference['high']:+,.1f})"
