"""
What people are promised, asked of a world after the fact.

Each question reads the receiver's record, tables, and what the product said: none knows
how the product works.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from propensity.runs.compact import ages_of
from tests.audit.receiver import ListName, Try
from tests.audit.world import Call, World

# What 05-Audiences waits for; alerts.tf raises none for these outcomes.
EXPECTED = ("run_in_progress", "export_late", "audience_waits", "audience_stopped")


def check(world: World) -> None:
    """Ask everything that can be asked at any time."""
    for call in world.calls:
        counts_are_true(call)
    accepted_were_taken(world)
    control_is_left_alone(world)
    suppressed_are_not_sent(world)
    dates_go_forward(world)
    who_lost_the_lease_changes_nothing(world)
    keys_name_one_request(world)


def _tries(world: World, action: str = "add") -> Iterator[Try]:
    return (one for one in world.receiver.tries if one.action == action)


# -- sent is accepted and rejected -----------------------------------------------------


def _counts(call: Call) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield audience and counts of each delivery that a call says it did."""
    if call.door == "05":
        answer = call.answer.get("detail") or call.answer
        for entry in answer.get("audiences", ()):
            if "sent" in entry:
                yield entry["audience"], entry
    elif "tallies" in call.answer:
        tallies = call.answer["tallies"].values()
        accepted = sum(one["accepted"] for one in tallies)
        rejected = sum(sum(one["rejected"].values()) for one in tallies)
        sent = sum(one["sent"] for one in tallies)
        counts = {"sent": sent, "accepted": accepted, "rejected": rejected}
        pending = {"pending": call.answer["pending"]}
        yield call.answer["audience"], {**counts, **pending}


def _statuses(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], str]:
    columns = ("use_case", "audience", "as_of", "destination", "action", "user_id")
    return {tuple(row[name] for name in columns): row["status"] for row in rows}


def counts_are_true(call: Call) -> None:
    """Sent is accepted plus rejected, and the ledger has what an answer counts."""
    if call.killed or call.others:
        return
    before, after = _statuses(call.recorded_before), _statuses(call.recorded)
    use_case = call.audience.use_case if call.audience else call.use_case
    for audience, counts in _counts(call):
        assert counts["sent"] == counts["accepted"] + counts["rejected"], counts
        changed = Counter(
            status
            for key, status in after.items()
            if key[:2] == (use_case, audience) and before.get(key) != status
        )
        for status in ("accepted", "rejected"):
            assert counts[status] == changed[status], (status, counts, changed)
        pending = Counter(
            status for key, status in after.items() if key[:2] == (use_case, audience)
        )["pending"]
        assert counts["pending"] <= pending, ("pending", counts, pending)


def accepted_were_taken(world: World) -> None:
    """Whoever the ledger calls accepted was taken by the receiver, as of that date."""
    taken = {
        (one.list.use_case, one.list.audience, one.as_of, one.action, person.user)
        for one in world.receiver.tries
        for person in one.taken
    }
    columns = ("use_case", "audience", "as_of", "action", "user_id")
    for row in world.recorded():
        if row["status"] == "accepted":
            key = tuple(str(row[name]) for name in columns)
            assert key in taken, f"accepted, and never taken: {key}"


def keys_name_one_request(world: World) -> None:
    """A key that comes again has the same request: receivers answer by the key."""
    bodies = dict[tuple[str, str], bytes]()
    for one in world.receiver.tries:
        if one.taken:
            first = bodies.setdefault((one.list.path, one.key), one.body)
            assert first == one.body, f"one key, two requests: {first!r} {one.body!r}"


# -- who is left alone -----------------------------------------------------------------


def control_is_left_alone(world: World) -> None:
    """No audience of a group sends a user whom the group's control group has."""
    groups, held = dict[tuple[str, ...], str](), defaultdict[str, set[str]](set)
    for row in world.members():
        key = row["use_case"], row["audience"], str(row["as_of"])
        groups[key] = row["control_group"]
        if row["is_control"]:
            held[row["control_group"]].add(row["user_id"])
    for one in _tries(world):
        group = groups.get((one.list.use_case, one.list.audience, one.as_of))
        sent = {person.user for person in one.people}
        if group is not None:
            assert not sent & held[group], f"control users of {group} sent: {one}"


def suppressed_are_not_sent(world: World) -> None:
    """Nobody is in a try that began after they were suppressed."""
    for user, since in world.suppressed:
        for one in _tries(world):
            sent = {person.user for person in one.people}
            assert not (one.at >= since and user in sent), (
                f"{user} was suppressed at {since}, and sent: {one}"
            )


# -- dates and leases ------------------------------------------------------------------


def dates_go_forward(world: World) -> None:
    """A list hears of no date after it has heard of a newer one."""
    newest = dict[ListName, str]()
    for one in world.receiver.tries:
        before = newest.setdefault(one.list, one.as_of)
        assert one.as_of >= before, f"{before} was sent before: {one}"
        newest[one.list] = one.as_of


