"""
Tables of strangers end in a report or in an error that names row or column, and other
readers say the same of the same rows, whatever their order and the kind of their file.
"""

from __future__ import annotations

import io
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from local.exports import sources
from propensity import try_experiment, try_table
from propensity.audience.destinations.addresses import address_of
from propensity.errors import NotEnoughData, PropensityError
from propensity.table_files.ids import users_of
from propensity.trying import lists
from propensity.trying.first_look.reading import read_table
from propensity.trying.first_look.scores import RowsToScore
from propensity.trying.sentences import what_contacting_brought
from propensity.usecases.declaration import Events, OwnSource
from tests.audit import tables

FORMS = ("csv", "parquet")
SHOP = Events(table="s.e", user_id="user", time="at", name="type", amount="total")
LOYALTY = OwnSource(
    table="c.l", user_id="user", valid_from="at", columns={"total": "NUMERIC"}
)


def seeds(many: int) -> Iterator[int]:
    """Return so many seeds: the same ones, unless it hunts."""
    is_hunt = settings.get_current_profile_name() == "hunt"
    first = secrets.randbelow(2**32) if is_hunt else 0
    return iter(range(first, first + (settings().max_examples if is_hunt else many)))


def outcome_of(call: Callable[[], Any], names: Iterable[str] = ()) -> Any:
    """Return what a reader answers, or that it refuses, with a row or a column."""
    try:
        return call()
    except NotEnoughData:
        return "refused"
    except PropensityError as error:
        refusal = error
    is_named = any(name in refusal.problem for name in names)
    assert is_named or re.search(r"\b(rows?|columns?)\b", refusal.problem), refusal
    return "refused"


def try_drawn(seed: int, folder: Path) -> str:
    """Try a table to its page and its list."""
    drawn = tables.table(seed)

    def tried() -> str:
        look = try_table(drawn.read(folder), **drawn.options)
        assert look.page()
        assert repr(look)
        if len(look.table.open_rows):
            assert len(look.scores())
        return "tried"

    try:
        return str(outcome_of(tried, drawn.frame.columns))
    except Exception as error:
        error.add_note(f"table {seed}: {drawn.form}, {dict(drawn.options)}")
        raise


def test_any_table_ends_in_a_report_or_in_an_error(tmp_path):
    ends = [try_drawn(seed, tmp_path) for seed in seeds(8)]

    assert {*ends} == {"tried", "refused"}


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_tables_end_in_a_report_or_in_an_error(tmp_path):
    ends = [try_drawn(seed, tmp_path) for seed in seeds(400)]

    assert ends.count("tried") > len(ends) // 3


@pytest.mark.parametrize("seed", range(5))
def test_rows_to_score_are_read_alike_in_any_order_and_file(tmp_path, seed):
    drawn = tables.table(seed)
    frame = drawn.frame.assign(month=drawn.frame["month"].str.replace("2025", "2026"))
    others = frame.drop_duplicates("user", keep="last").drop(columns="label")

    def features(rows: pd.DataFrame, form: str) -> Any:
        read = read_table(drawn.read(tmp_path), **{**drawn.options, "user": "user"})
        scored = RowsToScore.of(read, tables.stored(rows, form, tmp_path / "rows"))
        by_user = scored.features.to_pandas().set_index(scored.users.to_numpy())
        return by_user.sort_index().round(6).astype("str").to_dict()

    names = list(drawn.frame.columns)
    as_is = outcome_of(lambda: features(others, drawn.form), names)
    assert outcome_of(lambda: features(others[::-1], drawn.form), names) == as_is
    for form in FORMS:
        other = outcome_of(lambda form=form: features(others, form), names)
        assert "refused" in (as_is, other) or other == as_is


