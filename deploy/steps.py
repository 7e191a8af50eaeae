"""
Steps: look whether something is there, make it if not, change it if it differs.

A plan is a list of steps. Printed, it says every command in order and runs none.
Carried out, it runs only what is needed, so that a second time it changes nothing.
Taken back, it is undone from its end, and what holds data stays unless told otherwise.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Command = tuple[str, ...]

# An argument may hold ${NAME}: what the plan's look-up of that name prints.
_LATE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")

# Nobody is there to answer what gcloud might ask.
PROMPTLESS = {"CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}

LINES_OF_ERROR = 20

# What was just created is not known everywhere at once: a command that does not find it
# is tried again.
MISSING = re.compile(
    r"does not exist|not[ _]found|cannot find|Unknown service account", re.IGNORECASE
)
# Somebody without the right is told that it "may not exist": nobody knows.
DENIED = re.compile(r"denied", re.IGNORECASE)
# What a new project answers before the plan has switched an API on.
API_OFF = re.compile(r"SERVICE_DISABLED|has not been used in|not enabled on project")
# What says that a right is missing, which may have been granted a moment ago.
REFUSED = re.compile(
    r"denied|forbidden|not authorized|does not have|lacks", re.IGNORECASE
)
# A change of a policy holds everywhere within two minutes as a rule, within seven or
# more at times; a metric of the log can be watched after ten.
# https://cloud.google.com/iam/docs/access-change-propagation
PATIENCE_S = 600.0
PAUSES_S = (2.0, 5.0, 10.0, 15.0, 30.0)

# Builds that are under way at once.
SIDE_BY_SIDE = 10

# The label of what has one name in a project, or in the world: whose it is.
OWNER = "deployment"


class StepFailed(Exception):
    """A command failed; the message holds it and what it printed."""


class LookFailed(StepFailed):
    """A look failed, so that nobody knows what is there."""


class ApiOff(LookFailed):
    """A look failed since its API is not on: nothing of it was created yet."""


class Missing(StepFailed):
    """A look found that it is not there."""


class NotOurs(Exception):
    """Something is there that is not this deployment's; the message names it."""


class Refused(NotOurs):
    """Something is there that cannot be worked with; the message says why."""


def there(_: Any) -> bool:
    """Accept whatever is there."""
    return True


def nothing_against(_: Any) -> str:
    """Say nothing against whatever is there."""
    return ""


def whole(found: Any) -> Any:
    """Take all that was found."""
    return found


@dataclass(frozen=True, kw_only=True)
class Step:
    """
    One thing that is to be.

    ``look`` prints what is there as JSON, and ``pick`` finds in it what the step is
    about. Where ``look`` fails or there is nothing, ``create`` is run; where ``holds``
    is false of it, ``update``. ``remove`` takes it back. Without ``look`` a step is
    always run. ``refuses`` says why nothing can be done with what is there, and then
    nothing is begun.

    ``needs`` says what must be there first, where a failure is no failure of the whole.
    ``waits_for`` names the right, granted a moment ago perhaps, without which the step
    is refused; ``given`` are names of things that somebody has made before, for which
    nobody waits. Steps of one ``group`` are done in their order, and groups beside each
    other. ``owner`` is the deployment whose label it must have where it is there, and
    ``adopt`` the command that gives it this label.
    """

    what: str
    look: Command = ()
    pick: Callable[[Any], Any] = whole
    holds: Callable[[Any], bool] = there
    refuses: Callable[[Any], str] = nothing_against
    create: tuple[Command, ...] = ()
    update: tuple[Command, ...] = ()
    remove: tuple[Command, ...] = ()
    is_data: bool = False
    needs: str = ""
    waits_for: str = ""
    given: tuple[str, ...] = ()
    group: str = ""
    owner: str = ""
    adopt: Command = ()


@dataclass(frozen=True)
class Plan:
    """
    Steps in order, and the look-ups whose results their commands hold.

    Of a plan that ``may_fail`` a step that does is left out, and the others are done.
    """

    steps: tuple[Step, ...]
    lookups: Mapping[str, Command] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    may_fail: bool = False


# What the words before a printed command mean.
LEGEND = {
    "look": "asks what is there, and changes nothing; first of its step, always",
    "create": "run where the look finds nothing",
    "update": "run where what it finds differs",
    "remove": "run where the look finds it",
    "run": "run every time",
}


