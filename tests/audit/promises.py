"""
What people are promised, asked of a world after the fact.

Each question reads the receiver's record, tables, and what the product said: none knows
how the product works.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from deploy.alerts import EXPECTED, RETRIED
from propensity.streaming.features.compact import ages_of
from propensity.tables.every import TABLES
from tests.audit.faults import UNSURE
from tests.audit.receiver import ListName, Person, Try
from tests.audit.world import Call, World, person_of

# What a report of forgetting says of a receiver; the exit code where something is left.
WAITS, BY_HAND = "the next delivery removes them", "remove them there yourself"
ENDS = "propensity audience end removes them"
LEFT_OVER = 3
# What is said of two audiences whose control groups would hold out different users.
SHARED = re.compile(r"(\w+) and (\w+) of (\w+) share the control group")


def check(world: World) -> None:
    """Ask everything that can be asked at any time."""
    # What goes on meanwhile runs in the receiver's thread.
    for failure in world.receiver.failures:
        raise failure
    for call in world.calls:
        counts_are_true(call)
        calls_end_in_time(call)
    accepted_were_taken(world)
    who_is_on_a_list_is_in_the_ledger(world)
    draws_last(world)
    who_runs_is_not_stopped_by_a_new_file(world)
    suppressed_are_not_sent(world)
    dates_go_forward(world)
    who_lost_the_lease_changes_nothing(world)
    keys_name_one_request(world)


def who_runs_is_not_stopped_by_a_new_file(world: World) -> None:
    """An audience that was sent is refused for the sake of one that was sent, too."""
    sent = {(row["use_case"], row["audience"]) for row in world.plans()}
    for call in world.calls[-1:]:
        for name, other, use_case in SHARED.findall(call.said):
            own = call.audience.use_case if call.audience else call.use_case
            if (own, name) in sent:
                assert (use_case, other) in sent, call.said


def _tries(world: World, action: str = "add") -> Iterator[Try]:
    return (one for one in world.receiver.tries if one.action == action)


# -- sent is accepted and rejected -----------------------------------------------------


def _counts(call: Call) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield audience and counts of each delivery that a call says it did."""
    if call.door == "05":
        answer = call.answer.get("detail") or call.answer
        for entry in answer.get("audiences", ()):
            if "sent" in entry:
                is_stopped = entry["outcome"] == "interrupted"
                yield entry["audience"], {**entry, "is_stopped": is_stopped}
    elif "tallies" in call.answer:
        tallies = call.answer["tallies"].values()
        accepted = sum(one["accepted"] for one in tallies)
        rejected = sum(sum(one["rejected"].values()) for one in tallies)
        sent = sum(one["sent"] for one in tallies)
        counts = {"sent": sent, "accepted": accepted, "rejected": rejected}
        pending = {"pending": call.answer["pending"]}
        stop = {"is_stopped": bool(call.answer["failure"])}
        yield call.answer["audience"], {**counts, **pending, **stop}


def _statuses(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], str]:
    columns = ("use_case", "audience", "as_of", "destination", "action", "user_id")
    statuses = {}
    for row in rows:
        status = row["status"]
        # The receiver says later what became of them.
        if status == "pending" and row["receipt"]:
            status = "waiting"
        # Somebody may be taken off at several addresses.
        address = row["address"] if row["action"] == "remove" else None
        statuses[*(row[name] for name in columns), address] = status
    return statuses


