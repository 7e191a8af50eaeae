"""
Lists that can be judged: whom to contact, a control group, and what contacting brought.

A control group is drawn as that of an audience, by a key in the list's folder: so the
next list there holds out the same people. A month later the list is read back beside
what its users bought. Its columns say what it is of: its date, the event that is
predicted and in how many days, and the share of its control group.
"""

from __future__ import annotations

import contextlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from propensity import whole_files
from propensity.audience.control import Control
from propensity.budget import Budget
from propensity.errors import RequestError, SchemaError
from propensity.measures.gain import Gain, gained
from propensity.measures.intervals import NORMAL
from propensity.measures.money import exact_money
from propensity.measures.power import power, smallest_uplift
from propensity.measures.uplift import figures
from propensity.pages.words import plural
from propensity.spreadsheet import id_of_cell
from propensity.table_files import files as table_files
from propensity.table_files.texts import refuse
from propensity.tables.audiences import Figures, GroupSums
from propensity.trying.export import (
    ExportTrial,
    event_of,
    told,
    try_export,
)
from propensity.trying.first_look.columns import check_once, check_users
from propensity.trying.first_look.who import traits_text
from propensity.trying.tables import check_files, ids_of_cells, write_scores

# How many of the best a list of an export has.
BEST = 500
# In the folder of a list.
KEY = "propensity-control.key"
GROUP = "group"
CONTACT = "contact"
CONTROL = "control"
# The most of a list that is held out.
MOST_SHARE = 0.9
# Of a list of real shops about a quarter is on no list before.
NEW_SHARE = 0.25
# A control group that shows more, where few users are listed.
LARGER = 0.3
# What holds for a whole list, and is in each of its rows.
FACTS = {
    "as_of": "DATE",
    "label_event": "STRING",
    "horizon_days": "INT64",
    "control_share": "FLOAT64",
}


def parse_share(text: str) -> float:
    """Read the share of a control group; 0% is none."""
    if text in ("0", "0%"):
        return 0.0
    share = None
    with contextlib.suppress(ValueError):
        share = Budget.parse(text).share
    if share is None or share > MOST_SHARE:
        raise ValueError(f"{text!r} is not a share of up to 90%. Example: 10%")
    return share


def draw_control(
    share: float, folder: Path, key: str | None = None, *, is_first: bool = True
) -> Control:
    """
    Return the control group of the lists of a folder; the first one makes its key.

    Args:
        key: In hexadecimal digits, in the place of the folder's.
        is_first: Whether no list was drawn by a key yet.
    """
    if key is not None:
        return Control(group="try", share=share, key=_key(key, "--control-key"))
    file = folder / KEY
    if not file.exists() and not is_first:
        raise RequestError(
            f"{file} is missing, and its lists were drawn by that key",
            hint="Restore it, or set PROPENSITY_CONTROL_KEY as it was",
            field="control",
        )
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.touch(0o600)
        file.write_text(f"{secrets.token_hex(32)}\n")
    return Control(group="try", share=share, key=_key(file.read_text(), f"{file}"))


def _key(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) < 32:
        raise RequestError(
            f"{where} is not the key of a control group",
            hint="Restore it: with another key, people would be contacted who were "
            "held out",
            field="control",
        )
    return key


def best(
    people: pd.DataFrame,
    trial: ExportTrial,
    control: Control | None,
    *,
    top: int = BEST,
) -> pd.DataFrame:
    """Return the best of a trial's users as a list."""
    listed = people.head(top).assign(
        as_of=str(trial.as_of),
        label_event=event_of(trial),
        horizon_days=trial.use_case.horizon_days,
    )
    if control is None:
        return listed
    groups = []
    for user in listed["user_id"]:
        groups.append(CONTROL if is_held_out(str(user), control) else CONTACT)
    return listed.assign(control_share=control.share, group=groups)


def is_held_out(user: str, control: Control) -> bool:
    """Return whether a user is in a control group, as ``chosen_anew.sql`` draws."""
    digest = hmac.digest(control.group_key, user.encode(), "sha256")
    return int.from_bytes(digest[:8], "big") < control.share * 2**64


