"""What people read about audiences: a preview, a delivery, a ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from propensity.cli.tables import aligned, day_text
from propensity.pages.words import (
    amount,
    chosen_by,
    count,
    infinitive,
    plural,
    share,
)

Answer = Mapping[str, Any]
# No larger effect is a goal of anybody: twice as many buyers.
MOST = 1.0
DECILES = {
    "group": "group",
    "users": "users",
    "conversions": "expected",
    "value": "expected revenue",
    "cost": "cost",
    "pays_from": "pays from an effect of",
}
LEDGER = {
    "as_of": "date",
    "destination": "to",
    "added": "added",
    "removed": "removed",
    "rejected": "rejected",
    "pending": "pending",
    "control": "control",
    "selection": "chosen by",
}


def previewed(answer: Answer, *, effect: float | None, currency: str) -> str:
    """
    Return what a delivery would do, what it may bring, and what it can show.

    Args:
        effect: The lift that the audience's file hopes for; None for none.
        currency: Of the use case; may be empty.
    """
    to_add = answer["treated"] - answer["sent_before"]
    what = [f"{plural(to_add, 'user')} to add"]
    if answer["to_remove"]:
        what.append(f"{count(answer['to_remove'])} to remove")
    control = f"control group of {count(answer['held_out'])}"
    lines = [
        f"{_named(answer)}. Nothing was sent.",
        "",
        f"{', '.join(what)}; {control} ({share(answer['control_share'])}).",
        f"Members: {count(answer['members'])}, {chosen_by(answer['selection'])}.",
    ]
    if answer["members_before"] is not None:
        lines[-1] += f" The date before had {count(answer['members_before'])}."
    if answer["explored"]:
        lines.append(f"Drawn at random: {plural(answer['explored'], 'member')}.")
    if answer["suppressed"]:
        users = plural(answer["suppressed"], "suppressed user")
        lines.append(f"Left out: {users}.")
    lines.append(
        f"Of {plural(answer['treated'], 'contacted user')}, about "
        f"{count(answer['expected'])} are expected {infinitive(answer['outcome'])} "
        "even without being contacted."
    )
    if answer["cost"] is not None:
        lines.append(f"Contacting them costs {amount(answer['cost'], currency)}.")
    if answer["validated"]:
        said = answer["validated"]
        if said == "yes":
            said = "it would take the first request"
        lines.append(f"The receiver says: {said}.")
    lines += ["", provable(answer, effect)]
    if answer["is_stopped"]:
        lines.append("It is stopped: nothing is sent until you resume it.")
    for warning in answer.get("warnings", ()):
        lines.append(f"Warning: {warning}")
    if answer["deciles"]:
        rows = [_decile(row) for row in answer["deciles"]]
        unit = f"; money in {currency}" if currency else ""
        lines += ["", f"All who may be members, the best first{unit}:"]
        lines.append(aligned(DECILES, rows))
    return "\n".join(lines)


def _named(answer: Answer) -> str:
    when = day_text(answer["as_of"])
    return f"{answer['audience']} of {when}, to {answer['destination']}"


def provable(answer: Answer, effect: float | None) -> str:
    """Say which effect the audience can show, and when it shows the hoped one."""
    rows = [row for row in answer["power"] if row["smallest_lift"] is not None]
    hoped = "" if effect is None else f" Hoped for: {_effect(effect)}."
    wanted = MOST if effect is None else effect
    enough = [row for row in rows if row["smallest_lift"] <= wanted]
    if not enough:
        return _hopeless(answer, wanted)
    if effect is None:
        return _least(rows[-1])
    if enough[0] is rows[0]:
        return f"{_least(rows[0])}{hoped}"
    before = rows[rows.index(enough[0]) - 1]
    return (
        f"{_least(before)}{hoped} You reach that after "
        f"{plural(enough[0]['weeks'], 'week')} "
        f"({100 * enough[0]['smallest_lift']:.0f}%)."
    )


def _hopeless(answer: Answer, effect: float) -> str:
    """Say that nothing can be proved, and how many members it would take."""
    text = f"This audience can't prove an effect of {_effect(effect)}"
    if answer["members_needed"] is None:
        return f"{text}."
    needed = count(answer["members_needed"])
    return f"{text}: so few are expected. With {needed} members it could."


def _least(row: Answer) -> str:
    return (
        f"After {plural(row['weeks'], 'week')} you can show an effect of "
        f"{_effect(row['smallest_lift'])} or more."
    )


def _effect(lift: float | None) -> str:
    return "" if lift is None else f"{100 * lift:+.0f}%"


def _decile(row: Answer) -> dict[str, str]:
    group = "top 10%" if row["decile"] == 1 else "next 10%"
    shown = {"group": group, "users": count(row["users"])}
    shown["conversions"] = count(row["conversions"])
    for name in ("value", "cost"):
        shown[name] = "" if row[name] is None else amount(row[name])
    shown["pays_from"] = _effect(row["pays_from"])
    return shown


def sent(answer: Answer) -> str:
    """Return what became of the users of a delivery."""
    done = {"add": "added", "remove": "removed"}
    parts = []
    reasons = Counter[str]()
    for action, counts in answer["tallies"].items():
        if counts["sent"]:
            users = count(counts["accepted"])
            if action == "add":
                users = plural(counts["accepted"], "user")
            parts.append(f"{users} {done[action]}")
        reasons.update(counts["rejected"])
    control = f"control group of {count(answer['held_out'])}"
    if not parts:
        parts.append("nobody new")
    lines = [f"{_named(answer)}: {', '.join(parts)}; {control}."]
    if answer["destination"] == "csv":
        folder = f"{answer['use_case']}/{answer['audience']}/{answer['as_of']}"
        lines.append(
            f"The list: `propensity audience list {answer['audience']}`, or the file "
            f"in the bucket under audiences/{folder}/"
        )
    lines += _rejected(reasons)
    if answer["pending"]:
        lines.append(f"{plural(answer['pending'], 'user')}: no answer yet.")
    return "\n".join(lines)


def ended(answer: Answer) -> str:
    """Return who was taken off which list, or who is on one."""
    lines = []
    for entry in answer["lists"]:
        if "tallies" in entry:
            lines.append(sent(entry))
            continue
        users = plural(entry["users"], "user")
        where = f"on the list of {entry['destination']}"
        lines.append(f"{users} of {entry['audience']} {where}. Nothing was sent.")
    return "\n".join(lines)


def stopped(answer: Answer) -> str:
    """Return which audiences are stopped, what waits of them, and how to go on."""
    lines = []
    for state in answer["audiences"]:
        what = "is stopped" if state["is_stopped"] else "goes on with the next delivery"
        line = f"{state['audience']} of {state['use_case']} {what}."
        if state["is_stopped"] and state["is_under_way"]:
            line += " A delivery is under way, and ends before its next request."
        line += f" {plural(state['to_add'], 'user')} to add"
        line += f" and {count(state['to_remove'])} to remove are pending,"
        line += f" {plural(state['on_lists'], 'user')} on lists of receivers."
        lines.append(line)
    if not lines:
        lines.append("There are no audiences.")
    return "\n".join(lines)


def _rejected(reasons: Mapping[str, int]) -> list[str]:
    if not reasons:
        return []
    parts = []
    for reason, users in reasons.items():
        parts.append(f"{users:,} {reason if reason else 'no reason'}")
    return [f"Rejected by the receiver: {', '.join(parts)}."]


def experiment(answer: Answer) -> str:
    """Say what an audience's history has, and how to try it."""
    file = answer["file"]
    contacted = plural(answer["contacted"], "contacted user")
    return (
        f"{file} has {contacted} and a control group of {count(answer['control'])}. "
        f"See what contacting added:\npropensity try {file} --user user_id "
        "--treatment group --control control --label label"
    )