# -- printed --------------------------------------------------------------------------


def shown(command: Command) -> str:
    """Return a command as a shell takes it, its late parts as ``${NAME}``."""
    return " ".join(_quoted(part) for part in command)


def _quoted(part: str) -> str:
    if not _LATE.search(part):
        return shlex.quote(part)
    return '"' + re.sub(r'([\\"`]|\$(?!\{[A-Z]))', r"\\\1", part) + '"'


def printed(plan: Plan) -> list[str]:
    """Return the lines that describe a plan: each command, in order."""
    lines = [f"export {name}={shlex.quote(v)}" for name, v in plan.environment.items()]
    told: set[str] = set()
    for number, step in enumerate(plan.steps, start=1):
        lines += ["", f"# {number}. {step.what}"]
        if step.needs:
            lines.append(f"#    (goes on without it: {step.needs})")
        commands = _labelled(step)
        lines += _late_lines([one for _, some in commands for one in some], plan, told)
        lines += [
            f"{label:<7} {shown(one)}" for label, some in commands for one in some
        ]
    return lines


def _labelled(step: Step) -> list[tuple[str, Sequence[Command]]]:
    """Return the commands of a step, under what they are for."""
    return [
        ("look", [step.look] if step.look else []),
        ("create" if step.look else "run", step.create),
        ("update", step.update if step.update != step.create else []),
    ]


def total(plans: Sequence[Plan]) -> str:
    """Return how many steps there are, and how many of them do what."""
    steps = [step for plan in plans for step in plan.steps]
    counts = Counter(label for step in steps for label, some in _labelled(step) if some)
    told = ", ".join(f"{counts[one]} {one}" for one in LEGEND if counts[one])
    return f"# {len(steps)} steps: {told}"


def printed_removal(plan: Plan, *, with_data: bool) -> list[str]:
    """Return the lines that describe how a plan is taken back."""
    lines: list[str] = []
    told: set[str] = set()
    kept = [step.what for step in plan.steps if step.is_data and not with_data]
    for number, step in enumerate(removed(plan, with_data=with_data), start=1):
        commands = ([step.look] if step.look else []) + list(step.remove)
        lines += ["", f"# {number}. {step.what}", *_late_lines(commands, plan, told)]
        lines += [f"look    {shown(step.look)}"] if step.look else []
        lines += [f"remove  {shown(one)}" for one in step.remove]
    if kept:
        lines += ["", "# kept, as it holds data:", *(f"#    {what}" for what in kept)]
    steps = removed(plan, with_data=with_data)
    looks = sum(bool(step.look) for step in steps)
    counts = f"{looks} look, {len(steps)} remove, {len(kept)} kept"
    return [*lines, "", f"# {len(steps) + len(kept)} steps: {counts}"]


def _late_lines(commands: Sequence[Command], plan: Plan, told: set[str]) -> list[str]:
    """Return the look-ups that commands need and that were not printed before."""
    names = [
        name
        for command in commands
        for part in command
        for name in _LATE.findall(part)
        if name not in told and not told.add(name)  # type: ignore[func-returns-value]
    ]
    return [f"{name}=$({shown(plan.lookups[name])})" for name in names]


# -- carried out ----------------------------------------------------------------------