def fingerprint_of(user: str, control: Control) -> str:
    """Return what is kept of a user who was forgotten: nobody reads an id from it."""
    return hmac.digest(control.key, b"forgotten " + user.encode(), "sha256").hex()


def provable_in_a_year(listed: pd.DataFrame, share: float) -> str:
    """Say what the groups of a folder's first list can prove, and those of a year."""
    if not share:
        return ""
    users = len(listed)
    rate = float(listed["probability"].mean()) if users else 0.0
    new_a_week = NEW_SHARE * users
    proofs = power(rate, users, new_a_week=new_a_week, share=share)
    first = proofs[0].smallest_lift
    year = proofs[-1].smallest_lift
    told = "These groups can't show any effect alone"
    if first is not None:
        told = f"These groups can show an effect of {100 * first:.0f}%"
    if year is not None:
        told += (
            f"; a year of lists, of which a quarter is new each week, one of about "
            f"{100 * year:.0f}%"
        )
    larger = power(rate, users, new_a_week=None, share=LARGER)[0].smallest_lift
    if share < LARGER and larger is not None:
        told += f". Hold out {100 * LARGER:.0f}% to see {100 * larger:.0f}%"
    return told


def provable(listed: pd.DataFrame, share: float, *, days: int, outcome: str) -> str:
    """Say what a list's control group could prove in so many days."""
    users = len(listed)
    rate = float(listed["probability"].mean()) if users else 0.0
    held_out = int((listed[GROUP] == CONTROL).sum())
    smallest = smallest_uplift(rate, users, share=share, errors=NORMAL)
    group = f"{held_out:,} of {plural(users, 'user')} are the control group"
    expected = f"{100 * rate:.1f}% are expected to {outcome} within"
    proof = "That is too few to prove anything"
    if smallest is not None:
        proof = (
            "This can prove that contacting makes "
            f"{100 * smallest:.0f}% more of them do so, and nothing smaller"
        )
    return (
        f"{group}; {expected} {plural(days, 'day')}. {proof}; a weekly audience adds up"
    )


@dataclass(frozen=True, kw_only=True)
class ReadList:
    """
    A list that is read back, with its control group.

    Attributes:
        rows: A row for each user: ``user_id``, ``probability`` and ``group``.
        as_of, label_event, horizon_days, control_share: What it says of itself.
    """

    rows: pd.DataFrame
    as_of: date
    label_event: str
    horizon_days: int
    control_share: float


def judge_by_orders(
    list_file: Path,
    orders_file: Path,
    *,
    user: str,
    amount: str | None,
    time: str | None,
    now: datetime,
) -> dict[str, Any]:
    """
    Read a list back beside a file of orders, and say what contacting brought.

    Args:
        user: The column of orders with the ids of the list.
        amount: The column with what was paid; None where only buyers count.
        time: The column with the time of an order, of which those before the list's
            date are left out; None where the file has later ones alone.
        now: No order is later, but for a day of time zones.

    Returns:
        Differences are None where rows of the list got lost, and ``amount`` also where
        nobody says what was paid.
    """
    listed = read_list(list_file)
    kinds = {
        name: kind for name, kind in ((amount, "FLOAT64"), (time, "TIMESTAMP")) if name
    }
    orders = table_files.read_file(orders_file, [user, *kinds])
    with table_files.named(orders_file):
        ids = table_files.identities(orders[user], user).to_pandas().rename(user)
        values = {}
        for name, kind in kinds.items():
            column = table_files.typed(orders, name, kind, is_needed=True)
            values[name] = column.to_pandas()
        is_listed = _on_list(ids, listed.rows["user_id"])
    since = pd.Timestamp(listed.as_of, tz="UTC")
    until = None
    is_later = pd.Series(True, ids.index)
    if time:
        is_later = values[time] >= since
        is_future = values[time] > now + timedelta(days=1)
        if is_future.any():
            with table_files.named(orders_file):
                hint = "correct the order, or remove it"
                refuse(values[time], is_future, "is later than today", hint=hint)
        newest = values[time].max()
        if not is_later.any():
            raise SchemaError(
                f"column {time}: the newest order of {orders_file} is of "
                f"{newest:%Y-%m-%d}, and {list_file} is of {listed.as_of}",
                hint="Name a file with the orders since then",
            )
        until = newest.date() + timedelta(days=1)
    frame = pd.DataFrame({"user": ids, "paid": values[amount] if amount else np.nan})
    frame = frame[is_later & is_listed]
    paid = frame.groupby("user")["paid"].sum(min_count=1).to_dict()
    sums = group_sums(listed.rows, paid)
    known_on = listed.as_of + timedelta(days=listed.horizon_days)
    shown = figures(
        sums,
        control_share=listed.control_share,
        errors=NORMAL,
        is_final=until is None or until >= known_on,
    )
    gain = plain_gain(brought(shown, sums))
    contacted, control = sums
    return {
        "since": listed.as_of,
        "until": until,
        "known_on": known_on,
        "label_event": listed.label_event,
        "contacted": contacted.users,
        "control": control.users,
        "contacted_buyers": contacted.conversions,
        "control_buyers": control.conversions,
        "orders": int(is_later.sum()),
        "matched": len(frame),
        "buyers": gain["buyers"],
        "amount": gain["amount"],
        "verdict": shown.verdict,
    }


