"""What people read of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from propensity.measures.verdicts import MINIMUM_BUYERS, OPEN, verdict_of
from propensity.pages.words import about, count, plural, signed

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
        f"{count(answer['matched'])} of {plural(answer['orders'], 'row')} since then "
        "are of the list's users.",
    ]
    if answer["buyers"]:
        lines.append(
            f"Contacting {contacted} brought {_with_interval(answer['buyers'], who)}."
        )
    lines += money_lines(answer)
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
        lines = [
            f"Nothing new: {answer['list']} is the list of {answer['as_of']}, and the "
            f"next one is due on {answer['next']}."
        ]
        return "\n".join(lines + noticed(answer))
    lines = [
        f"{answer['contacts']} has the {plural(answer['contacted'], 'user')} to "
        f"contact as of {answer['as_of']}, the best first. {answer['list']} has them "
        f"with the {count(answer['held_out'])} of the control group, whom you leave "
        "out."
    ]
    if answer["who_words"]:
        lines.append(f"Who they are: {answer['who_words']}")
    if answer["provable"]:
        lines.append(f"{answer['provable']}.")
    if answer["never"]:
        lines.append(_found_text(answer["never"], "--never", "today's scored users"))
    lines += noticed(answer)
    lines += _together_lines(answer)
    lines.append(f"{answer['page']} shows all lists.")
    return "\n".join(lines)


def list_in_folder(answer: Mapping[str, Any]) -> str:
    """Write what a list brought that a folder took in, or when that is known."""
    lines = [f"{answer['judged']} is the list of {answer['since']} now."]
    if answer["found"] is not None and answer["found"] < answer["listed"]:
        lines.append(
            f"{count(answer['found'])} of its {plural(answer['listed'], 'user')} have "
            "events in the export; the others are nobody's there."
        )
    lines += noticed(answer)
    lines += _together_lines(answer)
    lines.append(f"{answer['page']} shows all lists.")
    return "\n".join(lines)


def forgotten(answer: Mapping[str, Any]) -> str:
    """Write who was removed, and which files a person has to look into."""
    lines = [
        _found_text(answer, "--forget", "the users of these lists"),
        f"{plural(answer['removed'], 'row')} removed. None of these users is listed "
        "again.",
    ]
    if answer["unread"]:
        names = ", ".join(answer["unread"])
        lines.append(f"Nobody was removed from {names}, which are no lists in CSV.")
    return "\n".join(lines)


def _found_text(found: Mapping[str, Any], option: str, whose: str) -> str:
    text = f"Of {plural(found['ids'], 'id')} of {option}, {count(found['found'])} "
    others = found["ids"] - found["found"]
    return f"{text}found among {whose}, {count(others)} nobody's."


def noticed(answer: Mapping[str, Any]) -> list[str]:
    """Write which lists are missing, wait for days or are not as they were."""
    lines = []
    if answer["without_list"]:
        days = ", ".join(map(str, answer["without_list"]))
        lines.append(f"No list was written for {days}: the export lacked its days.")
    for week in answer["not_judged"]:
        days = ", ".join(map(str, week["lacked"]))
        lines.append(
            f"The list of {week['as_of']} is not judged: the export lacks {days}."
        )
    if answer["differences"]:
        lines.append(
            f"{'; '.join(answer['differences'])}. That changes no result: the folder "
            "has a copy of its own."
        )
    return lines


def _together_lines(answer: Mapping[str, Any]) -> list[str]:
    """Write what all judged lists of a folder brought: no money without interval."""
    together = answer["together"]
    contacted = plural(together["contacted"], "user")
    lines = []
    if together["buyers"]:
        buyers = _with_interval(together["buyers"], "buyers")
        lines.append(f"Contacting {contacted} brought {buyers}.")
    lines.append(brought_text(together, answer["label_event"], answer["final_on"]))
    lines += money_lines(together)
    return lines


def money_lines(together: Mapping[str, Any]) -> list[str]:
    """Write what contacted users paid more, once there is an interval."""
    amount = together["amount"]
    if not amount:
        return []
    if amount["low"] is None:
        return [
            "What they paid can't be compared yet: it takes "
            f"{MINIMUM_BUYERS} buyers in each group."
        ]
    currency = together.get("currency", "")
    lines = [f"They paid {_money(amount, currency)} more."]
    if together.get("profit"):
        profit = _money(together["profit"], currency)
        lines.append(
            f"The profit is {profit}: the first contact of each cost "
            f"{about(together['cost'], currency)}; later contacts, and what they "
            "brought, are not counted."
        )
    return lines


def _money(difference: Mapping[str, Any], currency: str) -> str:
    value = f"{signed(difference['estimate'], about)} {currency}".rstrip()
    low = signed(difference["low"], about)
    return f"{value} (between {low} and {signed(difference['high'], about)})"


def folder_headline(together: Mapping[str, Any]) -> str:
    """Write what contacting brought, by the verdict; "" before any list is judged."""
    if not together["lists"]:
        return ""
    contacted = plural(together["contacted"], "user")
    return verdict_of(together["verdict"]).headline.format(contacted=contacted)


def did_of(event: str) -> str:
    return "bought" if event == "purchase" else f"had {event}"


def brought_text(
    together: Mapping[str, Any], event: str, final_on: object = None
) -> str:
    """Write what the verdict on all lists of a folder means."""
    if not together["lists"]:
        return (
            f"Come back on {final_on}: then it is known who of the first list "
            f"{did_of(event)}."
        )
    text = verdict_of(together["verdict"]).folder.format(did=did_of(event))
    if together["lists_left"]:
        text += f" At this size about {plural(together['lists_left'], 'more list')} "
        text += "would decide it."
    return text


def _with_interval(difference: Mapping[str, Any], noun: str) -> str:
    value = f"{difference['estimate']:+,.0f} {noun}"
    if difference["low"] is None:
        return f"{value} (too few for an interval)"
    low = f"{difference['low']:+,.0f}"
    return f"{value} (between {low} and {difference['high']:+,.0f})"
