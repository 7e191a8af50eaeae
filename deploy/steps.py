"""
Steps: look whether something is there, make it if not, change it if it differs.

A plan is a list of steps. Printed, it says every command in order and runs none.
Carried out, it runs only what is needed, so that a second time it changes nothing.
Taken back, it is undone from its end, and what holds data stays unless told otherwise.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
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
# is tried again after these pauses.
UNKNOWN_YET = re.compile(r"does not exist|NOT_FOUND|Not found", re.IGNORECASE)
PAUSES_S = (2.0, 5.0, 10.0)


class StepFailed(Exception):
    """A command failed; the message holds it and what it printed."""


def there(_: Any) -> bool:
    """Accept whatever is there."""
    return True


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
    always run. ``needs`` says what must be there first, where a failure is no failure
    of the whole.
    """

    what: str
    look: Command = ()
    pick: Callable[[Any], Any] = whole
    holds: Callable[[Any], bool] = there
    create: tuple[Command, ...] = ()
    update: tuple[Command, ...] = ()
    remove: tuple[Command, ...] = ()
    is_data: bool = False
    needs: str = ""


@dataclass(frozen=True)
class Plan:
    """Steps in order, and the look-ups whose results their commands hold."""

    steps: tuple[Step, ...]
    lookups: Mapping[str, Command] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


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
        commands = [
            ("look", [step.look] if step.look else []),
            ("create" if step.look else "run", step.create),
            ("update", step.update if step.update != step.create else []),
        ]
        lines += _late_lines([one for _, some in commands for one in some], plan, told)
        lines += [
            f"{label:<7} {shown(one)}" for label, some in commands for one in some
        ]
    return lines


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
    return lines


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
    Runs commands of a plan, one after the other.

    What a look printed is kept until a step of the same look changes something: dozens
    of grants look at the same policy.
    """

    plan: Plan
    say: Callable[[str], None]
    folder: Path
    pauses_s: Sequence[float] = PAUSES_S
    _late: dict[str, str] = field(default_factory=dict)
    _seen: dict[Command, Any] = field(default_factory=dict)

    def carry_out(self) -> int:
        """
        Run what is needed, and return how many steps changed something.

        Raises:
            StepFailed: A command failed. What was done before stays done, and running
                the plan again goes on from there.
        """
        changed = 0
        for step in self.plan.steps:
            found = self.look(step)
            if found is None:
                done, commands = "created", step.create
            elif not step.holds(found):
                done, commands = "changed", step.update or step.create
            else:
                done, commands = "", ()
            if not commands:
                self.say(f"  as it should be  {step.what}")
                continue
            try:
                self._run(step, commands)
            except StepFailed as error:
                if not step.needs:
                    raise
                self.say(f"  left out         {step.what}: {step.needs}\n{error}")
                continue
            changed += 1
            self.say(f"  {done if step.look else 'done':<15}  {step.what}")
        return changed

    def take_back(self, *, with_data: bool) -> int:
        """Remove what is there, from the end, and return how many steps did."""
        changed = 0
        for step in removed(self.plan, with_data=with_data):
            # A step that is always run says by ``remove`` alone how it is undone.
            found = self.look(step) if step.look else {}
            if found is None:
                continue
            self._run(step, step.remove)
            changed += 1
            self.say(f"  removed          {step.what}")
        return changed

    def look(self, step: Step) -> Any:
        """Return what is there, None where nothing is."""
        if not step.look:
            return None
        try:
            command = self._resolved(step.look)
        except StepFailed:
            # What it is looked up by is not there either.
            return None
        if command not in self._seen:
            self._seen[command] = self._found(command)
        found = self._seen[command]
        return None if found is None else step.pick(found)

    def _found(self, command: Command) -> Any:
        done = self._started(command)
        text = done.stdout.strip()
        if done.returncode or not text:
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
            for pause in () if step.needs else self.pauses_s:
                if not (done.returncode and UNKNOWN_YET.search(done.stderr)):
                    break
                time.sleep(pause)
                done = self._started(resolved)
            if done.returncode:
                lines = (done.stderr or done.stdout).strip().splitlines()
                told = "\n".join(f"    {line}" for line in lines[-LINES_OF_ERROR:])
                raise StepFailed(f"    {shown(resolved)}\n{told}")
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
            if done.returncode or not value:
                told = (done.stderr or "it printed nothing").strip()
                raise StepFailed(f"    {shown(command)}\n    {told}")
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


def removed(plan: Plan, *, with_data: bool) -> list[Step]:
    """Return the steps that taking back a plan undoes, in order."""
    return [
        step
        for step in reversed(plan.steps)
        if step.remove and (with_data or not step.is_data)
    ]