def counts_are_true(call: Call) -> None:
    """Sent is accepted plus rejected, and the ledger has what an answer counts."""
    if call.killed or call.others:
        return
    # A write whose answer is lost may have been made.
    is_known = call.fault != UNSURE
    before, after = _statuses(call.recorded_before), _statuses(call.recorded)
    use_case = call.audience.use_case if call.audience else call.use_case
    for audience, counts in _counts(call):
        assert counts["sent"] == counts["accepted"] + counts["rejected"], counts
        now = Counter(
            status for key, status in after.items() if key[:2] == (use_case, audience)
        )
        assert counts["is_stopped"] or counts["pending"] <= now["waiting"], counts
        changed = Counter(
            status
            for key, status in after.items()
            if key[:2] == (use_case, audience)
            and before.get(key) not in (status, "waiting")
        )
        for status in ("accepted", "rejected"):
            is_same = counts[status] == changed[status]
            assert is_same or not is_known, (status, counts, changed)
        pending = now["pending"] + now["waiting"]
        is_less = counts["pending"] <= pending
        assert is_less or not is_known, ("pending", counts, pending)


def accepted_were_taken(world: World) -> None:
    """Whoever the ledger calls accepted was taken by the receiver, as of that date."""
    taken = {
        (one.list.use_case, one.list.audience, one.as_of, one.action, person.name)
        for one in world.receiver.tries
        for person in one.taken
    }
    columns = ("use_case", "audience", "as_of", "action")
    for row in world.recorded():
        # Of additions in part it is not known whose: the reason says so.
        is_in_part = row["action"] == "add" and row["receipt"] and row["reason"]
        if row["status"] == "accepted" and not is_in_part:
            key = *(str(row[name]) for name in columns), person_of(row["user_id"])
            assert key in taken, f"accepted, and never taken: {key}"


def who_is_on_a_list_is_in_the_ledger(world: World) -> None:
    """
    Whoever a receiver has was added by the ledger, or may have been, and not removed.

    Somebody may be there by several addresses, and is taken off by each. Of somebody
    forgotten no row is left: a report says who has them.
    """
    for name, people in world.receiver.lists.items():
        written = _written(world, name)
        there = Counter(person.name for person in people)
        for person, addresses in there.items():
            if not world.is_forgotten(person):
                rows = written[person]
                known = [
                    dates
                    for dates in rows.values()
                    if "add" in dates and dates["add"] >= dates.get("remove", "")
                ]
                is_known = len(known) >= addresses
                assert is_known, f"{person} is on {name}, and the ledger has {rows}"


def _written(world: World, name: ListName) -> dict[str, Any]:
    """Return by person, user and address the last dates of what may have happened."""
    whose = name.use_case, name.audience, name.path[1:]
    last = defaultdict[str, Any](lambda: defaultdict(dict))
    for row in world.recorded():
        is_sure = row["status"] == "accepted"
        is_added = row["action"] == "add"
        is_maybe = row["status"] == "pending" or row["may_have_arrived"]
        key = row["use_case"], row["audience"], row["destination"]
        if key == whose and (is_sure or is_added and is_maybe):
            dates = last[person_of(row["user_id"])][row["user_id"], row["address"]]
            as_of = str(row["as_of"])
            dates[row["action"]] = max(as_of, dates.get(row["action"], ""))
    return last


def keys_name_one_request(world: World) -> None:
    """
    A key that comes again has the same request: receivers answer by the key.

    A request that comes again has the same key, unless its file was changed.
    """
    bodies = dict[tuple[str, str], bytes]()
    keys = dict[tuple[int, Any, str, bytes], str]()
    for one in world.receiver.tries:
        # Google has no keys.
        if not one.key:
            continue
        if one.taken:
            first = bodies.setdefault((one.list.path, one.key), one.body)
            assert first == one.body, f"one key, two requests: {first!r} {one.body!r}"
        # Another request, for another browser of somebody, has the same body.
        if all(len(world.ids_of(person.name)) == 1 for person in one.people):
            files = bisect_right(world.file_changes, one.number)
            key = keys.setdefault((files, one.list, one.action, one.body), one.key)
            assert key == one.key, f"one request, two keys: {one}"


# -- who is left alone -----------------------------------------------------------------


def control_is_left_alone(world: World, one: Try) -> None:
    """
    No audience of a group sends a person once the group's control group has them.

    With another address a person may get into it later on. An audience that had another
    group before leaves those of both alone.
    """
    if one.action == "add":
        sent = {person.name for person in one.people}
        held = sent & world.held_out(one.list)
        assert not held, f"{held} are held out, and sent: {one}"


