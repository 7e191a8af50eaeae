"""Exit codes of all commands, and what each means."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    UNKNOWN = 2
    LEFT_OVER = 3
    HANG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS = {
    Exit.DONE: "It is done, or nothing is wrong.",
    Exit.FAILED: "It failed, or what was looked at is wrong. "
    "The reason is on standard error, the findings are the answer.",
    Exit.UNKNOWN: "The command line is wrong; nothing was begun. "
    "Of `doctor` also: nothing wrong was found, and something could not be examined.",
    Exit.LEFT_OVER: "Of `forget`: something is left. Run it again.",
    Exit.HANG_UP: "The terminal was closed (SIGHUP). "
    "What a command of local mode had started is stopped.",
    Exit.INTERRUPTED: "Ctrl-C (SIGINT). "
    "What a command of local mode had started is stopped.",
    Exit.TERMINATED: "It was ended by SIGTERM. "
    "What a command of local mode had started is stopped.",
}