def who_lost_the_lease_changes_nothing(world: World) -> None:
    """Once another sender is through, the one that slept sends and records nothing."""
    for call in world.calls:
        if call.taken_over is None:
            continue
        other = call.taken_over
        late = world.receiver.tries[other.last_try : call.last_try]
        own = [one for one in late if one.list in other.lists]
        assert not own, f"sent without a lease: {own}"
        assert other.audience is not None
        key = other.audience.use_case, other.audience.name
        recorded = {
            name: status
            for name, status in _statuses(call.recorded).items()
            if name[:2] == key
        }
        of_other = _statuses(other.recorded)
        changed = {
            name: status
            for name, status in recorded.items()
            if of_other.get(name) != status
        }
        assert not changed, f"recorded without a lease: {changed}"


# -- once a delivery is complete -------------------------------------------------------


def who_left_is_taken_off(world: World, name: ListName, as_of: str) -> None:
    """After a complete delivery of a date the list has nobody but its users."""
    current = {
        person.address
        for one in _tries(world)
        if (one.list, one.as_of) == (name, as_of)
        for person in one.people
    }
    # Whom the receiver would not remove is in the ledger with the reason.
    named = {
        person.address
        for one in _tries(world, "remove")
        if one.list == name
        for person in one.refused
    }
    left = {*world.receiver.lists[name]} - current - named
    assert not left, f"{left} left, and are on the list {name} still, as of {as_of}"


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
    suppressed = {user for user, _ in world.suppressed}
    assert treated - suppressed <= sent, f"of {key} were not sent: {treated - sent}"


def everybody_is_on_the_list(world: World, name: ListName, as_of: str) -> None:
    """After a complete delivery the list has all whom the receiver did not refuse."""
    refused = {person.user for one in world.receiver.tries for person in one.refused}
    suppressed = {user for user, _ in world.suppressed}
    treated = {
        row["user_id"]
        for row in world.members()
        if (row["use_case"], row["audience"], str(row["as_of"]))
        == (name.use_case, name.audience, as_of)
        and not row["is_control"]
    }
    missing = treated - refused - suppressed - {*world.receiver.lists[name].values()}
    assert not missing, f"{missing} are not on the list {name} as of {as_of}"


def abandoned_lists_are_named(world: World, said: str) -> None:
    """Whoever is on a list that no file names any more is named, with the list."""
    current = {
        ListName(f"/{destination.path}", use_case, name)
        for (use_case, name), audience in world.audiences.items()
        if (destination := world.destinations.get((use_case, audience.destination)))
    }
    for name, people in world.receiver.lists.items():
        if people and name not in current:
            assert name.audience in said, f"nobody names the list {name}: {people}"


# -- forgetting ------------------------------------------------------------------------


def forgotten_are_nowhere(world: World, user: str) -> None:
    """No table and no object has the id, or the address."""
    words = [user.encode(), world.addresses[user].encode()]
    for name in world.warehouse.names():
        rows = repr(world.warehouse.table(f"SELECT * FROM {name}").to_pylist())
        assert not any(word in rows.encode() for word in words), f"{user} in {name}"
    for name in world.bucket.names(""):
        data = world.bucket.read(name).data
        assert not any(word in data for word in words), f"{user} in {name}"


def receivers_are_named(world: World, user: str, report: Call) -> None:
    """The report of a forgetting names every destination that has the person."""
    for name, people in world.receiver.lists.items():
        if user in people.values():
            assert f'"{name.audience}"' in report.said, (
                f"{user} is on {name}, and the report names no receiver"
            )


# -- due dates -------------------------------------------------------------------------


def raises_alert(line: Mapping[str, Any]) -> bool:
    """Return whether a line raises an alert: audience_not_sent or run_failed."""
    if line.get("function") != "audiences":
        return False
    outcome = line.get("outcome")
    failed = int(line.get("status") or 0) >= 400 and outcome not in EXPECTED
    return outcome == "audience_stopped" or failed


def due_date_is_sent_or_told(world: World, calls: list[Call], audience: str) -> None:
    """A due date was sent by one of a day's calls, or an alert says that it was not."""
    due, use_case = calls[-1].due, calls[-1].use_case
    assert due is not None
    oldest = str(due.date() - timedelta(days=7))
    for call in calls:
        for entry in call.answer.get("audiences", ()):
            if entry["audience"] == audience and entry["outcome"] == "ended":
                return
            is_whole = entry["outcome"] == "sent" and not entry.get("pending")
            if entry["audience"] == audience and is_whole:
                assert entry["prediction_as_of"] > oldest, entry
                return
    if any(raises_alert(line) for call in calls for line in call.lines):
        return
    # The scheduler's own line, after its last call.
    status = calls[-1].status
    if (
        calls[-1].killed
        or status is None
        or (status >= 400 and status not in (409, 503))
    ):
        return
    # On the day after, the compaction looks for runs that were missed.
    tomorrow = due.date() + timedelta(days=1)
    age = ages_of(world.bucket, use_case, today=tomorrow).get("audience_age_days", 0)
    assert age > 1, (
        f"{audience} was not sent on {due}, and nobody is told: "
        f"{[(call.status, str(call.began_at)) for call in calls]}"
    )
