"""
Lists that can be judged: whom to contact, a control group, and what contacting brought.

A control group is drawn as that of an audience, by a key in the list's folder: so the
next list there holds out the same people. A month later the list is read back beside
what its users bought.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec import structs

from propensity import table_files, whole_files
from propensity.audience.control import Control
from propensity.audience.plan import smallest_uplift
from propensity.audience.uplift import verdict
from propensity.errors import RequestError, SchemaError
from propensity.measures.intervals import NORMAL, Difference
from propensity.measures.statistic import (
    Amounts,
    Share,
    adjusted,
    difference_of_means,
    with_common_spread,
)
from propensity.models.encoding import Floats
from propensity.pages.words import plural
from propensity.settings import Budget
from propensity.spreadsheet import csv_of
from propensity.trying.export import open_trial, read_days, told, try_export

Summed = TypeVar("Summed", Share, Amounts)

# How many of the best a list of an export has.
BEST = 500
# In the folder of a list.
KEY = "propensity-control.key"
GROUP = "group"
CONTACT = "contact"
CONTROL = "control"
# The most of a list that is held out.
MOST_SHARE = 0.9


def parse_share(text: str) -> float:
    """Read the share of a control group."""
    share = Budget.parse(text).share
    if share is None or share > MOST_SHARE:
        raise ValueError(f"{text!r} is not a share of up to 90%. Example: 10%")
    return share


def draw_control(share: float, folder: Path) -> Control:
    """
    Return the control group of the lists of a folder; the first one makes its key.
    """
    file = folder / KEY
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.touch(0o600)
        file.write_text(f"{secrets.token_hex(32)}\n")
    try:
        key = bytes.fromhex(file.read_text().strip())
    except ValueError:
        key = b""
    if len(key) < 32:
        raise RequestError(
            f"{file} is not the key of a control group",
            hint="Restore it: with another key, people would be contacted who were "
            "held out",
            field="control",
        )
    return Control(group="try", share=share, key=key)


def best(people: pd.DataFrame, as_of: date, control: Control | None) -> pd.DataFrame:
    """Return the best of scored users as a list."""
    listed = people.head(BEST).assign(as_of=str(as_of))
    if control is None:
        return listed
    groups = []
    for user in listed["user_id"]:
        groups.append(CONTROL if is_held_out(str(user), control) else CONTACT)
    return listed.assign(group=groups)


def is_held_out(user: str, control: Control) -> bool:
    """Return whether a user is in a control group, as ``audience_choice.sql`` draws."""
    digest = hmac.digest(control.group_key, user.encode(), "sha256")
    return int.from_bytes(digest[:8], "big") < control.share * 2**64


def provable(listed: pd.DataFrame, share: float, *, days: int) -> str:
    """Say what a list's control group could prove in so many days."""
    users = len(listed)
    rate = float(listed["probability"].mean()) if users else 0.0
    held_out = int((listed[GROUP] == CONTROL).sum())
    smallest = smallest_uplift(rate, users, share=share, errors=NORMAL)
    group = f"{held_out:,} of {plural(users, 'user')} are the control group"
    expected = f"{100 * rate:.1f}% are expected to buy within {plural(days, 'day')}"
    proof = "That is too few to prove anything"
    if smallest is not None:
        proof = (
            "This can prove that contacting makes "
            f"{100 * smallest:.0f}% more of them buy, and nothing smaller"
        )
    return f"{group}; {expected}. {proof}; a weekly audience adds up"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """
    What contacting the users of a list brought.

    Attributes:
        buyers: More buyers in all, with their interval; ``amount`` is more money, None
            where no amount is known.
        verdict: As that of an audience.
    """

    since: date
    until: date | None
    contacted: int
    control: int
    contacted_buyers: int
    control_buyers: int
    buyers: Difference
    amount: Difference | None
    verdict: str


def judge_by_export(
    list_file: Path, target: str, *, jobs_in: str | None, now: datetime
) -> Judged:
    """
    Read a list back beside the export: who bought since its date, and for how much.
    """
    listed = read_list(list_file)
    since = date.fromisoformat(str(listed["as_of"].iloc[0]))
    with open_trial(target, jobs_in=jobs_in, now=now) as tried:
        days = (tried.as_of - since).days
        if days < 1:
            raise RequestError(
                f"{target} ends at {tried.as_of}, and {list_file} is of {since}",
                hint="Read it back when people have had time to buy, as after a month",
                field="judge",
            )
        # The outcomes are those of a training with a horizon that ends with the export.
        use_case = structs.replace(tried.use_case, horizon_days=days)
        trial = replace(tried, use_case=use_case, first_day=since - timedelta(days=1))
        read_days(trial)
        window = use_case.window(trial.settings, [since], today=trial.as_of)
        bought = trial.warehouse.table(use_case.statement("converter_amounts"), window)
        until = trial.as_of
    amounts = bought["amount"].cast(pa.float64()).to_pylist()
    paid = dict(zip(bought["user_id"].to_pylist(), amounts, strict=True))
    return compare_groups(listed, paid, since=since, until=until)