@dataclass
class Runner:
    """
    Runs commands of a plan: one after the other, those of groups beside each other.

    What a look printed is kept until a step of the same look changes something: dozens
    of grants look at the same policy.
    """

    plan: Plan
    say: Callable[[str], None]
    folder: Path
    patience_s: float = PATIENCE_S
    sleep: Callable[[float], None] = time.sleep
    # What a plan that may fail left out, with the command and what it printed.
    left_out: list[str] = field(default_factory=list)
    _late: dict[str, str] = field(default_factory=dict)
    _seen: dict[Command, Any] = field(default_factory=dict)

    def carry_out(self) -> int:
        """
        Run what is needed, and return how many steps changed something.

        Raises:
            NotOurs: Something of it is another deployment's; nothing was changed.
            StepFailed: A command failed. What was done before stays done, and running
                the plan again goes on from there.
        """
        self._vet(is_new=True)
        changed = 0
        for is_grouped, some in itertools.groupby(
            self.plan.steps, key=lambda step: bool(step.group)
        ):
            run = self._side_by_side if is_grouped else self._in_order
            changed += run(list(some))
        return changed

    def _side_by_side(self, steps: Sequence[Step]) -> int:
        """Do the groups of steps at once; one that fails ends no other."""
        groups: dict[str, list[Step]] = {}
        for step in steps:
            groups.setdefault(step.group, []).append(step)
        with futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            started = {
                name: pool.submit(self._in_order, group)
                for name, group in groups.items()
            }
        errors = {name: one.exception() for name, one in started.items()}
        failed = {name: error for name, error in errors.items() if error is not None}
        for error in failed.values():
            if not isinstance(error, StepFailed):
                raise error
        if failed:
            done = len(groups) - len(failed)
            told = "\n".join(f"  {name}:\n{error}" for name, error in failed.items())
            raise StepFailed(
                f"{told}\n    {done} of {len(groups)} others are done; these failed: "
                f"{', '.join(failed)}"
                if done
                else told
            )
        return sum(one.result() for one in started.values())

    def _in_order(self, steps: Sequence[Step]) -> int:
        return sum(self._carried_out(step) for step in steps)

    def _carried_out(self, step: Step) -> bool:
        """Do a step where it is needed, and return whether it changed something."""
        try:
            found = self.look(step)
        except LookFailed:
            # Its create fails, too, and says why.
            found = None
        if found is None:
            done, commands = "created", step.create
        elif not step.holds(found):
            done, commands = "changed", step.update or step.create
        else:
            done, commands = "", ()
        if not commands:
            self.say(f"  as it should be  {step.what}")
            return False
        try:
            self._run(step, commands)
        except StepFailed as error:
            if step.needs:
                self.say(f"  left out         {step.what}: {step.needs}\n{error}")
                return False
            if not self.plan.may_fail:
                raise
            self.left_out.append(f"{step.what}\n{error}")
            self.say(f"  LEFT OUT         {step.what}\n{error}")
            return False
        self.say(f"  {done if step.look else 'done':<15}  {step.what}")
        return True

    def take_back(self, *, with_data: bool) -> int:
        """
        Remove what is there, from the end, and return how many steps did.

        Raises:
            NotOurs: Something of it is another deployment's; nothing was removed.
            StepFailed: A command failed, or a look did, so that nobody knows whether
                something is left. What was removed before stays removed.
        """
        self._vet(is_new=False)
        changed = 0
        for step in removed(self.plan, with_data=with_data):
            # A step that is always run says by ``remove`` alone how it is undone.
            try:
                found = self.look(step) if step.look else {}
            except LookFailed as error:
                if not step.needs:
                    raise
                # Not ours to see, so not ours to remove.
                self.say(f"  left             {step.what}: {step.needs}\n{error}")
                continue
            if found is None:
                continue
            self._run(step, step.remove)
            changed += 1
            self.say(f"  removed          {step.what}")
        return changed

    def look(self, step: Step) -> Any:
        """
        Return what is there, None where nothing is.

        Raises:
            LookFailed: Nobody knows: no permission, no credentials, no connection.
        """
        found = self._shown(step)
        return None if found is None else step.pick(found)

    def _shown(self, step: Step) -> Any:
        """Return all that a step's look prints, None where nothing is there."""
        if not step.look:
            return None
        try:
            command = self._resolved(step.look)
        except Missing:
            # What it is looked up by is not there either.
            return None
        if command not in self._seen:
            try:
                self._seen[command] = self._found(command)
            except Missing:
                self._seen[command] = None
        return self._seen[command]

    def _vet(self, *, is_new: bool) -> None:
        """Raise NotOurs where something is there without this deployment's label."""
        strange: dict[Command, str] = {}
        adopt: list[Command] = []
        for step in self.plan.steps if is_new else ():
            self._accept(step)
        for step in self.plan.steps:
            if not step.owner or step.look in strange:
                continue
            try:
                found = self._shown(step)
            except ApiOff:
                if is_new:
                    continue
                raise
            if found is None:
                continue
            theirs = (found.get("labels") or {}).get(OWNER, "")
            if theirs == step.owner:
                continue
            whose = f"of the deployment {theirs!r}" if theirs else "without a label"
            strange[step.look] = f"    {step.what}: {whose}"
            adopt += [] if theirs else [step.adopt]
        if not strange:
            return
        owner = next(step.owner for step in self.plan.steps if step.owner)
        lines = [
            f"nothing was changed: this is there, and not labelled {OWNER}={owner}:",
            *strange.values(),
            "A second deployment needs a DEPLOY_PREFIX of its own, and a bucket (and a "
            "dataset, where PROPENSITY_DATASET is set), or a project of its own; "
            "docs/deploy.md.",
        ]
        if adopt:
            lines.append(f"What is of {owner!r} all the same is told so by:")
            lines += [f"    {shown(one)}" for one in adopt]
        raise NotOurs("\n".join(lines))

    def _accept(self, step: Step) -> None:
        """Raise Refused where a step cannot be with what is there."""
        if step.refuses is nothing_against:
            return
        try:
            found = self._shown(step)
        except LookFailed:
            # Nobody knows; its own step says so.
            return
        if found is not None and (why := step.refuses(found)):
            raise Refused(f"nothing was changed: {why}")

    def _found(self, command: Command) -> Any:
        done = self._started(command)
        text = done.stdout.strip()
        if done.returncode:
            raise _look_failed(command, done)
        if not text:
            return None
        try:
            return json.loads(text) or None
        except json.JSONDecodeError as error:
            raise StepFailed(
                f"{shown(command)}\nprinted no JSON: {text[:200]}"
            ) from error

    def _run(self, step: Step, commands: Sequence[Command]) -> None:
        for command in commands:
            resolved = self._resolved(command)
            done = self._started(resolved)
            waited = 0.0
            for pause in pauses(0.0 if step.needs else self.patience_s):
                reason = _passing(step, done)
                if not reason:
                    break
                self.say(
                    f"  waiting          {step.what}: {reason}; {waited:.0f} of up to "
                    f"{self.patience_s:.0f} s, as rights and names take minutes to be "
                    f"known\n    {_last_line(done)}"
                )
                self.sleep(pause)
                waited += pause
                done = self._started(resolved)
            if done.returncode:
                raise StepFailed(_message(resolved, done))
        if step.look:
            self._seen.pop(self._resolved(step.look), None)

    def _resolved(self, command: Command) -> Command:
        return tuple(
            _LATE.sub(lambda match: self._value(match[1]), part) for part in command
        )

    def _value(self, name: str) -> str:
        if name not in self._late:
            command = self._resolved(self.plan.lookups[name])
            done = self._started(command)
            value = done.stdout.strip()
            if done.returncode:
                raise _look_failed(command, done)
            if not value:
                raise Missing(f"    {shown(command)}\n    it printed nothing")
            self._late[name] = value
        return self._late[name]

    def _started(self, command: Command) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env={**os.environ, **PROMPTLESS, **self.plan.environment},
            )
        except FileNotFoundError as error:
            raise StepFailed(
                f"    {command[0]} is not installed: "
                "https://cloud.google.com/sdk/docs/install"
            ) from error