def draws_last(world: World) -> None:
    """Whoever keeps an address is in a group's control group always, or never."""
    drawn = dict[tuple[str, str], bool]()
    for row in world.members():
        group, person = row["control_group"], person_of(row["user_id"])
        if person not in world.moved:
            is_control = drawn.setdefault((group, person), row["is_control"])
            assert is_control == row["is_control"], f"{person} changes sides: {row}"


def suppressed_are_not_sent(world: World) -> None:
    """Nobody is in a try that began after they were suppressed."""
    for person, since in world.suppressed:
        for one in _tries(world):
            sent = {somebody.name for somebody in one.people}
            assert not (one.at >= since and person in sent), (
                f"{person} was suppressed at {since}, and sent: {one}"
            )


def who_is_listed_may_be_contacted(world: World, call: Call) -> None:
    """The list that a person prints has nobody who is held out or suppressed by now."""
    assert call.audience is not None
    name = ListName("", call.audience.use_case, call.audience.name)
    listed = {person_of(user["user_id"]) for user in call.answer.get("users", ())}
    barred = listed & (world.held_out(name) | _suppressed(world))
    assert not barred, f"{barred} are on the list to contact: {call.door}"


# -- dates and leases ------------------------------------------------------------------


def dates_go_forward(world: World) -> None:
    """A list hears of no date after it has heard of a newer one."""
    newest = dict[ListName, str]()
    for one in world.receiver.tries:
        before = newest.setdefault(one.list, one.as_of)
        assert one.as_of >= before, f"{before} was sent before: {one}"
        newest[one.list] = one.as_of


def who_lost_the_lease_changes_nothing(world: World) -> None:
    """Once another sender is through, the one that slept sends nothing more."""
    for call in world.calls:
        if call.taken_over is None:
            continue
        other = call.taken_over
        late = world.receiver.tries[other.last_try : call.last_try]
        sent = [one for one in late if one.list in other.lists]
        assert not sent, f"sent without a lease: {sent}"
        # What became of the request that was under way may be recorded.
        assert other.audience is not None
        audience = other.audience.use_case, other.audience.name
        earlier = [
            one
            for one in world.receiver.tries[: other.first_try]
            if (one.list.use_case, one.list.audience) == audience
        ]
        recorded = {person.name for person in earlier[-1].people}
        of_other = _statuses(other.recorded)
        for key, status in _statuses(call.recorded).items():
            if key[:2] == audience and person_of(key[-2]) not in recorded:
                assert status == of_other.get(key), f"recorded without a lease: {key}"


# -- once a delivery is complete -------------------------------------------------------


def who_left_is_taken_off(world: World, name: ListName, as_of: str) -> None:
    """After a complete delivery of a date the list has nobody but its users."""
    current = {
        person
        for one in _tries(world)
        if (one.list, one.as_of) == (name, as_of)
        for person in one.people
    }
    left = world.receiver.lists[name] - current
    # Who could not be removed is in the ledger with the reason, and is asked for again
    # as of the next date.
    key = name.use_case, name.audience, as_of, "remove", "rejected"
    columns = ("use_case", "audience", "as_of", "action", "status")
    refused = {
        person_of(row["user_id"])
        for row in world.recorded()
        if tuple(str(row[column]) for column in columns) == key
    }
    # Who is held out by now is not sent, and leaves as of the next date.
    held = world.held_out(name) & _treated(world, name, as_of)
    left = {
        person
        for person in left
        if person.name not in held | refused and not _is_named(world, name, person)
    }
    assert not left, f"{left} left, and are on the list {name} still, as of {as_of}"


def _is_named(world: World, name: ListName, person: Person) -> bool:
    """Return whether the report of a forgetting leaves a removal to a person."""
    return any(
        {BY_HAND, ENDS} & _removals(call, name)
        for call in world.forgotten
        if person.name in call.door.split()
    )