def a_list(random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw a list of which some bought, and orders with their times of day."""
    users = int(random.integers(200, 500))
    listed = pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in range(users)],
            "probability": random.random(users).round(6),
            "as_of": "2026-03-01",
            "label_event": "purchase",
            "horizon_days": 7,
            "control_share": 0.2,
            "group": np.where(random.random(users) < 0.2, "control", "contact"),
        }
    )
    buyers = random.choice(users, users)
    at = pd.Timestamp("2026-02-20 10:15:30") + pd.to_timedelta(
        random.integers(0, 40 * 24, users), "h"
    )
    if random.random() < 0.5:
        at = at.normalize()
    paid = random.gamma(2, 30, users).round(2)
    orders = pd.DataFrame({"who": [f"u{n}" for n in buyers], "at": at, "paid": paid})
    return listed, orders


@pytest.mark.parametrize("seed", range(5))
def test_a_list_that_is_read_back_is_judged_as_an_audience_is(tmp_path, seed):
    random = np.random.default_rng(seed)
    listed, orders = a_list(random)
    file = tmp_path / "list"
    bought = tmp_path / "orders"

    def judged(rows: pd.DataFrame, by: pd.DataFrame, form: str = "csv") -> Any:
        for frame, path in ((rows, file), (by, bought)):
            tables.stored(frame, form, path)
        now = datetime(2026, 12, 1, tzinfo=UTC)
        options = {"user": "who", "amount": "paid", "time": "at", "now": now}
        judge = partial(lists.judge_by_orders, file, bought, **options)
        answer = outcome_of(judge)
        if answer == "refused":
            return answer
        return answer["verdict"], what_contacting_brought(answer)

    as_is = judged(listed, orders)
    is_half = (listed["group"] == "contact") & (random.random(len(listed)) < 0.6)
    dates = np.where(listed.index % 2, "2026-03-08", "2026-03-01")
    nobody = [f"c{n}" for n in range(len(orders))]

    late = orders["at"] >= "2026-03-01"
    buyers = listed["user_id"].isin(orders["who"][late]).groupby(listed["group"]).sum()
    assert f" {buyers['contact']} of" in as_is[1]
    assert f" {buyers['control']} of" in as_is[1]
    assert judged(listed[::-1], orders.sample(frac=1, random_state=1)) == as_is
    assert judged(listed, orders, "parquet") == as_is
    assert judged(listed[~is_half], orders)[0] == "sample_ratio"
    for wrong in (
        judged(listed, orders.assign(who=nobody)),
        judged(listed.assign(as_of=dates), orders),
        judged(listed.assign(as_of=listed["as_of"].mask(listed.index == 7)), orders),
        judged(pd.concat([listed, listed.tail(1)]), orders),
        judged(listed, orders.assign(at=orders["at"].mask(orders.index == 7))),
        judged(listed, orders.assign(at=orders["at"].mask(orders.index == 7, "2027"))),
    ):
        assert wrong == "refused"


def test_an_experiment_says_the_same_in_any_order_and_of_any_name(tmp_path):
    frame = tables.campaign(0)
    names = {"label": "bought", "treatment": "mail", "control": "none", "user": "user"}

    def numbers(rows: pd.DataFrame, form: str = "frame") -> Any:
        def tried() -> Any:
            look = try_experiment(tables.stored(rows, form, tmp_path / "e"), **names)
            [arm] = look.plain_arms()
            return {name: value for name, value in arm.items() if name != "treatment"}

        return outcome_of(tried)

    as_is = numbers(frame)
    assert numbers(frame.sample(frac=1, random_state=1)) == as_is
    assert numbers(frame.assign(mail=frame["mail"].replace("spring", "Été"))) == as_is
    assert all(numbers(frame, form) == as_is for form in FORMS)


def test_an_experiment_says_the_same_of_a_column_in_another_unit():
    """Defect: discounts of 0 to 0.3 were one group, and in percent they were four."""
    random = np.random.default_rng(0)
    frame = tables.campaign(0, users=6_000)
    discount = random.choice([0, 0.125, 0.25, 0.375], len(frame))
    is_moved = (frame["mail"] == "spring") & (discount == 0.375)
    bought = frame["bought"].mask(is_moved & (random.random(len(frame)) < 0.3), 1)
    frame = frame.assign(bought=bought)
    names = {"label": "bought", "treatment": "mail", "control": "none", "user": "user"}

    def said(values: Any) -> Any:
        look = try_experiment(frame.assign(discount=values), **names)
        [arm] = look.arms
        [plain] = look.plain_arms()
        groups = sorted(arm.groups, key=lambda group: group.users)
        added = [group.added.estimate for group in groups] + [plain["effect"]]
        users = [(group.feature, group.users) for group in groups]
        # A number is learned with its logarithm, which has another form by its unit.
        return users, plain["did"], plain["advice"], pytest.approx(added, abs=0.01)

    as_is = said(discount)
    assert [feature for feature, _ in as_is[0]].count("discount") == 4
    for unit in (100, 1_000_000, 1 / 64):
        *others, added = said(discount * unit)
        assert others == [*as_is[:3]]
        assert added.expected == as_is[3]


@pytest.mark.parametrize("table", [SHOP, LOYALTY], ids=["events", "source"])
@pytest.mark.parametrize("seed", range(5))
def test_own_tables_are_read_alike_in_any_order_and_file(tmp_path, table, seed):
    random = np.random.default_rng(seed)
    days = pd.to_timedelta(random.integers(0, 99 * 24, 50), "h")
    rows = pd.DataFrame(
        {
            "user": random.choice(["007", "Zoë", "1000"], 50),
            "at": pd.Timestamp("2026-01-05", tz="UTC") + days,
            "type": random.choice(["buy", "look"], 50),
            "total": pd.Series(random.gamma(2, 30, 50).round(2)).mask(days.days > 80),
        }
    )

    def read(frame: pd.DataFrame, form: str) -> list[str]:
        tables.stored(frame, form, tmp_path / "own")
        return sorted(map(str, sources.read(tmp_path / "own", table).to_pylist()))

    as_is = read(rows, "csv")
    assert read(rows[::-1], "csv") == read(rows, "parquet") == as_is
    lost = rows.assign(user=[1000.5, *[1000.0] * 49])
    for form in FORMS:
        assert outcome_of(lambda form=form: read(lost, form)) == "refused"


@pytest.mark.parametrize("seed", range(5))
def test_people_who_are_named_are_the_same_however_they_are_written(seed):
    """Users who are forgotten, and a receiver's customers by their addresses."""
    random = np.random.default_rng(seed)
    ids = [f"-{n}é" for n in random.integers(0, 99, 20)]
    written = "\r\n".join([*random.permutation(ids), ""]).encode("utf-8-sig")
    stdin = io.TextIOWrapper(io.BytesIO(written), "latin-1")
    customer = f"ana{seed}@example.com"
    for form in (" {} ", "<{}>", "mailto:{}", "{};", '"{}"', "\u200b{}"):
        assert address_of(form.format(customer)) == customer

    assert {*users_of(["-"], stdin)} == {*ids}
