"""
One person with several browsers, specified: user_column is person.

A browser belongs to the last user id seen on it before the as-of date; without one it
is itself. Nothing that happens later joins what was before.
"""

from __future__ import annotations

import pytest

from offline import forget
from propensity import usecases
from propensity.trying import new_use_case as new
from tests.support import own_use_cases, shop
from tests.support.shop import DAY, event, purchase
from tests.usecases.ga4_purchase.conftest import AS_OF, DAY_US, MIDNIGHT, Export, ago

LATER = {"user_id": "late"}
ROWS = [
    # Two browsers with a login each: one anonymous before it, one after it.
    event("ann.1", ago(20), "view_item"),
    event("ann.1", ago(10), user_id="ann"),
    event("ann.2", ago(9), user_id="ann"),
    event("ann.2", ago(2), "view_item"),
    # One order, reported by a page and by a server, which knows no browser.
    purchase("ann.1", ago(5), 30.0, transaction="T1"),
    purchase(None, ago(4), 30.0, transaction="T1", user_id="ann"),
    # A shared browser is the last one's, with all that was on it.
    event("shared", ago(30), user_id="bob"),
    event("shared", ago(3), user_id="cem"),
    event("bob.2", ago(8), user_id="bob"),
    event("given", ago(40), user_id="ida"),
    event("given", ago(20), user_id="hal"),
    # Two logins at one moment: always the same one.
    *(event("twins", ago(6), user_id=user) for user in ("x", "y")),
    # A login before the lookback, and within two of them.
    event("old", ago(100), user_id="dan"),
    event("old", ago(1)),
    event("older", ago(121), user_id="eve"),
    event("older", ago(1)),
    # A placeholder joins nobody, nor does it hide a login. An id that becomes one after
    # the date is a person's until then.
    *(event(f"guest.{n:02}", ago(15), user_id="guest") for n in range(50)),
    *(event(f"guest.{n:02}", ago(14)) for n in range(50)),
    # Nor does a browser of many ids, such as the one client id of a server.
    *(event("server", ago(15), user_id=f"u{n:02}") for n in range(51)),
    event("u07.1", ago(5), user_id="u07"),
    event("out", ago(12), user_id="fay"),
    event("out", ago(3), user_id="guest"),
    *(event(f"team.{n:02}", ago(15), user_id="team") for n in range(30)),
    *(event(f"team.{n:02}", ago(-3), user_id="team") for n in range(30, 60)),
    # A log-in on or after the date joins no browser with a person.
    event("late.1", ago(7)),
    event("late.2", ago(0, plus=-1), **LATER),
    event("late.1", ago(0), **LATER),
    # A customer who was away, by what was bought on the browser, logged in and not.
    purchase("gil.1", ago(300), 2.0, user_id="gil"),
    purchase("gil.1", ago(200), 3.0),
    # These buy in the horizon: on a known browser, on a new one, on one without login.
    purchase("ann.2", MIDNIGHT + DAY_US, 5.0),
    purchase("ann.3", MIDNIGHT + 2 * DAY_US, 7.0, user_id="ann"),
    purchase("late.1", MIDNIGHT + DAY_US, 11.0, **LATER),
    purchase("shared", MIDNIGHT + DAY_US, 13.0, user_id="bob"),
    purchase("nobody", MIDNIGHT + DAY_US, 17.0),
    purchase("gil.1", MIDNIGHT + DAY_US, 23.0),
    purchase("guest.00", MIDNIGHT + DAY_US, 19.0, user_id="guest"),
]


@pytest.fixture(scope="module")
def export():
    export = Export(PROPENSITY_USER_COLUMN="person")
    return export.load(shop.shards(ROWS))


@pytest.fixture(scope="module")
def features(export):
    return export.features()


PERSONS = {
    "ann": {
        "events": 6, "view_items": 2, "active_days": 6, "recency_days": 2,
        "sessions": 3, "purchases": 1, "revenue": 30,
    },
    # A shared browser is the last user's.
    "bob": {"events": 1},
    "cem": {"events": 2},
    "hal": {"events": 2},
    **{user: {"events": 1} for user in ("late", "late.1")},
    **{f"guest.{n:02}": {"events": 2} for n in range(50)},
    "server": {"events": 51},
    "u07": {"events": 1},
    "fay": {"events": 2},
    "team": {"events": 30},
    "gil": {"presence": "away", "recency_days": 200, "history_mean_gap_days": 100},
    **dict.fromkeys(("y", "dan", "older"), {}),
}  # fmt: skip


def test_browsers_of_one_person_are_one_user(features):
    """
    With all that was on them; an order that two of them report counts once.

    Defects: an id such as guest, which is none of the known words for no id, made one
    person of all browsers that it was on; the last customer had everybody's orders that
    a server sent with one client id.
    """
    assert {
        user: {name: row[name] for name in PERSONS.get(user, {})}
        for user, row in features.items()
    } == PERSONS


def test_a_login_of_tomorrow_joins_nothing_of_yesterday(export, features):
    """Nor do the rows of a date depend on later dates beside it."""
    both = export.features(AS_OF, AS_OF + 7 * DAY)
    assert {user: row for (day, user), row in both.items() if day == AS_OF} == {
        user: row | {"as_of": AS_OF} for user, row in features.items()
    }
    later = {user for day, user in both if day > AS_OF}
    assert "late.1" not in later
    assert both[AS_OF + 7 * DAY, "late"]["events"] == 4


def test_labels_are_of_the_person_of_the_date(export):
    """Of a browser that was there its owner's; of a new one the event's own user's."""
    paid = export.outcomes("converter_amounts")
    labels = {row["user_id"] for row in export.training_rows() if row["label"]}

    assert {row["user_id"]: row["amount"] for row in paid} == {
        "ann": 12, "late.1": 11, "cem": 13, "nobody": 17, "guest.00": 19,
        "gil": 23,
    }  # fmt: skip
    assert labels == {"ann", "late.1", "cem", "guest.00", "gil"}


def test_a_new_use_case_joins_browsers_alike(export, tmp_path):
    with own_use_cases.in_folder(tmp_path / "own"):
        new.write_use_case("own_shop", lookback_days=60, horizon_days=7)
        mine = usecases.load("own_shop")
        window = mine.window(export.settings, [AS_OF])
        rows = {
            name: {
                row["user_id"]: row
                for row in export.warehouse.rows(mine.statement(name), window)
            }
            for name in ("features", "labels")
        }

    came = {"ann", "late.1", "cem", "guest.00", "nobody", "gil"}
    assert rows["features"]["ann"]["events"] == 6
    assert set(rows["features"]) == set(export.features())
    assert set(rows["labels"]) == came


def test_a_person_is_forgotten_with_all_browsers(export):
    """Those whose last user it is, and no other's."""
    loaded = {"ga4_purchase": usecases.load("ga4_purchase")}
    found = forget.browsers_of(export.warehouse, ["ann"], loaded)

    assert found == ["ann.1", "ann.2", "ann.3"]
    assert forget.browsers_of(export.warehouse, ["guest"], loaded) == []
    # The last user of another one is a placeholder, which hides no login.
    assert forget.browsers_of(export.warehouse, ["fay"], loaded) == ["out"]
    assert forget.browsers_of(export.warehouse, ["hal", "ida"], loaded) == ["given"]
    assert forget.browsers_of(export.warehouse, ["ida"], loaded) == []
    # A browser of many ids is nobody's: strangers would go with it.
    every = [f"u{number:02}" for number in range(51)]
    assert forget.browsers_of(export.warehouse, every, loaded) == ["u07.1"]