def _removals(report: Call, name: ListName) -> set[str]:
    """Return what a report says of the receivers of an audience."""
    return {
        entry["removal"]
        for entry in report.answer.get("receivers", ())
        if (entry["use_case"], entry["audience"]) == (name.use_case, name.audience)
    }


def everybody_was_sent(world: World, use_case: str, audience: str, as_of: str) -> None:
    """After a complete delivery the ledger has each treated member as sent."""
    key = use_case, audience, as_of
    rows = [
        row
        for row in world.recorded()
        if (row["use_case"], row["audience"], str(row["as_of"])) == key
        and row["action"] == "add"
    ]
    sent = {row["user_id"] for row in rows if row["status"] != "pending"}
    treated = {
        row["user_id"]
        for row in world.members()
        if (row["use_case"], row["audience"], str(row["as_of"])) == key
        and not row["is_control"]
    }
    missing = {
        user for user in treated - sent if person_of(user) not in _suppressed(world)
    }
    assert not missing, f"of {key} were not sent: {missing}"


def _suppressed(world: World) -> set[str]:
    return {person for person, _ in world.suppressed}


def everybody_is_on_the_list(world: World, name: ListName, as_of: str) -> None:
    """After a complete delivery the list has all whom the receiver did not refuse."""
    treated = _treated(world, name, as_of)
    refused = {person.name for one in world.receiver.tries for person in one.refused}
    there = {person.name for person in world.receiver.lists[name]}
    missing = treated - refused - _suppressed(world) - there - world.held_out(name)
    assert not missing, f"{missing} are not on the list {name} as of {as_of}"


def _treated(world: World, name: ListName, as_of: str) -> set[str]:
    key = name.use_case, name.audience, as_of
    return {
        person_of(row["user_id"])
        for row in world.members()
        if (row["use_case"], row["audience"], str(row["as_of"])) == key
        and not row["is_control"]
    }


def abandoned_lists_are_named(world: World) -> None:
    """
    An alert has told of a list that no file leads to any more, and has people.

    Of an audience that has a file the alert may name another fault first: nothing is
    sent before that is mended, and then the list is named.
    """
    current = {
        ListName(f"/{destination.name}", use_case, name)
        for (use_case, name), audience in world.audiences.items()
        if (destination := world.destinations.get((use_case, audience.destination)))
    }
    told = [
        (call, line.get("audience"), line.get("message", ""))
        for call in world.calls
        for line in call.lines
        if any(map(raises_alert, call.lines))
    ]
    last_due = max(call.due for call in world.calls if call.due)
    for name, people in world.receiver.lists.items():
        left = {person for person in people if not _is_named(world, name, person)}
        if left and name not in current:
            key = name.use_case, name.audience
            is_told = any(
                (call.use_case, audience) == key
                and (
                    (name.path[1:] in message and " list" in message)
                    or (key in world.audiences and call.due == last_due)
                )
                for call, audience, message in told
            )
            assert is_told, f"nobody names the list {name}: {left}"


# -- forgetting ------------------------------------------------------------------------


def forgotten_are_nowhere(world: World, person: str, report: Call) -> None:
    """No table and no object has an id of a person, or the address."""
    receivers = report.answer.get("receivers", ())
    removals = {some["removal"] for some in receivers}
    if report.status == LEFT_OVER and {WAITS, ENDS} & removals:
        # The removal needs them.
        return
    assert report.status == 0, f"not forgotten: {report.said}"
    words = [f"{user}'" for user in world.ids_of(person)]
    words += [f"{person}@", f"{person[0]}.{person[1:]}+"]
    # Some tables are only read by their partitions.
    partitions = {table.stored: table.partition for table in TABLES if table.partition}
    for name in world.tables():
        sql = f"SELECT * FROM {name}"
        if name in partitions:
            sql += f" WHERE {partitions[name]} >= DATE '1970-01-01'"
        rows = repr(world.warehouse.table(sql).to_pylist()).lower()
        assert not any(word in rows for word in words), f"{person} in {name}: {rows}"
    for name in world.bucket.names(""):
        data = world.bucket.read(name).data.lower()
        held = any(word.encode() in data for word in words)
        assert not held, f"{person} in {name}: {data!r}"