def _on_list(ids: pd.Series, listed: pd.Series) -> pd.Series:
    """Return which ids are on a list; refuse those that are written otherwise there."""
    is_listed = ids.isin(listed)
    of_bare = dict(zip(listed.map(_bare), listed, strict=True))
    written = ids.map(_bare, na_action="ignore").map(of_bare)
    is_alike = written.notna() & ~is_listed
    if is_alike.any():
        problem = f"is on the list as {written[is_alike].iloc[0]!r}"
        refuse(ids, is_alike, problem, hint="write ids as the list has them")
    if not is_listed.any():
        raise SchemaError(
            f"column {ids.name}: none of {plural(len(ids), 'row')} is of a user of the "
            f"list, whose ids are like {listed.iloc[0]!r}",
            hint="Name the column with the list's ids by --user",
        )
    return is_listed


def _bare(user: str) -> str:
    """Return an id without what programs change: blanks, case, decimals."""
    return re.sub(r"\.0+$", "", id_of_cell(user).strip().lower())


def read_list(file: Path) -> ReadList:
    """
    Return a list, which says what it is of, and in which group each user is.

    Raises:
        SchemaError: A row is wrong, or one of the two groups has no users.
    """
    kinds = {"probability": "FLOAT64", **FACTS, GROUP: "STRING"}
    table = table_files.read_file(file, ["user_id"])
    missing = [name for name in kinds if name not in table.column_names]
    if missing:
        raise SchemaError(
            f"{file} lacks the columns {', '.join(missing)}",
            hint="Read back a list of --scores list.csv --control 10%. To one of an "
            "older version, add what it was of: label_event (such as purchase), "
            "horizon_days (7) and control_share (0.1)",
        )
    columns = {}
    with table_files.named(file):
        # It refuses numbers that may have lost digits.
        table_files.identities(table["user_id"], "user_id")
        columns["user_id"] = ids_of_cells(table["user_id"])
        for name, kind in kinds.items():
            columns[name] = table_files.typed(table, name, kind, is_needed=True)
        rows = pa.table(columns).to_pandas(date_as_object=True)
        hint = "write each user once, with the row that was written"
        check_users(rows, "user_id", None, None)
        check_once(rows["user_id"], "is on the list twice", hint)
        is_other = ~rows[GROUP].isin([CONTACT, CONTROL])
        if is_other.any():
            hint = f"write {CONTACT} or {CONTROL}, as the list had it"
            refuse(rows[GROUP], is_other, "is no group", hint=hint)
        for name in FACTS:
            is_other = rows[name].ne(rows[name].head(1).squeeze())
            if is_other.any():
                hint = "read lists back one by one"
                refuse(rows[name], is_other, "is not that of row 1", hint=hint)
    if rows.empty:
        raise SchemaError(f"{file} has no users", hint="Read the whole list back")
    groups = sorted(rows[GROUP].unique())
    if groups != [CONTACT, CONTROL]:
        raise SchemaError(
            f"{file}, column {GROUP} has {', '.join(groups)}, and needs both {CONTACT} "
            f"and {CONTROL}",
            hint="Write a list with a control group: --scores list.csv --control 10%",
        )
    facts = rows.iloc[0]
    return ReadList(
        rows=rows,
        as_of=facts["as_of"],
        label_event=str(facts["label_event"]),
        horizon_days=int(facts["horizon_days"]),
        control_share=float(facts["control_share"]),
    )