def pauses(patience_s: float) -> Iterator[float]:
    """Yield the pauses between tries, longer and longer, until patience ends."""
    left = patience_s
    for pause in itertools.chain(PAUSES_S, itertools.repeat(60.0)):
        if left <= 0:
            return
        yield min(pause, left)
        left -= pause


def _passing(step: Step, done: subprocess.CompletedProcess[str]) -> str:
    """Return what may be all that a command lacks yet, empty where nothing is."""
    told = _told(done)
    if not done.returncode:
        return ""
    if REFUSED.search(told):
        return step.waits_for
    if MISSING.search(told) and not any(one and one in told for one in step.given):
        return "something that was just made is not found"
    return ""


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = _told(done).splitlines()
    return lines[-1].strip()[:200] if lines else "it printed nothing"


def _told(done: subprocess.CompletedProcess[str]) -> str:
    return f"{done.stdout}\n{done.stderr}".strip()


def _message(command: Command, done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    told = "\n".join(f"    {line}" for line in lines[-LINES_OF_ERROR:])
    return f"    {shown(command)}\n{told}"


def _look_failed(
    command: Command, done: subprocess.CompletedProcess[str]
) -> StepFailed:
    """Return what a look's failure says: that nothing is there, or less."""
    told, message = _told(done), _message(command, done)
    if API_OFF.search(told):
        return ApiOff(message)
    if MISSING.search(told) and not DENIED.search(told):
        return Missing(message)
    return LookFailed(message)


def removed(plan: Plan, *, with_data: bool) -> list[Step]:
    """Return the steps that taking back a plan undoes, in order."""
    return [
        step
        for step in reversed(plan.steps)
        if step.remove and (with_data or not step.is_data)
    ]
