"""
The smallest sequences that once broke a promise, played again: one of each defect.

The machine asks its questions after each step, and after a last week. Neighbours of a
sequence are marked ``long``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.audit.faults import AWAY, KILLED, UNSURE
from tests.audit.machine import PEOPLE, SECOND, USERS, Deliveries
from tests.audit.receiver import (
    BUSY,
    FORBIDDEN,
    LOST,
    PARTLY,
    REFUSES,
    UNREADABLE,
)
from tests.audit.world import CONTROL_KEY, EVENTS, USE_CASES, World


def cases(defect: Any, *neighbours: Any) -> list[Any]:
    """Return the parameters of the case that broke, and of others that could have."""
    every = [one if isinstance(one, tuple) else (one,) for one in neighbours]
    return [defect, *(pytest.param(*one, marks=pytest.mark.long) for one in every)]


@pytest.fixture
def weeks(world: World) -> Iterator[Deliveries]:
    """A machine whose steps a test chooses."""

    class Here(Deliveries):
        pass

    Here.world = world
    machine = Here()
    yield machine
    machine.teardown()


def test_a_call_after_midnight_goes_on_with_the_day_that_was_due(weeks):
    weeks.begin(zone="America/New_York", order=USERS, top=4)
    weeks.week(order=USERS, late=71)


@pytest.mark.parametrize("use_case", cases(*USE_CASES[1:], USE_CASES[0]))
def test_audiences_of_a_group_leave_the_same_people_alone(weeks, use_case):
    weeks.begin(order=USERS, control="20%", group="all")
    weeks.declare(name="bbb", use_case=use_case, group="all", control="50%")
    weeks.send(place=1)


def test_a_lost_key_is_not_replaced(weeks):
    weeks.begin(order=USERS, control="50%")
    weeks.lose_key()
    weeks.declare(name="bbb")
    weeks.preview(place=1)
    assert weeks.world.bucket.find(CONTROL_KEY) is None
    weeks.week(order=USERS)


@pytest.mark.parametrize(("control", "group"), cases(("20%", ""), ("50%", "all")))
def test_a_draw_does_not_change_once_members_have_expired(weeks, control, group):
    weeks.begin(order=USERS, control="50%")
    weeks.world.clock.advance(400 * 24 * 3600)
    weeks.world.expire()
    weeks.declare(name="aaa", control=control, group=group)
    weeks.week(order=USERS)


def test_a_machine_that_slept_sends_nothing_beside_another(weeks):
    weeks.begin(order=USERS, batch=1)
    weeks.week(order=USERS, meanwhile=(1, "sleep 7 minutes", ""))


def test_a_laptop_that_slept_for_a_week_puts_nobody_back(weeks):
    weeks.begin(order=USERS, top=4, batch=1, meanwhile=(1, "sleep a week", ""))


def test_a_person_sends_what_a_call_that_slept_for_a_week_does_not(weeks):
    slept = (1, "sleep a week", "")
    weeks.begin(order=USERS, zone="America/New_York", batch=1)
    weeks.week(order=USERS, late=71, meanwhile=slept)


def test_a_second_try_has_nobody_who_is_suppressed(weeks):
    weeks.begin(order=USERS)
    weeks.week(order=USERS, meanwhile=(1, "suppress", BUSY))


def test_a_call_ends_before_the_scheduler_gives_it_up(weeks):
    weeks.begin(order=USERS)
    weeks.week(order=USERS, script=[BUSY] * 7)


@pytest.mark.parametrize("writes", cases(4, 3, 7))
def test_counts_are_those_of_the_ledger_though_a_write_failed(weeks, writes):
    weeks.begin(order=USERS, batch=3)
    weeks.week(order=USERS, fault=(AWAY, writes))


def test_a_wrong_file_rejects_nobody(weeks):
    weeks.begin(order=USERS[:3], batch=1)
    weeks.week(order=PEOPLE, late=600)
    weeks.send(place=0, is_file_wrong=True)
    weeks.send(place=0)


def test_an_earlier_address_is_taken_off_though_a_week_was_lost(weeks):
    """Defect: who was not asked to be added yet counted as on the list already."""
    weeks.begin(order=USERS)
    weeks.move(place=0, domain="two.example")
    weeks.week(order=USERS, down=600)
    weeks.week(order=USERS)


def test_a_list_that_no_file_leads_to_is_named(weeks):
    weeks.begin(order=USERS)
    weeks.delete(place=0)
    weeks.declare(name="bbb")


def test_a_destination_of_another_name_is_another_list(weeks):
    weeks.begin(order=USERS)
    weeks.connect(file="crm", name="crm-two", removes=True)
    weeks.send(place=0)


@pytest.mark.parametrize(
    ("removes", "is_folder_broken"),
    cases((False, True), (True, False)),
)
def test_forgetting_names_the_receivers_that_have_somebody(
    weeks, removes, is_folder_broken
):
    weeks.begin(order=USERS, removes=removes)
    weeks.forget(place=0, is_folder_broken=is_folder_broken)
    weeks.week(order=USERS)


@pytest.mark.parametrize("trouble", cases(REFUSES, PARTLY))
def test_an_earlier_address_that_was_not_removed_is_asked_for_again(weeks, trouble):
    """Defect: once the new address was taken, the earlier one stayed on the list."""
    weeks.begin(order=USERS)
    weeks.move(place=2, domain="two.example")
    weeks.week(order=USERS, script=[trouble])


def test_earlier_addresses_are_taken_off_once_a_destination_can(weeks):
    """Defect: of addresses from before ``[remove]`` the newest alone was removed."""
    weeks.begin(order=USERS, removes=False)
    weeks.move(place=2, domain="two.example")
    weeks.week(order=USERS)
    weeks.connect(file="crm", name="crm-one", removes=True)
    weeks.week(order=USERS)


def test_an_address_is_known_that_was_sent_before_a_kill(weeks):
    """Defect: while the removal of another address was refused, it was forgotten."""
    weeks.begin(order=USERS, batch=20)
    weeks.move(place=2, domain="two.example")
    weeks.week(order=USERS, down=600)
    weeks.send(place=0, script=[REFUSES], fault=(KILLED, 80))
    weeks.move(place=2, domain="three.example")


def test_who_is_rejected_with_another_browser_is_on_no_list(weeks):
    """Defect: an address was sent twice in a request, taken once and rejected once."""
    weeks.begin(order=USERS, script=[PARTLY])
    weeks.suppress(place=0)


def test_no_removal_is_sent_without_an_address(weeks):
    """Defect: no row had the address of somebody forgotten between two tries."""
    weeks.begin(order=USERS, removes=False, meanwhile=(1, "forget", BUSY))
    weeks.connect(file="crm", name="crm-one", removes=True)
    weeks.week(order=USERS)


def test_who_is_held_out_between_two_tries_is_not_in_the_second(weeks):
    """Defect: whom the control group has was read once, before the delivery."""
    weeks.begin(
        order=USERS,
        top=16,
        batch=20,
        control="50%",
        group="all",
        others=[USE_CASES[0]],
        meanwhile=(1, "move, another audience", BUSY),
    )
    weeks.preview(place=0)


def test_a_list_of_an_audience_that_has_ended_is_named(weeks):
    """Defect: the alert named the destination, and not that users are on its list."""
    weeks.begin(order=USERS)
    weeks.connect(file="crm", name="crm-two", removes=True)
    weeks.declare(name="aaa", top=16, destination="other", ends=True)
    weeks.week(order=USERS)


def test_a_removal_that_waits_is_never_sent_as_an_addition(weeks):
    """Defect: once [remove] was gone from the file, a forgotten user was added, and the
    report said that they were removed."""
    weeks.begin(order=PEOPLE, by="user_id", top=16)
    weeks.forget(place=0, is_folder_broken=False)
    weeks.week(order=PEOPLE, script=[FORBIDDEN])
    weeks.connect(file="crm", name="crm-one", removes=False)
    weeks.send(place=0)
    rows = weeks.world.recorded()
    reasons = {row["reason"] for row in rows if row["action"] == "remove"}
    assert reasons == {
        "its file has no [remove] any more; remove the user there yourself"
    }
    weeks.forget(place=0, is_folder_broken=False)


@pytest.mark.parametrize("trouble", cases(FORBIDDEN, REFUSES))
def test_a_removal_that_stopped_for_the_receiver_s_sake_waits(weeks, trouble):
    """Defect: a token had expired, and the record of who has the user was deleted.

    One that the receiver refuses is for a person."""
    weeks.begin(order=USERS)
    weeks.forget(place=0, is_folder_broken=False)
    weeks.week(order=USERS, script=[trouble])
    weeks.forget(place=0, is_folder_broken=False)
    weeks.send(place=0)


@pytest.mark.parametrize("domain", cases("gmail.com", "two.example"))
def test_who_was_held_out_stays_so_with_another_address_and_browser(weeks, domain):
    """Defect: the browser that was no member before was contacted, by an address that
    was written in another way."""
    browsers = [user for user in USERS if user.endswith("b")]
    weeks.begin(order=PEOPLE, control="50%", spelled=browsers)
    for place in range(len(PEOPLE)):
        weeks.world.move(PEOPLE[place], domain)
    weeks.week(order=USERS[::-1])


@pytest.mark.parametrize(
    ("what", "trouble"),
    cases(("suppress", LOST), ("forget", BUSY)),
)
def test_who_may_have_been_added_by_a_lost_try_is_taken_off(weeks, what, trouble):
    """Defect: the first try had arrived, and nobody took the user off the list."""
    weeks.begin(order=USERS, meanwhile=(1, what, trouble))
    weeks.week(order=USERS)


def test_a_user_rejected_after_a_lost_try_is_taken_off(weeks):
    """Defect: the first try had arrived, and nobody took the user off the list."""
    weeks.begin(order=PEOPLE, batch=20, script=[LOST, PARTLY], top=4)
    weeks.week(order=PEOPLE[4:], script=[])


@pytest.mark.long
def test_a_user_rejected_by_another_file_after_a_lost_try_is_taken_off(weeks):
    """The file was corrected between the tries, so the second one has another key."""
    weeks.begin(order=PEOPLE, batch=20, script=[LOST] * 8, top=4)
    weeks.world.connect(replace(weeks.first_destination, source="us, again"))
    weeks.send(place=0, script=[PARTLY])
    weeks.week(order=PEOPLE[4:])


def test_an_older_delivery_overwrites_nothing(weeks):
    """Defect: a delivery had lost its lease, and rejected a user whom the next one had
    seen accepted: nobody would have taken them off the list."""
    weeks.begin(order=PEOPLE, batch=1, top=4)
    slept = (2, "sleep 7 minutes", "")
    weeks.week(order=PEOPLE[4:], script=[REFUSES], meanwhile=slept)
    weeks.week(order=PEOPLE)


@pytest.mark.parametrize("trouble", cases(PARTLY, REFUSES))
def test_what_google_says_a_day_later_is_what_happened(weeks, trouble):
    """Defect: who stayed on the list of a removal in part counted as removed."""
    weeks.begin(order=PEOPLE, by=EVENTS, top=4, batch=20, takes_long=30)
    weeks.week(order=PEOPLE[::-1], script=[trouble])
    weeks.week(order=PEOPLE[::-1])


@pytest.mark.parametrize("steps", cases(60, 40))
def test_a_killed_delivery_is_gone_on_with(weeks, steps):
    """Nobody is lost, and each request that comes again has its key."""
    weeks.begin(order=USERS, batch=3, control="20%")
    weeks.week(order=USERS[::-1], fault=(KILLED, steps), script=["", REFUSES, LOST])
    weeks.send(place=0)

    tries = [one for one in weeks.world.receiver.tries if one.action == "add"]
    again = [one for one in Counter(one.key for one in tries).values() if one > 1]
    assert len(again) <= 2, "one was under way, and one was lost"


@pytest.mark.parametrize("what", cases("replace key", "lose key"))
def test_another_key_is_refused_by_all_audiences(weeks, what):
    """Otherwise those would be contacted who were held out."""
    weeks.begin(order=USERS, control="50%")
    weeks.seldom(place=0, what=what)
    weeks.declare(name="bbb", control="50%")
    weeks.send(place=1)
    weeks.week(order=USERS[::-1])


def test_a_request_of_a_corrected_file_has_another_key(weeks):
    """Defect: receivers refuse a known key with another body, or answer as before."""
    weeks.begin(order=USERS, script=[LOST] * 8)
    weeks.world.connect(replace(weeks.first_destination, source="us, again"))
    weeks.send(place=0)


@pytest.mark.long
def test_a_receiver_that_is_down_is_tried_again(weeks):
    weeks.begin(order=USERS)
    weeks.late_week(order=USERS, down=15)


def test_who_is_added_by_one_browser_is_not_taken_off_by_another(weeks):
    """Defect: the destination could remove only once additions had been sent, so that a
    browser whose address was written in another way was taken off after them."""
    weeks.begin(
        order=["u0b", "u9", "u4b", "u7"],
        control="20%",
        spelled=SECOND,
        removes=False,
        draw=5,
        top=4,
    )
    weeks.send(place=0, order=["u9", "u4", "u6", "u0"], change="removes")


@pytest.mark.long
def test_whose_removal_is_rejected_stays_in_the_ledger_by_that_address(weeks):
    weeks.begin(
        order=["u7", "u9", "u3", "u1", "u2", "u5", "u0", "u6", "u8", "u4"],
        meanwhile=(1, "move, move, move", ""),
        control="20%",
        top=4,
        is_mended=True,
        draw=6,
        others=["ga4_value", "ga4_value"],
        spelled=SECOND,
        removes=False,
        batch=1,
        script=[""],
    )
    weeks.send(place=23, change="removes", fault=(UNSURE, 10), script=[REFUSES])
    weeks.send(
        place=6,
        is_file_wrong=True,
        order=["u7", "u4", "u1b", "u2", "u3b", "u5b", "u2b", "u8", "u6", "u9"],
        script=[LOST, LOST, PARTLY, LOST],
    )
    weeks.send(
        place=24,
        order=["u3b", "u5b", "u4b", "u7", "u6", "u9", "u1b", "u8", "u2b", "u0b"],
        script=[PARTLY, LOST],
    )


def test_an_answer_that_is_said_again_does_not_vouch_for_the_file(weeks):
    """Defect: a wrong file rejected users, once an earlier request was taken again."""
    weeks.begin(
        order=PEOPLE,
        control="20%",
        top=4,
        batch=1,
        script=[UNREADABLE],
        is_mended=True,
    )
    weeks.send(
        place=0,
        is_file_wrong=True,
    )
    weeks.send(place=0)


def test_what_was_taken_before_does_not_vouch_for_the_file(weeks):
    """Defect: the last user was rejected, though the file was wrong by then."""
    weeks.begin(order=PEOPLE, top=4, script=["", FORBIDDEN])
    weeks.send(place=0, is_file_wrong=True)
    weeks.send(place=0)


@pytest.mark.long
@pytest.mark.parametrize("writes", [8, 9])
def test_a_request_that_was_under_way_does_not_vouch_for_the_file(weeks, writes):
    weeks.begin(order=PEOPLE, top=4, batch=1)
    weeks.send(place=0, order=PEOPLE[4:], fault=(AWAY, writes))
    weeks.send(place=0, is_file_wrong=True)
    weeks.send(place=0)
