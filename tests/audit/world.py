"""
A deployment in a world: files, predictions, people, a scheduler, and its operators.

The product is called by its outer doors alone: 05-Audiences as the platform calls it,
commands by their words. What it did is read from the receiver's record, from tables and
from what it printed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from commands.cli import main
from deploy import configuration
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.registry.leases import DURATION
from propensity.settings import Settings
from propensity.suppression import EVERYWHERE, key_id, user_hash
from propensity.tables.stream import SUPPRESSED_USERS
from tests.audit.faults import Faults, Killed
from tests.audit.receiver import ListName, Receiver
from tests.support.clocks import ManualClock
from tests.support.deployment import KEY, Deployment, application
from tests.support.rows import publish

# A Monday.
START = datetime(2026, 3, 2, 6, tzinfo=UTC)
WEEK = timedelta(days=7)
# The last one is like the first.
USE_CASES = ("ga4_purchase", "ga4_value", "shop_uk")
CONTROL_KEY = "audiences/key.json"
# Attempts of Cloud Scheduler, by 05-Audiences/scheduler.sh, in minutes.
ATTEMPTS = (0, 10, 30, 70, 130, 190)
INSTANCE = f'like = "{USE_CASES[0]}"\n'
DESTINATION = """
kind = "http"
name = "{name}"
url = "{url}/{path}"
batch = {batch}
rate = 0
[body]
use_case = "{{use_case}}"
audience = "{{audience}}"
as_of = "{{as_of}}"
source = "{source}"
users = "{{users}}"
[user]
address = "{{{by}}}"
[answer]
rejected = "errors"
user = "address"
by = "{by}"
{removal}
"""
EVENTS = "events"
ANALYTICS = """
kind = "google"
name = "{name}"
account_type = "GOOGLE_ANALYTICS_PROPERTY"
account = "123"
target = "G-ABC"
url = "{url}/{name}/{use_case}"
"""


@dataclass(frozen=True)
class Audience:
    """What an audience's file says."""

    use_case: str = USE_CASES[0]
    name: str = "aaa"
    top: int = 4
    control: str = "30%"
    group: str = ""
    by: str = "email"
    destination: str = "crm"
    until: date | None = None

    @property
    def text(self) -> str:
        lines = [
            f"top = {self.top}",
            f'control = "{self.control}"',
            f'destination = "{self.destination}"',
        ]
        if self.by != "user_id":
            lines.append(f'control_by = "{self.by}"')
        if self.group:
            lines.append(f'control_group = "{self.group}"')
        if self.until:
            lines.append(f"until = {self.until}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Destination:
    """
    What a destination's file says; ``source`` stands in each request.

    Attributes:
        by: What it knows people by: ``email``, ``user_id``, or events of Analytics.
    """

    file: str = "crm"
    name: str = "crm-one"
    batch: int = 2
    removes: bool = True
    source: str = "us"
    by: str = "email"

    def text(self, url: str, use_case: str) -> str:
        if self.by == EVENTS:
            return ANALYTICS.format(name=self.name, url=url, use_case=use_case)
        removal = '[remove]\nmethod = "DELETE"' if self.removes else ""
        return DESTINATION.format(
            name=self.name,
            url=url,
            path=self.name,
            batch=self.batch,
            removal=removal,
            source=self.source,
            by=self.by,
        )


@dataclass
class Call:
    """
    A call of the product, and what it said.

    Attributes:
        status: Of an answer over HTTP, or the exit code of a command.
        killed: Whether its process was killed.
        fault: What befell it.
        said: All that it printed.
        first_try, last_try: How many tries the receiver had heard before, and after.
        others: Calls that began and ended meanwhile.
        recorded_before, recorded: Rows of the ledger.
        lists: Of the receiver, that it has spoken to.
        taken_over: The call of another sender, which had the lease meanwhile.
    """

    door: str
    began_at: datetime
    audience: Audience | None = None
    due: datetime | None = None
    use_case: str = ""
    status: int | None = None
    answer: Mapping[str, Any] = field(default_factory=dict)
    killed: bool = False
    fault: str = ""
    lines: Sequence[Mapping[str, Any]] = ()
    said: str = ""
    ended_at: datetime | None = None
    first_try: int = 0
    last_try: int = 0
    others: list[Call] = field(default_factory=list)
    recorded_before: list[dict[str, Any]] = field(default_factory=list)
    recorded: list[dict[str, Any]] = field(default_factory=list)
    lists: frozenset[ListName] = frozenset()
    taken_over: Call | None = None


@dataclass
class World:
    """Everything outside the product, and what it has seen of it."""

    deployment: Deployment
    folder: Path
    clock: ManualClock
    receiver: Receiver
    faults: Faults
    audiences: dict[tuple[str, str], Audience] = field(default_factory=dict)
    destinations: dict[tuple[str, str], Destination] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    # Users whose rows have their address in another spelling.
    spelled: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    # How many tries there had been, each time when a destination's file changed.
    file_changes: list[int] = field(default_factory=list)
    suppressed: list[tuple[str, datetime]] = field(default_factory=list)
    seen_members: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    forgotten: list[Call] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    under_way: list[Call] = field(default_factory=list)
    keys: int = 0
    first_key: bytes = b""
    read: dict[str, tuple[int, list[dict[str, Any]]]] = field(default_factory=dict)

    def token(self, size: int = 32) -> str:
        """Return what is drawn at random: the same in each play of a sequence."""
        self.keys += 1
        return hashlib.sha256(b"%d" % self.keys).hexdigest()[: 2 * size]

    def stay_awake(self, before: datetime) -> None:
        """Renew the leases of those who wait, as their machines do each minute."""
        for name in self.bucket.names("runs/"):
            lease = json.loads(self.bucket.read(name).data)
            ends = datetime.fromisoformat(lease.get("expires_at") or str(START))
            if lease.get("state") == "running" and before < ends:
                renewed = self.clock.now() + DURATION
                lease["expires_at"] = renewed.isoformat(timespec="microseconds")
                self.bucket.overwrite(name, json.dumps(lease).encode())

    @cached_property
    def settings(self) -> Settings:
        return self.deployment.settings

    @property
    def warehouse(self) -> Warehouse:
        """The deployment's tables."""
        return self.deployment.warehouse

    def tables(self) -> list[str]:
        """Return the names of the deployment's tables and views."""
        return self.warehouse.tables_of(
            f"{self.settings.project}.{self.settings.dataset}"
        )

    @property
    def bucket(self) -> Artifacts:
        """The deployment's objects."""
        return self.deployment.artifacts

    def begin(self) -> None:
        """Empty everything, and begin on a Monday."""
        self.keys = 0
        self.first_key = b""
        self.clock.time = START
        self.deployment.empty()
        self.receiver.forget_everything()
        self.faults.clear()
        for kept in (
            self.audiences,
            self.destinations,
            self.addresses,
            self.spelled,
            self.moved,
            self.file_changes,
            self.suppressed,
            self.seen_members,
            self.forgotten,
            self.calls,
            self.under_way,
        ):
            kept.clear()
        shutil.rmtree(self.folder / "broken", ignore_errors=True)
        for use_case in USE_CASES:
            shutil.rmtree(self.folder / use_case, ignore_errors=True)
            (self.folder / use_case / "audiences" / "destinations").mkdir(parents=True)
        (self.folder / USE_CASES[2] / "usecase.toml").write_text(INSTANCE)

    # -- files

    def declare(self, audience: Audience) -> None:
        """Write an audience's file, and its statement with addresses."""
        self.audiences[audience.use_case, audience.name] = audience
        self._file(audience.use_case, f"{audience.name}.toml").write_text(audience.text)
        self._write_addresses()

    def remove(self, audience: Audience) -> None:
        """Delete an audience's files."""
        del self.audiences[audience.use_case, audience.name]
        for ending in ("toml", "sql"):
            self._file(audience.use_case, f"{audience.name}.{ending}").unlink()

    def connect(self, destination: Destination) -> None:
        """Write a destination's file for every use case."""
        self.file_changes.append(len(self.receiver.tries) + 1)
        for use_case in USE_CASES:
            self.destinations[use_case, destination.file] = destination
            file = self._file(use_case, f"destinations/{destination.file}.toml")
            file.write_text(destination.text(self.receiver.url, use_case))

    def move(self, person: str, domain: str) -> None:
        """Give a person another address."""
        self.moved.add(person)
        for user in self.ids_of(person):
            self.addresses[user] = f"{person}@{domain}"
        self._write_addresses()

    def spell(self, user: str) -> None:
        """Write a user's address in another way, or again as before."""
        self.spelled ^= {user}
        self._write_addresses()

    def _write_addresses(self) -> None:
        rows = ",\n".join(
            f"  STRUCT('{user}' AS user_id, '{self._written(user)}' AS email)"
            for user in sorted(self.addresses)
        )
        text = f"SELECT user_id, email\nFROM UNNEST([\n{rows}\n])\n"
        for use_case, name in self.audiences:
            self._file(use_case, f"{name}.sql").write_text(text)

    def _written(self, user: str) -> str:
        """Return a user's address as the row has it."""
        address = self.addresses[user]
        if user not in self.spelled:
            return address
        if address.endswith("@gmail.com"):
            return f"{address[0]}.{address[1:].replace('@', '+shop@')}"
        return f" {address.upper()}"

    def _file(self, use_case: str, name: str) -> Path:
        return self.folder / use_case / "audiences" / name

    # -- what happens in the world

    def publish(self, order: Sequence[str], day: date | None = None) -> None:
        """Publish predictions of users, the best first, for all use cases."""
        day = day or self.clock.now().date()
        # Where nobody has another browser, a person has one.
        known = [one if one in self.addresses else person_of(one) for one in order]
        ranked = enumerate(dict.fromkeys(known))
        users = {user: 0.9 - place / 20 for place, user in ranked}
        for use_case in USE_CASES:
            publish(self.warehouse, day, users, use_case=use_case)

    def suppress(self, person: str) -> None:
        """Put a person on the list; a minute later everybody has to follow it."""
        now = self.clock.now()
        rows = [
            {
                "use_case": EVERYWHERE,
                "user_hash": user_hash(KEY, user),
                "key_id": key_id(KEY),
                "suppressed_at": now,
                "suppressed_on": now.date(),
            }
            for user in self.ids_of(person)
        ]
        self.warehouse.write(SUPPRESSED_USERS, rows)
        self.clock.advance(self.settings.refresh_s)
        self.suppressed.append((person, self.clock.now()))

    def forget(self, person: str) -> Call:
        """Forget a person, as an operator does."""
        call = self.command("forget", *self.ids_of(person))
        self.clock.advance(self.settings.refresh_s)
        self.suppressed.append((person, self.clock.now()))
        self.forgotten.append(call)
        return call

    def is_forgotten(self, person: str) -> bool:
        """Return whether a person was forgotten."""
        return any(person in call.door.split() for call in self.forgotten)

    def expire(self) -> None:
        """Let members expire, by the retention of their table."""
        self.members()
        sql = "DELETE FROM ma_audience_members WHERE as_of < @day"
        self.warehouse.execute(sql, {"day": self.clock.now().date()})

    def break_folder(self) -> None:
        """Leave a folder of a use case whose file is wrong."""
        (self.folder / "broken").mkdir(exist_ok=True)
        (self.folder / "broken" / "usecase.toml").write_text('title = "x"\n')

    def ids_of(self, person: str) -> list[str]:
        """Return the ids of a person, each of a browser."""
        return [user for user in self.addresses if person_of(user) == person]

    def lose_key(self) -> None:
        """Delete the key of control groups."""
        stored = self.bucket.find(CONTROL_KEY)
        if stored is not None:
            self.first_key = self.first_key or stored.data
            self.bucket.delete(CONTROL_KEY)

    def replace_key(self) -> None:
        """Put another key in the place of the key of control groups."""
        self.lose_key()
        key = json.dumps({"key": self.token()}).encode()
        self.bucket.replace(CONTROL_KEY, key, None)

    def restore_key(self) -> None:
        """Put the first key of control groups back, if it was lost."""
        if self.first_key:
            self.lose_key()
            self.bucket.replace(CONTROL_KEY, self.first_key, None)

    # -- doors

    def command(self, *words: str, audience: Audience | None = None) -> Call:
        call = Call(" ".join(words), self.clock.now(), audience)
        with self._watched(call) as printed:
            call.status = main([*words, "--json"])
        with contextlib.suppress(ValueError):
            call.answer = json.loads(printed.getvalue())
        return call

    def by_hand(self, audience: Audience, action: str = "send") -> Call:
        """Let a person preview, send or end an audience."""
        use_case = ("--use-case", audience.use_case)
        words = ("audience", action, audience.name, *use_case)
        return self.command(*words, audience=audience)

    def attempt(self, use_case: str, due: datetime) -> Call:
        """Let Cloud Scheduler call 05-Audiences once."""
        call = Call("05", self.clock.now(), due=due, use_case=use_case)
        headers = {
            "X-CloudScheduler": "true",
            "X-CloudScheduler-JobName": f"propensity-audiences-{use_case}",
            "X-CloudScheduler-ScheduleTime": due.isoformat().replace("+00:00", "Z"),
            "Content-Type": "application/json",
        }
        with self._watched(call):
            body = json.dumps({"use_case": use_case})
            client = application("audiences").test_client()
            answer = client.post("/", data=body, headers=headers)
            call.status = answer.status_code
            call.answer = answer.json or {}
        return call

    def scheduled(
        self, due: datetime, events: Mapping[int, Callable[[], None]]
    ) -> dict[str, list[Call]]:
        """
        Let Cloud Scheduler call 05-Audiences on a day, until each answer is a success.

        Args:
            events: What happens, by the minute after it was due.

        Returns:
            The calls, by use case.
        """
        left = dict(sorted(events.items()))
        waiting = list(USE_CASES)
        calls: dict[str, list[Call]] = {use_case: [] for use_case in waiting}
        for minutes in ATTEMPTS:
            for minute in [minute for minute in left if minute <= minutes]:
                self.clock.until(due + timedelta(minutes=minute))
                left.pop(minute)()
            for use_case in [*waiting]:
                self.clock.until(due + timedelta(minutes=minutes))
                call = self.attempt(use_case, due)
                calls[use_case].append(call)
                if call.status and 200 <= call.status < 300:
                    waiting.remove(use_case)
        for happens in left.values():
            happens()
        return calls

    @contextlib.contextmanager
    def _watched(self, call: Call) -> Iterator[io.StringIO]:
        """Keep what a call says and what was recorded before and after it."""
        printed, said = io.StringIO(), io.StringIO()
        self.under_way.append(call)
        call.recorded_before = self.recorded()
        call.first_try = len(self.receiver.tries)
        try:
            with (
                self.faults.during(call),
                contextlib.redirect_stdout(printed),
                contextlib.redirect_stderr(said),
            ):
                yield printed
        except Killed:
            call.killed = True
        finally:
            self.under_way.remove(call)
        call.last_try = len(self.receiver.tries)
        call.ended_at = self.clock.now()
        own = self.receiver.tries[call.first_try : call.last_try]
        call.lists = frozenset(one.list for one in own)
        call.said = said.getvalue() + printed.getvalue()
        lines = said.getvalue().splitlines()
        call.lines = [json.loads(line) for line in lines if line.startswith("{")]
        call.recorded = self.recorded()
        self.calls.append(call)
        for outer in self.under_way:
            outer.others.append(call)

    # -- what is in the tables

    def recorded(self) -> list[dict[str, Any]]:
        """Return the rows of the ledger."""
        return self._rows("SELECT * FROM ma_audience_ledger")

    def plans(self) -> list[dict[str, Any]]:
        """Return the plans of all audiences that were sent."""
        return self._rows("SELECT * FROM ma_audience_plans")

    def members(self) -> list[dict[str, Any]]:
        """Return the members of all audiences and dates, expired ones as well."""
        columns = ("use_case", "audience", "as_of", "user_id", "is_control")
        for row in self._rows("SELECT * FROM ma_audience_members"):
            self.seen_members[tuple(row[name] for name in columns)] = row
        return [*self.seen_members.values()]

    def held_out(self, name: ListName) -> set[str]:
        """Return the people of the control groups that an audience has, or had."""
        groups = {
            row["control_group"]
            for row in self.members()
            if (row["use_case"], row["audience"]) == (name.use_case, name.audience)
        }
        return {
            person_of(row["user_id"])
            for row in self.members()
            if row["is_control"] and row["control_group"] in groups
        }

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        """Return rows, which are read again only once some table has changed."""
        changes = self.deployment.ground.bigquery.changed.total()
        before, rows = self.read.get(sql, (-1, []))
        if changes != before:
            rows = self.warehouse.table(sql).to_pylist()
            self.read[sql] = changes, rows
        return rows


def person_of(user: str) -> str:
    """Return the person whose browser has an id: u1b is another one of u1's."""
    return user.removesuffix("b")


@cache
def hour_of(zone: str) -> int:
    """Return when 05-Audiences is called, in UTC, where a deployment is in a zone."""
    example = {
        "GOOGLE_CLOUD_PROJECT": "my-project",
        "PROPENSITY_BUCKET": "my-bucket",
        "DEPLOY_REGION": "us-central1",
        "PROPENSITY_GA4_DATASET": "analytics_1",
        "DEPLOY_TIME_ZONE": zone,
    }
    return configuration.of(example).hours["audiences"]


def due_on(day: date, zone: str) -> datetime:
    """Return when 05-Audiences is due on a day."""
    return datetime(day.year, day.month, day.day, hour_of(zone), tzinfo=UTC)
