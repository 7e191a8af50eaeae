"""
What a user sees while something takes long, specified by a clock that is given.
"""

from __future__ import annotations

import io

from local.progress import QUIET_S, TICK_S, Progress


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
