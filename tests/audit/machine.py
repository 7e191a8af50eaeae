"""Sequences of a deployment's weeks, drawn by Hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.audit import promises
from tests.audit.faults import AWAY, KILLED, UNSURE
from tests.audit.receiver import (
    BUSY,
    KEPT,
    LOST,
    OWN_ID,
    PARTLY,
    REFUSES,
    TROUBLES,
    WRITTEN,
    ListName,
    Try,
)
from tests.audit.world import (
    EVENTS,
    USE_CASES,
    WEEK,
    Audience,
    Call,
    Destination,
    World,
    due_on,
    person_of,
)

DAY_S = 24 * 3600
PEOPLE = [f"u{number}" for number in range(10)]
# Some have another browser.
SECOND = [f"{person}b" for person in PEOPLE[:6]]
USERS = PEOPLE + SECOND
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "Pacific/Auckland")
# A person or an audience, as a place among those that there are.
places = st.integers(0, 29)
# Users of a publication, the best first. If one were of less than half the size of
# another, nothing would be sent.
orders = (
    st.lists(st.sampled_from(USERS), min_size=8, unique=True)
    | st.permutations(PEOPLE)
    | st.permutations(SECOND + PEOPLE[6:])
)
controls = st.sampled_from(["20%", "50%", "0%"])
groups = st.sampled_from(["", "all", "all"])
tops = st.sampled_from([4, 16])
scripts = st.lists(
    st.sampled_from(["", *TROUBLES, REFUSES, PARTLY, PARTLY]), max_size=4
)
faults = (
    st.none()
    | st.none()
    | st.tuples(st.just(KILLED), st.integers(1, 60) | st.integers(60, 120))
    | st.tuples(st.sampled_from([AWAY, UNSURE]), st.integers(1, 10))
)
# What happens before a try is answered, and how it is: which try, and what. A request
# that comes again tells whether its sender has looked at what happened.
tries = st.sampled_from([1, 1, 2, 3])
meanwhiles = (
    st.none()
    | st.none()
    | st.tuples(
        tries,
        st.sampled_from(["suppress", "forget"]),
        st.sampled_from([BUSY, LOST]),
    )
    | st.tuples(
        tries,
        st.sampled_from(["another sends", "sleep 7 minutes", "sleep a week"]),
        st.sampled_from([BUSY, LOST, ""]),
    )
    | st.tuples(
        tries,
        st.lists(
            st.sampled_from(["move", "another audience"]), min_size=1, max_size=3
        ).map(", ".join),
        st.sampled_from([BUSY, LOST, ""]),
    )
)


class Deliveries(RuleBasedStateMachine):
    """A deployment whose first audience a person has sent."""

    world: World
    zone = ZONES[0]
    by = "email"
    # The try that waits for its answer.
    answered: Try
    has_begun = False
    is_mended = False

    @initialize(
        zone=st.sampled_from(ZONES),
        order=orders,
        control=controls,
        group=groups,
        top=tops,
        batch=st.sampled_from([1, 3, 20, 20]),
        removes=st.sampled_from([True, True, False]),
        script=scripts,
        meanwhile=meanwhiles,
        is_mended=st.sampled_from([True, True, False]),
        by=st.sampled_from(["email", "email", "user_id", EVENTS]),
        others=st.lists(st.sampled_from(USE_CASES), max_size=2),
        twin=st.sampled_from(["", "aaa", "aaa", "eee"]),
        twin_group=groups,
        spelled=st.sets(st.sampled_from(USERS)) | st.just({*SECOND}),
        moves=st.sampled_from(["", "", "two.example"]),
        is_strict=st.booleans(),
        rejects=st.sampled_from([WRITTEN, KEPT, OWN_ID]),
        takes_long=st.sampled_from([0, 3, 30]),
        draw=st.integers(0, 9),
    )
    def begin(
        self,
        *,
        zone: str = ZONES[0],
        order: list[str],
        control: str = "0%",
        group: str = "",
        top: int = 16,
        batch: int = 3,
        removes: bool = True,
        script: Any = (),
        meanwhile: Any = None,
        is_mended: bool = False,
        by: str = "email",
        others: Any = (),
        twin: str = "",
        twin_group: str = "",
        spelled: Any = (),
        moves: str = "",
        is_strict: bool = False,
        rejects: str = WRITTEN,
        takes_long: int = 0,
        draw: int = 0,
    ) -> None:
        """
        Declare an audience, and let a person send its first date.

        Args:
            by: What destinations know people by; a browser is somebody by its id.
            others: Use cases of further audiences of the same control group.
            twin: Name of an audience of another use case, which a person sends as
                well; twin_group is that of its control group.
            spelled: Users whose address is written in another way.
            moves: Where everybody's address is afterwards, if they get another.
            takes_long: Hours until Google says what became of a request.
            draw: Which key draws the control groups.
            is_mended: Whether its files and the key are as now again before the last
                week, since one that is refused tells little.
        """
        world = self.world
        self.zone = zone
        self.is_mended = is_mended
        world.begin()
        world.keys = draw * 1_000
        self.has_begun = True
        world.receiver.is_strict = is_strict
        world.receiver.rejects = rejects
        world.receiver.takes_long = timedelta(hours=takes_long)
        world.receiver.witness = lambda one: promises.control_is_left_alone(world, one)
        self.by = by
        users = USERS if by == "email" else PEOPLE
        world.addresses |= {user: f"{person_of(user)}@one.example" for user in users}
        world.spelled |= {*spelled}
        self.first_destination = Destination(batch=batch, removes=removes, by=by)
        world.connect(self.first_destination)
        control_by = "email" if by == "email" else "user_id"
        audience = Audience(top=top, control=control, group=group, by=control_by)
        self.first_audience = audience
        world.declare(audience)
        for name, use_case in zip(("ccc", "ddd"), others, strict=False):
            world.declare(replace(audience, name=name, use_case=use_case))
        world.publish(order)
        self.trouble(script, None, meanwhile)
        self.judge_by_hand(audience, world.by_hand(audience))
        if twin:
            of_twin = {"name": twin, "use_case": USE_CASES[1], "group": twin_group}
            second = replace(audience, **of_twin)
            world.declare(second)
            self.judge_by_hand(second, world.by_hand(second))
            self.preview(place=list(world.audiences.values()).index(second))
        if moves:
            for person in PEOPLE:
                world.move(person, moves)

    # -- what the clock and people do

    @rule(order=orders, script=scripts, fault=faults, meanwhile=meanwhiles)
    def week(
        self,
        *,
        order: list[str],
        late: int = 0,
        down: int = 0,
        script: Any = (),
        fault: Any = None,
        meanwhile: Any = None,
    ) -> None:
        """Let the clock send next Monday, as predictions and receivers let it."""
        self.monday(
            order, late=late, down=down, script=script, fault=fault, meanwhile=meanwhile
        )

    @rule(
        order=orders,
        late=st.sampled_from([0, 20, 71, 180, 600]),
        down=st.sampled_from([0, 0, 15, 100, 300]),
        meanwhile=meanwhiles,
    )
    def late_week(self, **how: Any) -> None:
        """Let predictions of next Monday be late, or the receiver be down."""
        self.week(**how)

    @rule(
        place=places,
        script=scripts,
        fault=faults,
        meanwhile=meanwhiles,
        is_file_wrong=st.booleans(),
        order=st.none() | orders,
        change=st.sampled_from(["", "", "source", "removes"]),
    )
    def send(
        self,
        *,
        place: int,
        order: Any = None,
        script: Any = (),
        fault: Any = None,
        meanwhile: Any = None,
        is_file_wrong: bool = False,
        change: str = "",
    ) -> None:
        """
        Let a person send an audience.

        Args:
            order: Of predictions of the next day; None where these are the last.
            change: What the person then changes in the destination's file, to send the
                audience again.
        """
        world = self.world
        audience = self.audience(place)
        if audience is None:
            return
        if order:
            world.clock.advance(DAY_S)
            world.publish(order)
        world.receiver.is_file_wrong = is_file_wrong
        self.trouble(script, fault, meanwhile)
        self.judge_by_hand(audience, world.by_hand(audience))
        world.receiver.is_file_wrong = False
        destination = world.destinations.get((audience.use_case, audience.destination))
        if change and destination:
            changed = replace(destination, source=f"{destination.source}, again")
            if change == "removes":
                changed = replace(destination, removes=not destination.removes)
            world.connect(changed)
            self.judge_by_hand(audience, world.by_hand(audience))

    @rule(
        place=places,
        what=st.sampled_from(["delete", "end", "lose key", "preview", "replace key"]),
    )
    def seldom(self, *, place: int, what: str) -> None:
        """Let happen what seldom happens."""
        {
            "delete": lambda: self.delete(place=place),
            "end": lambda: self.end(place=place),
            "lose key": self.lose_key,
            "preview": lambda: self.preview(place=place),
            "replace key": self.world.replace_key,
        }[what]()

    def preview(self, *, place: int) -> None:
        """Let a person look at an audience, and at the list of users to contact."""
        if audience := self.audience(place):
            self.world.by_hand(audience, "preview")
            call = self.world.by_hand(audience, "list")
            promises.who_is_listed_may_be_contacted(self.world, call)

    def end(self, *, place: int) -> None:
        """Let a person end an audience."""
        if audience := self.audience(place):
            self.world.by_hand(audience, "end")
            promises.check(self.world)

    # -- what people change

    @rule(
        name=st.sampled_from(["bbb", "bbb", "aaa"]),
        use_case=st.sampled_from(USE_CASES),
        top=tops,
        control=st.none() | controls,
        group=groups,
        destination=st.sampled_from(["crm", "crm", "other"]),
        ends=st.sampled_from([False, False, True]),
    )
    def declare(
        self,
        *,
        name: str = "aaa",
        use_case: str = USE_CASES[0],
        top: int = 16,
        control: str | None = "0%",
        group: str = "",
        destination: str = "crm",
        ends: bool = False,
    ) -> None:
        """Write an audience's file, new or changed; None is the first one's share."""
        until = self.world.clock.now().date() if ends else None
        audience = Audience(
            use_case=use_case,
            name=name,
            top=top,
            control=self.first_audience.control if control is None else control,
            group=group,
            by=self.first_audience.by,
            destination=destination,
            until=until,
        )
        self.world.declare(audience)

    def delete(self, *, place: int) -> None:
        """Delete an audience's files."""
        if audience := self.audience(place):
            self.world.remove(audience)

    @rule(
        file=st.sampled_from(["crm", "other"]),
        name=st.sampled_from(["crm-one", "crm-one", "crm-two"]),
        removes=st.booleans(),
    )
    def connect(self, file: str, name: str, removes: bool) -> None:
        """Write a destination's file, new or changed."""
        self.world.connect(
            Destination(file=file, name=name, removes=removes, by=self.by)
        )

    @rule(
        people=st.lists(places, min_size=1, max_size=4) | st.just([*range(20, 30)]),
        what=st.sampled_from(
            ["move", "move on", "move to Gmail", "spell", "suppress", "forget", "break"]
        ),
    )
    def concern(self, *, people: list[int], what: str) -> None:
        """Let something happen that is about some people."""
        for place in people:
            self.happen_to(place, what)

    def happen_to(self, place: int, what: str) -> None:
        {
            "move": lambda: self.move(place=place, domain="two.example"),
            "move on": lambda: self.move(place=place, domain="three.example"),
            "move to Gmail": lambda: self.move(place=place, domain="gmail.com"),
            "spell": lambda: self.world.spell(USERS[place % len(USERS)]),
            "suppress": lambda: self.suppress(place=place),
            "forget": lambda: self.forget(place=place, is_folder_broken=False),
            "break": lambda: self.forget(place=place, is_folder_broken=True),
        }[what]()

    def move(self, *, place: int, domain: str) -> None:
        """Give a person another address."""
        self.world.move(self.person(place), domain)

    def suppress(self, *, place: int) -> None:
        self.world.suppress(self.person(place))

    def forget(self, *, place: int, is_folder_broken: bool) -> None:
        if is_folder_broken:
            self.world.break_folder()
        self.command_forget(self.person(place))

    def lose_key(self) -> None:
        """Lose the key of control groups."""
        self.world.lose_key()

    # -- the pieces

    def audience(self, place: int) -> Audience | None:
        declared = [*self.world.audiences.values()]
        return declared[place % len(declared)] if declared else None

    def person(self, place: int) -> str:
        """Return a person by their place: those on lists, all, then control groups."""
        lists = self.world.receiver.lists.values()
        listed = sorted({person.name for people in lists for person in people})
        members = self.world.members()
        apart = {person_of(row["user_id"]) for row in members if row["is_control"]}
        people = listed + PEOPLE + sorted(apart)
        return people[place % len(people)]

    def monday(
        self,
        order: list[str],
        *,
        late: int = 0,
        down: int = 0,
        script: Any = (),
        fault: Any = None,
        meanwhile: Any = None,
    ) -> dict[str, list[Call]]:
        """Let the clock send next Monday; judge each audience that was due."""
        world, receiver = self.world, self.world.receiver
        today = world.clock.now().date()
        day = today + timedelta(days=7 - today.weekday())
        due = due_on(day, self.zone)
        world.clock.until(due - timedelta(hours=1))
        events: dict[int, Callable[[], None]] = {}
        if late:
            events[late] = lambda: world.publish(order, day)
        else:
            world.publish(order, day)
        if down:
            receiver.is_down = True
            events[down + 1] = lambda: setattr(receiver, "is_down", False)
        self.trouble(script, fault, meanwhile)
        was_due = [*world.audiences.values()]
        calls = world.scheduled(due, events)
        receiver.script.clear()
        receiver.meanwhile.clear()
        for audience in was_due:
            of_audience = calls[audience.use_case]
            promises.due_date_is_sent_or_told(world, of_audience, audience.name)
            for call in of_audience:
                for entry in call.answer.get("audiences", ()):
                    is_own = entry["audience"] == audience.name
                    if is_own and entry["outcome"] == "sent" and not entry["pending"]:
                        self.judge(audience, call, entry["prediction_as_of"])
        promises.check(world)
        return calls

    def trouble(self, script: Any, fault: Any, meanwhile: Any) -> None:
        """Prepare what befalls the next call."""
        receiver = self.world.receiver
        receiver.script[:] = script
        receiver.meanwhile.clear()
        if fault:
            self.world.faults.next(*fault)
        if meanwhile:
            nth, what, trouble = meanwhile
            happens = {
                "suppress": lambda: self.world.suppress(self.somebody()),
                "forget": lambda: self.world.forget(self.somebody()),
                "move": self.all_move,
                "another audience": self.another_audience,
                "another sends": lambda: self.sleep(timedelta(0)),
                "sleep 7 minutes": lambda: self.sleep(timedelta(minutes=7)),
                "sleep a week": lambda: self.sleep(WEEK),
            }

            def happen() -> None:
                self.answered = receiver.tries[-1]
                for step in what.split(", "):
                    happens[step]()

            receiver.meanwhile[len(receiver.tries) + nth] = happen
            before = [*script, "", "", ""][: nth - 1]
            receiver.script[:] = [*before, trouble, *script[nth - 1 :]]

    def somebody(self) -> str:
        """Return a person of the request that the receiver has not answered yet."""
        return self.answered.people[0].name

    def all_move(self) -> None:
        """Give everybody in the request another address."""
        for person in self.answered.people:
            self.world.move(person.name, "two.example")

    def another_audience(self) -> None:
        """Let a person send the audience behind the one that is being sent."""
        world = self.world
        name = self.answered.list
        keys = sorted(world.audiences)
        later = [key for key in keys if key > (name.use_case, name.audience)]
        world.by_hand(world.audiences[(later or keys)[0]])
        # As with the list of suppressed users, everybody has to follow a minute later.
        world.clock.advance(world.settings.refresh_s)

    def command_forget(self, person: str) -> None:
        """Let a person forget somebody, and ask about it."""
        report = self.world.forget(person)
        promises.receivers_are_named(self.world, person)
        promises.forgotten_are_nowhere(self.world, person, report)

    def sleep(self, time: timedelta) -> None:
        """Let the sender's machine sleep, while a person sends its audience."""
        world = self.world
        [*_, sleeping] = world.under_way
        name = self.answered.list
        audience = world.audiences.get((name.use_case, name.audience))
        world.clock.advance(time.total_seconds())
        if time >= WEEK:
            world.publish(USERS[::-1])
        if audience is not None:
            other = world.by_hand(audience)
            if other.status == 0:
                assert time, f"two sent at once: {other.said}"
                sleeping.taken_over = other

    def judge_by_hand(self, audience: Audience, call: Call) -> None:
        """Ask about a delivery that a person was told is complete."""
        self.world.receiver.script.clear()
        self.world.receiver.meanwhile.clear()
        if call.status == 0 and not call.answer["pending"]:
            self.judge(audience, call, call.answer["as_of"])
        promises.check(self.world)

    def judge(self, audience: Audience, call: Call, as_of: str) -> None:
        """Ask about a delivery that is complete."""
        world = self.world
        destination = world.destinations[audience.use_case, audience.destination]
        name = ListName(f"/{destination.name}", audience.use_case, audience.name)
        promises.everybody_was_sent(world, audience.use_case, audience.name, as_of)
        promises.everybody_is_on_the_list(world, name, as_of)
        if destination.removes:
            promises.who_left_is_taken_off(world, name, as_of)

    def teardown(self) -> None:
        """Let a last week come, in which all is well."""
        if not self.has_begun:
            return
        world = self.world
        world.clock.advance(3600)
        if self.is_mended:
            world.restore_key()
            world.connect(self.first_destination)
            world.declare(self.first_audience)
        self.monday(USERS)
        # All receivers have said by then what became of everybody.
        world.clock.advance(2 * DAY_S)
        for audience in [*world.audiences.values()]:
            self.judge_by_hand(audience, world.by_hand(audience))
        promises.abandoned_lists_are_named(world)
        for person in [person for person in PEOPLE if world.is_forgotten(person)]:
            self.command_forget(person)