def group_sums(
    rows: pd.DataFrame, paid: Mapping[str, float | None]
) -> tuple[GroupSums, GroupSums]:
    """
    Return the sums of the contacted users of a list, and of its control group.

    Args:
        rows: As of ``ReadList``.
        paid: What each buyer paid; None where it is not known.
    """
    bought = rows["user_id"].isin(list(paid)).to_numpy(np.float64)
    amounts = rows["user_id"].map(paid).astype("float64").fillna(0.0).to_numpy()
    expected = rows["probability"].to_numpy(np.float64)
    sums = []
    for group in (CONTACT, CONTROL):
        is_in = (rows[GROUP] == group).to_numpy()
        chance = expected[is_in]
        spent = amounts[is_in]
        sums.append(
            GroupSums(
                is_control=group == CONTROL,
                users=int(is_in.sum()),
                conversions=int(bought[is_in].sum()),
                revenue=exact_money(spent.sum()),
                revenue_squares=float((spent**2).sum()),
                probability=float(chance.sum()),
                probability_squares=float((chance**2).sum()),
                probability_conversions=float((chance * bought[is_in]).sum()),
                probability_revenue=float((chance * spent).sum()),
            )
        )
    contacted, control = sums
    return contacted, control


def brought(
    shown: Figures,
    sums: Iterable[GroupSums],
    *,
    cost: float | None = None,
    margin: float | None = None,
) -> Gain:
    """Return what contacting brought; of money nothing if nobody paid any."""
    gain = gained(shown.columns(), cost=cost, margin=margin)
    if any(group.revenue for group in sums):
        return gain
    return Gain(buyers=gain.buyers)


def plain_gain(gain: Gain) -> dict[str, dict[str, float | None] | None]:
    """Return what contacting brought for programs: ends are None of too few."""
    plain = {}
    for name, difference in gain._asdict().items():
        plain[name] = asdict(difference) if difference else None
    return plain


def try_and_list(
    target: str,
    *,
    report: Path,
    scores: Path | None,
    share: float | None,
    **arguments: Any,
) -> dict[str, Any]:
    """
    Try an export, and write its report and its list.

    Args:
        target: As of ``try_export``, as are other arguments.
        scores: The file to write the list to; None for none.
        share: Of the list, that is held out; None for no control group.
    """
    check_files(report=report, scores=scores)
    control = None
    if scores is not None and share is not None:
        control = draw_control(share, scores.parent)
    tried = try_export(target, **arguments)
    who = tried.who()
    answer = {
        **told(tried),
        "against": None if tried.duel is None else tried.duel.plain(),
        "report": str(report),
        "scores": None,
        "listed": 0,
        "provable": "",
        "key": "",
    }
    if scores is not None:
        listed = best(tried.people, tried.trial, control)
        who = tried.who(listed["user_id"])
        answer |= {"scores": str(scores), "listed": len(listed)}
        if control is not None:
            use_case = tried.trial.use_case
            answer["provable"] = provable(
                listed,
                control.share,
                days=use_case.horizon_days,
                outcome=use_case.outcome,
            )
            answer["key"] = str(scores.parent / KEY)
        write_scores(scores, listed)
    answer["who"] = [asdict(line) for line in who]
    answer["who_words"] = traits_text(who)
    whole_files.write_whole(report, tried.page(who).encode())
    return answer