def receivers_are_named(world: World, person: str) -> None:
    """
    The last report of the forgetting names every destination that has the person.

    A report that leaves the removal to a person is the last one that can name it.
    """
    reports = [call for call in world.forgotten if person in call.door.split()]
    for name, people in world.receiver.lists.items():
        said = set[str]()
        for report in reports:
            said = _removals(report, name) | said & {BY_HAND}
        if person in {somebody.name for somebody in people}:
            assert {WAITS, ENDS, BY_HAND} & said, f"{person} is on {name}: {said}"


# -- due dates -------------------------------------------------------------------------


def raises_alert(line: Mapping[str, Any]) -> bool:
    """Return whether a line raises an alert: audience_not_sent or run_failed."""
    if line.get("function") != "audiences":
        return False
    outcome = line.get("outcome")
    failed = int(line.get("status") or 0) >= 400 and outcome not in EXPECTED + RETRIED
    return outcome == "audience_stopped" or failed


def outlasts_the_scheduler(call: Call) -> bool:
    """The scheduler waits for 30 minutes; a call that takes longer is as killed."""
    took = call.ended_at - call.began_at if call.ended_at else timedelta(0)
    return took > timedelta(minutes=30)


def calls_end_in_time(call: Call) -> None:
    if call.door == "05" and not call.others:
        assert not outlasts_the_scheduler(call), f"{call.began_at}: {call.said}"


def due_date_is_sent_or_told(world: World, calls: list[Call], audience: str) -> None:
    """A due date was sent by one of a day's calls, or an alert says that it was not."""
    due, use_case = calls[-1].due, calls[-1].use_case
    assert due is not None
    # On the day after, the compaction looks for runs that were missed.
    tomorrow = due.date() + timedelta(days=1)
    age = ages_of(world.bucket, use_case, today=tomorrow).get("audience_age_days", 0)
    oldest = str(due.date() - timedelta(days=7))
    for call in calls:
        for entry in call.answer.get("audiences", ()):
            if entry["audience"] == audience and entry["outcome"] == "ended":
                return
            if entry["audience"] == audience and entry["outcome"] == "sent":
                assert entry["prediction_as_of"] > oldest, entry
                return
    if any(call.taken_over for call in calls):
        # A person has sent newer predictions meanwhile.
        return
    if calls[-1].began_at > due + timedelta(days=1):
        # A delivery of another use case has slept, and the scheduler with it.
        return
    told = [line for call in calls for line in call.lines if raises_alert(line)]
    if told:
        if outlasts_the_scheduler(calls[-1]):
            # The scheduler has given it up days ago, and so has the compaction told.
            return
        outcomes = {line["outcome"] for line in told}
        is_twice = outcomes == {"audience_stopped"} and age > 1
        # Another audience waits still, of which the day after is the first to tell.
        is_twice = is_twice and calls[-1].status not in (409, 503)
        assert not is_twice, f"told of {audience}, and told again on the day after"
        return
    # The scheduler's own line, after its last call.
    status = calls[-1].status
    waited = calls[-1].began_at - calls[0].began_at
    if (
        calls[-1].killed
        # Those after a call that slept come in one moment, and none waits for long.
        or any(outlasts_the_scheduler(call) for call in calls)
        # Nor do those that begin late, since here they follow another use case's.
        or (status in (409, 503) and waited < timedelta(minutes=150))
        or status is None
        or (status >= 400 and status not in (409, 503))
    ):
        return
    assert age > 1, (
        f"{audience} was not sent on {due}, and nobody is told: "
        f"{[(call.status, str(call.began_at)) for call in calls]}"
    )