def ledger(answer: Answer) -> str:
    """Return what became of an audience's users by date, and what that brought."""
    lines = [f"{answer['audience']} of {answer['use_case']}"]
    if answer.get("says"):
        lines.append(answer["says"])
    rows = []
    reasons = Counter[str]()
    for members in answer["members"]:
        deliveries = [
            row for row in answer["users"] if row["as_of"] == members["as_of"]
        ]
        names = list(dict.fromkeys(row["destination"] for row in deliveries))
        if not names:
            names.append("not sent yet")
        for name in names:
            of_name = [row for row in deliveries if row["destination"] == name]
            rows.append(_delivered(members, name, of_name))
    for row in answer["users"]:
        if row["status"] == "rejected":
            reasons[row["reason"]] += row["users"]
    lines += ["", aligned(LEDGER, rows)]
    if reasons:
        lines.append("")
        lines += _rejected(reasons)
    return "\n".join(lines)


def programme(answer: Answer) -> str:
    """Return what all audiences of each control group brought together."""
    paragraphs = ["\n".join(group["says"]) for group in answer["programmes"]]
    if not paragraphs:
        paragraphs.append("No audience has outcomes yet.")
    if answer["apart"]:
        paragraphs.append(f"{answer['apart']}.")
    return "\n\n".join(paragraphs)


def _delivered(
    members: Answer, destination: str, rows: Sequence[Answer]
) -> dict[str, str]:
    counts = Counter[str]()
    for row in rows:
        name = row["status"]
        if name == "accepted":
            name = "added" if row["action"] == "add" else "removed"
        elif name == "waiting":
            name = "pending"
        counts[name] += row["users"]
    shown = {"as_of": day_text(members["as_of"]), "destination": destination}
    for name in ("added", "removed", "rejected", "pending"):
        shown[name] = count(counts[name])
    shown["control"] = count(members["control_users"])
    selection = members["selection"]
    shown["selection"] = "" if selection is None else chosen_by(selection)
    return shown
