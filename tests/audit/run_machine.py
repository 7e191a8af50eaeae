"""Weeks of 00, 01 and 03, with whatever may befall them, in any order."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from propensity.errors import Unavailable
from tests.audit import run_promises as promises
from tests.audit.faults import Killed
from tests.audit.runs import ENDED, LATE, MONDAYS, NOW, Dead, Meanwhile, Site, State

# A run by the kind of its lease.
TARGETS = {
    "train": "model_training",
    "predict": "predictions",
    "evaluate": "model_evaluation",
}
KINDS = st.sampled_from([*TARGETS])
DATES = st.sampled_from([*MONDAYS, LATE])
STEP = st.integers(0, 30)
# What a run may answer where nothing befalls it.
ANSWERS = {
    *(200, "no_champion", "score_shift", "run_in_progress", "export_late"),
    *("not_enough_data", "no_data"),
}
# Longer than a lease, and than the wait for the export.
MINUTES = st.sampled_from([6, 125])


class Weeks(RuleBasedStateMachine):
    """Each step asks all that is promised at any time, and what it is about itself."""

    site: ClassVar[Site]

    def __init__(self) -> None:
        super().__init__()
        self.site.begin()
        self.state = self.site.state()

    @initialize(is_trained=st.booleans())
    def begin(self, is_trained: bool) -> None:
        if is_trained:
            self.run("train", MONDAYS[0], force=False)

    @rule(kind=KINDS, as_of=DATES, force=st.booleans())
    def run(self, kind: str, as_of: date, force: bool) -> None:
        """Nothing befalls it. Only a training moves the pointer, and says so."""
        before = self.state
        status, answer = self._call(kind, as_of, force=force)
        assert (status if status == 200 else answer["error"]) in ANSWERS, answer
        state = self._look()
        assert promises.unpublished(state) == promises.unpublished(before)
        if status != 200:
            assert state.published() == before.published()
            return
        is_new = kind == "train" and not answer["repeated"]
        if is_new and answer["promoted"]:
            assert not before.champion.get("pinned")
            assert state.champion["version"] == answer["model_version"]
        else:
            assert state.champion == before.champion
        if kind == "predict":
            promises.lookups_have_what_was_published(self.site, state)

    @rule(kind=KINDS, as_of=st.sampled_from(ENDED))
    def run_after_the_end(self, kind: str, as_of: date) -> None:
        """No day of the export has come for weeks."""
        self.site.clock.until(datetime.combine(as_of, NOW.timetz()))
        self._call(kind, as_of)
        self._look()

    @rule(kind=KINDS, as_of=DATES)
    def run_twice(self, kind: str, as_of: date) -> None:
        """Twice is once."""
        self.run(kind, as_of, force=False)
        once = self.state
        self.run(kind, as_of, force=False)
        twice = self.state
        assert _lasting(twice) == _lasting(once)

    @rule(kind=KINDS, as_of=DATES, at=STEP)
    def killed(self, kind: str, as_of: date, at: int) -> None:
        """At any step; its machine cleans nothing up."""
        try:
            with Dead(at, lambda: None).installed():
                self._call(kind, as_of)
        except Killed:
            pass
        self._look()

    @rule(kind=KINDS, as_of=DATES, at=STEP, is_ours=st.booleans())
    def fails(self, kind: str, as_of: date, at: int, is_ours: bool) -> None:
        """
        At any step, by an error that is ours or by another one. Of a prediction no row
        stays, unless it is not known whether it was published.
        """
        before = self.state
        fault = Meanwhile(
            at, _raising(Unavailable("away") if is_ours else MemoryError())
        )
        with fault.installed():
            self._call(kind, as_of)
        state = self._look()
        if before.champion.get("pinned"):
            assert state.champion == before.champion
        if fault.before != "execute":
            assert promises.unpublished(state) == promises.unpublished(before)

    @rule(kind=KINDS, as_of=DATES, at=STEP, minutes=st.sampled_from([0, 6]))
    def beside_another(self, kind: str, as_of: date, at: int, minutes: int) -> None:
        """The same run. Whichever has no lease, or has lost it, changes nothing."""
        seen = list[tuple[bool, bool, int, State]]()

        def another() -> None:
            # Nothing is asserted here: the run that this is within would catch it.
            held = self.site.lease(kind, as_of)
            is_held = held.get("state") == "running"
            self.site.clock.advance(60 * minutes)
            status, _ = self._call(kind, as_of, force=True)
            taken = self.site.lease(kind, as_of).get("run_id") != held.get("run_id")
            seen.append((is_held, taken, status, self.site.state()))

        with Meanwhile(at, another).installed():
            status, answer = self._call(kind, as_of, force=True)
        state = self._look()
        for is_held, is_taken, other, between in seen:
            if is_held and not minutes:
                assert (other, is_taken) == (409, False)
            if is_held and is_taken:
                # It may have failed before it looked at the lease.
                assert status != 200, answer
                assert _lasting(state) == _lasting(between)
                assert state.publications == between.publications

    @precondition(lambda self: self.state.versions)
    @rule(
        action=st.sampled_from(["promote", "pin", "rollback"]),
        choice=st.integers(0, 9),
    )
    def command(self, action: str, choice: int) -> None:
        """A person moves the pointer, to a version that there is."""
        self._command(action, choice)
        self._look()

    @precondition(lambda self: self.state.versions)
    @rule(kind=KINDS, as_of=DATES, at=STEP, choice=st.integers(0, 9))
    def pinned_meanwhile(self, kind: str, as_of: date, at: int, choice: int) -> None:
        """What a person pins stays, whatever runs just then."""
        pinned = list[dict[str, Any]]()

        def pin() -> None:
            self._command("pin", choice)
            pinned.append({**self.site.state().champion})

        with Meanwhile(at, pin).installed():
            self._call(kind, as_of)
        state = self._look()
        for champion in pinned:
            if champion.get("pinned"):
                assert state.champion == champion

    @rule(minutes=MINUTES)
    def time_passes(self, minutes: int) -> None:
        self.site.clock.advance(60 * minutes)

    def _call(self, kind: str, as_of: date, **fields: Any) -> tuple[int, Any]:
        return self.site.call(TARGETS[kind], as_of, **fields)

    def _command(self, action: str, choice: int) -> None:
        numbers = sorted({row["model_version"] for row in self.state.versions})
        words = [action]
        if action != "rollback":
            words.append(str(numbers[choice % len(numbers)]))
            words.append("--force")
        self.site.deployment.command(*words)

    def _look(self) -> State:
        before, self.state = self.state, self.site.state()
        promises.check(self.site, self.state)
        promises.no_version_knew_the_outcomes(before, self.state)
        promises.final_weeks_stay(before, self.state)
        return self.state


def _raising(error: Exception) -> Any:
    def happens() -> None:
        raise error

    return happens


def _lasting(state: State) -> tuple[Any, ...]:
    """Return what a repeated run may not change: all but which run it was, and when."""
    weeks = [(row["week"], row["status"], row["metrics"]) for row in state.evaluations]
    versions = {row["model_version"] for row in state.versions}
    return state.history, state.current, weeks, versions, state.champion