def judge_by_orders(
    list_file: Path,
    orders_file: Path,
    *,
    user: str,
    amount: str | None,
    time: str | None,
) -> Judged:
    """
    Read a list back beside a file of orders.

    Args:
        user: The column of orders with the ids of the list.
        amount: The column with what was paid; None where only buyers count.
        time: The column with the time of an order, of which those before the list's
            date are left out; None where the file has later ones alone.
    """
    listed = read_list(list_file)
    since = date.fromisoformat(str(listed["as_of"].iloc[0]))
    columns = [name for name in (user, amount, time) if name]
    orders = table_files.read_file(orders_file, columns, encoding="cp1252")
    with table_files.named(orders_file):
        frame = pd.DataFrame({"user": table_files.typed(orders, user, "STRING")})
        frame["paid"] = np.nan
        frame["day"] = since
        if amount:
            frame["paid"] = table_files.typed(orders, amount, "FLOAT64").to_numpy()
        if time:
            frame["day"] = table_files.typed(orders, time, "DATE").to_pylist()
    is_later = frame["day"].fillna(date.min) >= since
    paid = frame[is_later].groupby("user")["paid"].sum(min_count=1).to_dict()
    return compare_groups(listed, paid, since=since, until=None)


def read_list(file: Path) -> pd.DataFrame:
    """Return a list that was written with a control group."""
    kinds = {"user_id": "STRING", "probability": "FLOAT64", "as_of": "DATE"}
    kinds[GROUP] = "STRING"
    table = table_files.read_file(file, list(kinds))
    columns = {}
    with table_files.named(file):
        for name, kind in kinds.items():
            columns[name] = table_files.typed(table, name, kind).to_pylist()
    listed = pd.DataFrame(columns)
    groups = set(listed[GROUP])
    if groups != {CONTACT, CONTROL}:
        raise SchemaError(
            f"{file}, column {GROUP} has {', '.join(sorted(map(str, groups)))}, and "
            f"needs both {CONTACT} and {CONTROL}",
            hint="Write a list with a control group: --scores list.csv --control 10%",
        )
    return listed


def compare_groups(
    listed: pd.DataFrame,
    paid: Mapping[str, float | None],
    *,
    since: date,
    until: date | None,
) -> Judged:
    """
    Say what contacting brought.

    Args:
        listed: Of ``read_list``.
        paid: What each buyer paid; None where it is not known.
    """
    bought = listed["user_id"].isin(list(paid)).to_numpy(np.float64)
    amounts = listed["user_id"].map(paid).astype("float64").fillna(0.0).to_numpy()
    expected = listed["probability"].to_numpy(np.float64)
    is_control = (listed[GROUP] == CONTROL).to_numpy()
    contacted = _sums(Share, bought[~is_control], expected[~is_control])
    control = _sums(Share, bought[is_control], expected[is_control])
    added = difference_of_means(*adjusted(contacted, control), errors=NORMAL)
    money = None
    if amounts.any():
        both = with_common_spread(
            _sums(Amounts, amounts[~is_control], expected[~is_control]),
            _sums(Amounts, amounts[is_control], expected[is_control]),
        )
        per_user = difference_of_means(*adjusted(*both), errors=NORMAL)
        money = per_user.times(contacted.users)
    return Judged(
        since=since,
        until=until,
        contacted=int(contacted.users),
        control=int(control.users),
        contacted_buyers=int(contacted.positives),
        control_buyers=int(control.positives),
        buyers=added.times(contacted.users),
        amount=money,
        verdict=verdict(
            added,
            conversions=int(contacted.positives + control.positives),
            is_sound=True,
            is_final=True,
        ),
    )


def _sums(kind: type[Summed], outcomes: Floats, expected: Floats) -> Summed:
    """Return the statistic of a group, with what was expected of its users."""
    return replace(
        kind.of(outcomes),
        covariates=float(expected.sum()),
        covariate_squares=float((expected**2).sum()),
        products=float((expected * outcomes).sum()),
    )


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
    whole_files.check_output(report, ".html", option="report", others=[])
    control = None
    if scores is not None:
        whole_files.check_output(scores, ".csv", option="scores", others=[str(report)])
        if share is not None:
            control = draw_control(share, scores.parent)
    tried = try_export(target, **arguments)
    answer = told(tried)
    answer |= {"report": str(report), "scores": None, "listed": 0}
    answer |= {"provable": "", "key": ""}
    if scores is not None:
        listed = best(tried.people, tried.trial.as_of, control)
        answer["scores"] = str(scores)
        answer["listed"] = len(listed)
        if control is not None:
            days = tried.trial.use_case.horizon_days
            answer["provable"] = provable(listed, control.share, days=days)
            answer["key"] = str(scores.parent / KEY)
        content = csv_of(list(listed), listed.itertuples(index=False))
        whole_files.write_whole(scores, content)
    whole_files.write_whole(report, tried.page().encode())
    return answer
