"""
What a user sees while something takes long, specified by a clock that is given.
"""

from __future__ import annotations

import ast
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local import progress
from local.progress import QUIET_S, TICK_S, Progress
from local.stack.state import ROOT


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Screen(io.StringIO):
    """Remembers when something was written."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.times = [0.0]

    def write(self, text: str) -> int:
        self.times.append(self.clock.now)
        return super().write(text)


def new_progress(*, is_terminal: bool) -> tuple[Progress, Screen, Clock]:
    clock = Clock()
    screen = Screen(clock)
    return Progress(screen, clock=clock, is_terminal=is_terminal), screen, clock


def passed(progress_: Progress, clock: Clock, seconds: float) -> None:
    """Let time pass, with the ticks that come meanwhile."""
    end = clock.now + seconds
    while clock.now < end:
        clock.now = min(clock.now + TICK_S, end)
        progress_.tick()


class TestSilence:
    @given(
        actions=st.lists(
            st.tuples(
                st.sampled_from(["say", "step", "count", "nothing"]),
                st.floats(0, 40),
            ),
            max_size=6,
        )
    )
    def test_never_lasts_ten_seconds(self, actions):
        """Whatever is said, begun and counted, and however long it takes, the next
        plain line comes well within ten seconds of the last."""
        progress_, screen, clock = new_progress(is_terminal=False)

        for action, seconds in actions:
            if action == "say":
                progress_.say("a line")
                passed(progress_, clock, seconds)
            elif action == "nothing":
                passed(progress_, clock, seconds)
            else:
                with progress_.step("training", total=9) as step:
                    if action == "count":
                        step.update()
                    passed(progress_, clock, seconds)

        gaps = [b - a for a, b in zip(screen.times, screen.times[1:], strict=False)]
        assert max([*gaps, clock.now - screen.times[-1]]) <= QUIET_S + 2 * TICK_S < 10

    def test_is_broken_by_what_goes_on(self):
        """The line has what it is, how far it is, and for how long it has been."""
        progress_, screen, clock = new_progress(is_terminal=False)

        with progress_.step("loading", total=351, unit=" days") as step:
            step.update(1_27)
            passed(progress_, clock, 7)

        assert screen.getvalue() == "  … loading 127 of 351 days, 6 s\n"

    def test_is_not_broken_where_lines_come(self):
        """Nothing is added to lines that follow each other closely."""
        progress_, screen, clock = new_progress(is_terminal=False)

        with progress_.step("playing"):
            for number in range(5):
                progress_.say(f"week {number}")
                passed(progress_, clock, QUIET_S - 2 * TICK_S)

        assert screen.getvalue() == "".join(f"week {n}\n" for n in range(5))


class TestTerminal:
    def test_has_a_line_that_moves(self):
        """It is drawn over itself, and leaves nothing behind a line that is said."""
        progress_, screen, clock = new_progress(is_terminal=True)

        with progress_.step("training"):
            passed(progress_, clock, 1)
            progress_.say("trained")

        output = screen.getvalue()
        assert len({*output.split("\r")}) > 3
        assert output.count("\n") == 1
        assert output.endswith("\r\x1b[Ktrained\n")

    def test_gives_way_to_a_bar(self, monkeypatch):
        """Where something is counted the bar alone is drawn."""
        progress_, screen, clock = new_progress(is_terminal=True)
        monkeypatch.setattr(progress, "_shown", [progress_])

        with progress.bar("loading", total=3) as counted:
            counted.update()
            passed(progress_, clock, 1)

        assert screen.getvalue() == ""


class TestBars:
    def test_have_one_home(self):
        """In local mode ``bar`` alone makes them; a program that is run by hand says
        that its bar is for a terminal only."""
        without = []
        for path in [*ROOT.glob("local/**/*.py"), *ROOT.glob("offline/**/*.py")]:
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "tqdm":
                    words = {word.arg for word in node.keywords}
                    if "disable" not in words:
                        without.append(path.name)
                    if path.is_relative_to(ROOT / "local"):
                        assert path.name == "progress.py"

        assert without == []


class TestBar:
    def test_is_plain_lines_where_there_is_no_terminal(self, monkeypatch, capfd):
        """No bar is in a file: what is counted is in the lines that come anyway."""
        progress_, screen, clock = new_progress(is_terminal=False)
        monkeypatch.setattr(progress, "_shown", [progress_])

        with progress.bar("handled", total=10_324, unit=" messages") as counted:
            counted.update(4_120)
            passed(progress_, clock, 7)

        assert counted.n == 4_120
        assert screen.getvalue() == "  … handled 4,120 of 10,324 messages, 6 s\n"
        assert capfd.readouterr() == ("", "")

    def test_is_nothing_without_anybody_who_watches(self, capfd):
        """A program that shows nothing writes nothing where there is no terminal."""
        with progress.bar("reading", total=2, unit="B") as counted:
            counted.update(2)

        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("is_terminal", [True, False])
    def test_can_be_switched_off(self, is_terminal, monkeypatch, capfd):
        """Whoever loads little shows no bar, and is not silent for all that."""
        progress_, screen, clock = new_progress(is_terminal=is_terminal)
        monkeypatch.setattr(progress, "_shown", [progress_])

        with progress.bar("loading", is_shown=False):
            passed(progress_, clock, 7)

        assert "loading" in screen.getvalue()
        assert capfd.readouterr() == ("", "")
