"""try --folder: a list each Monday, and what the last ones brought."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from commands.cli import main
from propensity import whole_files
from propensity.errors import NoData, RequestError
from propensity.trying import lists, sentences, weekly
from tests.functions.test_trying_exports import (
    LONG_AGO,
    TARGET,
    exported,
    in_place,
    tried,
)
from tests.support import shop
from tests.support.deployment import Deployment

ROWS = shop.weekly(LONG_AGO, 17)
# The first date of a list: the day after the thirteenth week's only day.
FIRST = LONG_AGO + timedelta(weeks=12, days=1)


def at(as_of: date) -> datetime:
    return datetime.combine(as_of, time(9), UTC)


@cache
def export_before(as_of: date) -> Deployment:
    """Return the export that ends before a date, which is only read."""
    cut = shop.microseconds(as_of)
    return exported([row for row in ROWS if row["event_timestamp"] < cut])


def monday(folder: Path, as_of: date, **options: Any) -> dict[str, Any]:
    """Write the list of a date, by an export that ends before it."""
    with in_place(export_before(as_of)):
        return monday_of(folder, **{"now": at(as_of), **options})


def monday_of(folder: Path, **options: Any) -> dict[str, Any]:
    """Write a list by the export that is in place."""
    given = {
        "share": 0.3,
        "top": None,
        "key": None,
        "never": None,
        "jobs_in": None,
        "label_event": None,
        "cost_per_contact": 0.1,
        "margin": 0.5,
        "agrees": pytest.fail,
        **options,
    }
    return weekly.write_week(TARGET, folder, **given)


@pytest.fixture(scope="module")
def mondays(tmp_path_factory) -> tuple[Path, list[dict[str, Any]]]:
    """A folder after four Mondays, and its answers."""
    folder = tmp_path_factory.mktemp("weekly")
    (folder / lists.KEY).write_text("07" * 32)
    return folder, [monday(folder, FIRST + n * weekly.WEEK) for n in range(4)]


def listed(folder: Path, n: int) -> pd.DataFrame:
    return pd.read_csv(folder / f"list-{FIRST + n * weekly.WEEK}.csv")


def test_each_monday_has_a_list_with_the_same_people_held_out(mondays):
    folder, answers = mondays
    every = pd.concat([listed(folder, n) for n in range(4)])

    final_on = FIRST + timedelta(days=10)
    assert f"Come back on {final_on}: then" in sentences.week_of_folder(answers[0])
    assert [answer["is_new"] for answer in answers] == [True] * 4
    assert every.groupby("user_id")["group"].nunique().max() == 1
    assert set(every["group"]) == {"contact", "control"}
    assert set(every["control_share"]) == {0.3}


def test_a_first_list_says_what_its_groups_can_show_and_larger_ones():
    """Whoever holds out that share then reads the promised effect."""
    listed = pd.DataFrame({"probability": [0.05] * 500})
    tenth = lists.provable_in_a_year(listed, 0.1)
    third = lists.provable_in_a_year(listed, 0.3)
    [promised] = re.findall(r"Hold out 30% to see (\d+)%", tenth)

    assert f"can show an effect of {promised}%" in third
    assert "Hold out" not in third


def test_probabilities_are_those_of_a_trial_of_that_day(mondays):
    """Which are those of a deployment, as test_trying_exports.py says."""
    folder, _ = mondays
    as_of = FIRST + 2 * weekly.WEEK
    trial = tried(export_before(as_of), TARGET, now=at(as_of)).people
    expected = dict(zip(trial["user_id"], trial["probability"], strict=True))
    of_list = listed(folder, 2)

    for user, probability in zip(
        of_list["user_id"], of_list["probability"], strict=True
    ):
        assert probability == pytest.approx(expected[user], abs=1e-9)


def test_all_lists_together_count_each_user_once_on_the_first_list(mondays):
    """Every user of this shop is on the first list, so that the sum is of its users
    and of the seven days after it."""
    folder, answers = mondays
    first = listed(folder, 0)
    bought: dict[str, float] = {}
    for row in ROWS:
        day = datetime.fromtimestamp(row["event_timestamp"] / 1e6, UTC).date()
        is_within = FIRST <= day < FIRST + weekly.WEEK
        if row["event_name"] == "purchase" and is_within:
            user = row["user_pseudo_id"]
            paid = row["ecommerce"]["purchase_revenue"]
            bought[user] = bought.get(user, 0) + paid
    sums = lists.group_sums(first, bought)
    together = answers[-1]["together"]

    assert together["lists"] == 2
    assert together["contacted"] == (first["group"] == "contact").sum()
    per_user = together["buyers"]["estimate"] / together["contacted"]
    contacted, control = sums
    plain = contacted.conversions / contacted.users - (
        control.conversions / control.users
    )
    assert per_user == pytest.approx(plain, abs=0.1)
    assert together["buyers"]["low"] < together["buyers"]["estimate"]
    cost = 0.1 * together["contacted"]
    assert together["cost"] == pytest.approx(cost)
    profit = 0.5 * together["amount"]["estimate"] - cost
    assert together["profit"]["estimate"] == pytest.approx(profit)


def test_expected_buyers_stand_beside_those_who_came(mondays):
    folder, _ = mondays
    weeks = json.loads((folder / "propensity-lists.json").read_text())["weeks"]
    came = [week["counted"]["buyers"] for week in weeks if week["counted"]]
    page = (folder / "index.html").read_text()

    assert len(came) == 2
    for n, buyers in enumerate(came):
        day = FIRST + n * weekly.WEEK
        users = set()
        for row in ROWS:
            when = datetime.fromtimestamp(row["event_timestamp"] / 1e6, UTC).date()
            if row["event_name"] == "purchase" and day <= when < day + weekly.WEEK:
                users.add(row["user_pseudo_id"])
        assert buyers == len(users)
        assert f")</td><td>{buyers}</td>" in page
    assert page.count("<td>—</td>") == 2


def test_the_same_monday_again_is_nothing_new(mondays):
    folder, _ = mondays
    last = FIRST + 3 * weekly.WEEK
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    again = monday(folder, last)
    later = monday(folder, last, now=at(last + timedelta(days=1)))

    assert not again["is_new"]
    assert not later["is_new"]
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == files


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"share": 0.2}, "control_share 0.2"),
        ({"label_event": "sign_up"}, "label_event sign_up"),
        ({"key": "08" * 32}, "another key"),
        ({"now": at(FIRST + timedelta(weeks=4))}, "has stopped"),
    ],
)
def test_a_list_that_could_not_be_added_up_is_refused(mondays, options, what):
    folder, _ = mondays
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises((RequestError, NoData), match=what):
        monday(folder, FIRST + 3 * weekly.WEEK, **options)

    assert {file.name: file.read_bytes() for file in folder.iterdir()} == files


def copied(mondays: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> Path:
    folder, _ = mondays
    shutil.copytree(folder, tmp_path / "weekly")
    return tmp_path / "weekly"


def test_lists_are_their_readers_to_edit_move_and_delete(mondays, tmp_path):
    """As a filter and a save in Excel do, in a country of semicolons. What differs is
    said, and what contacting brought is the same."""
    folder = copied(mondays, tmp_path)
    plain = monday(folder, FIRST + 4 * weekly.WEEK)["together"]
    shutil.rmtree(folder)
    folder = copied(mondays, tmp_path)
    first, second, third, fourth = (listed(folder, n) for n in range(4))
    paths = [folder / f"list-{FIRST + n * weekly.WEEK}.csv" for n in range(4)]
    contacts = first[first["group"] == "contact"].assign(as_of="11.02.2021")
    contacts.to_csv(paths[0], sep=";", encoding="utf-8-sig", index=False)
    paths[1].unlink()
    third.drop(columns="user_id").to_csv(paths[2], index=False)
    fourth.assign(user_id="1,2E+10").to_csv(paths[3], index=False)
    answer = monday(folder, FIRST + 4 * weekly.WEEK)
    told = sentences.week_of_folder(answer)

    assert answer["together"] == plain
    assert f"names {len(contacts)} of its {len(first)} users" in told
    assert f"{paths[1].name} is not there" in told
    assert f"{paths[2].name} was edited and can't be read" in told
    assert f"{paths[3].name} was edited, and names 0 of" in told
    assert len(second) == len(first)


def test_people_who_are_forgotten_leave_all_lists_and_are_listed_never_again(
    mondays, tmp_path, capsys
):
    """Without --never, and from lists that somebody saved otherwise. An id of nobody is
    said, with exit code 0."""
    folder = copied(mondays, tmp_path)
    edited = folder / f"list-{FIRST}.csv"
    rows = listed(folder, 0)
    rows["user_id"] = rows["user_id"].map('="{}" '.format)
    rows.to_csv(edited, sep=";", index=False)
    ids = tmp_path / "ids.csv"
    ids.write_text("user_id\nuser.004\n'user.008\nUSER.012\n")
    words = ["try", TARGET, "--folder", f"{folder}", "--forget", f"{ids}"]
    status = main(words)
    told = capsys.readouterr().out
    newest = monday(folder, FIRST + 4 * weekly.WEEK)["list"]

    assert status == 0
    assert "Of 3 ids of --forget, 2 found among the users of these lists" in told
    assert "8 rows removed" in told
    for file in folder.iterdir():
        assert "user.004" not in file.read_text()
        assert "user.008" not in file.read_text()
        assert not file.name.startswith("list-") or "user.012" in file.read_text()
    assert Path(newest).exists()


def test_ids_of_never_that_nobody_has_are_said(mondays, tmp_path):
    folder = copied(mondays, tmp_path)
    ids = tmp_path / "ids.csv"
    ids.write_text("user_id\nuser.004\nana@example.com\n")
    answer = monday(folder, FIRST + 4 * weekly.WEEK, never=ids)

    assert "Of 2 ids of --never, 1 found among" in sentences.week_of_folder(answer)
    assert "user.004" not in set(listed(folder, 4)["user_id"])


def test_a_folder_goes_on_after_all_its_users_were_forgotten(mondays, tmp_path):
    folder = copied(mondays, tmp_path)
    ids = tmp_path / "ids.csv"
    pd.concat([listed(folder, n) for n in range(4)])[["user_id"]].to_csv(ids)
    weekly.forget(folder, ids, key=None)
    newest = monday(folder, FIRST + 4 * weekly.WEEK)

    assert [len(listed(folder, n)) for n in range(5)] == [0, 0, 0, 0, 0]
    assert (newest["is_new"], newest["together"]["lists"]) == (True, 3)


@pytest.mark.parametrize("stops_at", [1, 2])
def test_a_run_that_is_stopped_while_it_writes_leaves_whole_lists(
    mondays, tmp_path, monkeypatch, stops_at
):
    """As on a full disk. The next run writes the list, or ends what was begun."""
    folder = copied(mondays, tmp_path)
    as_of = FIRST + 4 * weekly.WEEK
    write = whole_files.write_whole
    left = [stops_at]

    def stops(file: Path, content: bytes) -> None:
        left[0] -= 1
        if not left[0]:
            raise OSError(28, "No space left on device", f"{file}")
        write(file, content)

    with monkeypatch.context() as patched:
        patched.setattr(whole_files, "write_whole", stops)
        with pytest.raises(OSError, match="No space"):
            monday(folder, as_of)
    again = monday(folder, as_of)

    assert again["is_new"]
    assert len(listed(folder, 4)) == len(listed(folder, 3))


def test_a_second_run_at_the_same_time_is_refused(mondays, tmp_path):
    folder = copied(mondays, tmp_path)
    with (
        weekly.locked(folder),
        pytest.raises(RequestError, match="another run is writing"),
    ):
        monday(folder, FIRST + 4 * weekly.WEEK)


@pytest.mark.long
def test_a_share_of_0_gives_lists_without_a_verdict(tmp_path):
    answers = [
        monday(tmp_path, FIRST + n * weekly.WEEK, share=0.0, never=None)
        for n in range(3)
    ]

    assert answers[-1]["held_out"] == 0
    assert answers[-1]["together"]["lists"] == 1
    assert answers[-1]["together"]["verdict"] == "no_control"
    assert "Nobody is held out" in (tmp_path / "index.html").read_text()


def test_the_command_needs_a_share_for_the_first_list_alone(mondays, tmp_path, capsys):
    status = main(["try", TARGET, "--folder", f"{tmp_path / 'new'}"])

    assert status == 1
    assert "Add --control 30%" in capsys.readouterr().err


# Every day has an event of somebody, so that a day without a table is missed.
DAILY = ROWS + [
    shop.event("every.day", LONG_AGO + timedelta(days=n)) for n in range(17 * 7)
]


def on(
    today: date, folder: Path, *, until: date, lost: tuple[date, ...] = (), **more: Any
) -> dict[str, Any]:
    """Write the list of a day by an export that ends before another, or has gaps."""
    rows = []
    for row in DAILY:
        day = datetime.fromtimestamp(row["event_timestamp"] / 1e6, UTC).date()
        if day < until and day not in lost:
            rows.append(row)
    with in_place(exported(rows)):
        return monday_of(folder, now=at(today), **more)


def test_a_late_table_loses_no_monday_and_missing_days_are_no_zero(tmp_path):
    """The second Monday's newest table is a day late, the third's two. On the fourth
    the export lacks three days of the first list's outcomes, which come later."""
    week = weekly.WEEK
    day = timedelta(days=1)
    (tmp_path / lists.KEY).write_text("07" * 32)
    lost = tuple(FIRST + n * day for n in (1, 2, 3))
    on(FIRST, tmp_path, until=FIRST)
    second = on(FIRST + week, tmp_path, until=FIRST + week - day)
    with pytest.raises(NoData, match="a list is due"):
        on(FIRST + 2 * week, tmp_path, until=FIRST + 2 * week - 2 * day)
    fourth = on(FIRST + 3 * week, tmp_path, until=FIRST + 3 * week, lost=lost)
    told = sentences.week_of_folder(fourth)
    page = (tmp_path / "index.html").read_text()
    restored = on(FIRST + 4 * week, tmp_path, until=FIRST + 4 * week)

    assert second["is_new"]
    assert second["as_of"] == FIRST + week - day
    assert f"No list was written for {FIRST + 2 * week}" in told
    assert f"The list of {FIRST} is not judged: the export lacks {lost[0]}" in told
    assert f"The list of {FIRST} is not judged" in page
    assert fourth["together"]["lists"] == 1
    assert restored["together"]["lists"] == 2
    assert not restored["not_judged"]


def test_sums_are_in_the_currency_of_the_export(mondays, tmp_path):
    """Which has pounds alone, though a use case without a folder says dollars."""
    folder = copied(mondays, tmp_path)
    rows = []
    pounds = shop.parameters({"currency": "GBP"})
    for row in ROWS:
        added = pounds if row["event_name"] == "purchase" else []
        rows.append({**row, "event_params": row["event_params"] + added})
    as_of = FIRST + 4 * weekly.WEEK
    with in_place(exported(rows)):
        answer = monday_of(folder, now=at(as_of))

    assert answer["together"]["currency"] == "GBP"
    assert " USD" not in (folder / "index.html").read_text()
