"""
Run one command of ``propensity``, as operators' Cloud Run job of this image does.

    python3 operate.py - '["audience", "send", "winback"]'
    python3 operate.py operate/4b1f07a2c9d8e6f5-HASH '["forget", "-"]'

The first word is an object of the bucket, which the command reads as its standard
input: a job's words stay in its record, and users must not. It is deleted before the
command begins. Its name ends with the SHA-256 of its content. The answer is one line of
the log: several could change their order.
"""

import contextlib
import hashlib
import io
import json
import sys
import traceback

from commands.operators import main
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.log import log
from propensity.settings import Settings

# Cloud Logging takes 256 KiB a line.
MOST_CHARACTERS = 40_000
# Other commands need files or packages that this job does not have.
COMMANDS = (
    "versions",
    "promote",
    "rollback",
    "pin",
    "dashboard",
    "doctor",
    "forget",
    "dead-letters",
    "audience",
    "deployment",
)


def refusal(words: list[str]) -> str:
    """Return why a command cannot run here; empty where it can."""
    command = words[0] if words else ""
    if command not in COMMANDS:
        known = ", ".join(COMMANDS[:-1])
        return f"COMMAND is {command!r}. Use {known} or {COMMANDS[-1]} digest"
    if command == "deployment" and words[:2] != ["deployment", "digest"]:
        return (
            f"{' '.join(words[:2])!r} writes files. Run 'propensity deployment' on "
            "your machine"
        )
    if words[:2] == ["audience", "list"]:
        return (
            "'audience list' prints users, and the log keeps what a job prints. Run "
            "'propensity audience list' yourself"
        )
    if command == "audience" and "--json" in words:
        return (
            "'--json' prints what receivers say of users, and the log keeps what a job "
            "prints. Leave it out"
        )
    if "--local" in words:
        return "--local is for what runs on your machine. Leave it out"
    return ""


def taken(name: str) -> io.TextIOWrapper:
    """Return an object's content as a file, and delete the object for good."""
    artifacts = Artifacts.open(Settings.from_environment())
    stored = artifacts.read(name)
    artifacts.delete(name, generation=stored.generation)
    if hashlib.sha256(stored.data).hexdigest() != name.rpartition("-")[2]:
        raise ValueError(f"{name} is not what deploy/operate.sh has written there")
    return io.TextIOWrapper(io.BytesIO(stored.data))


def text_of(output: io.StringIO) -> str:
    """Return what was printed, as far as a line has room."""
    text = output.getvalue()
    if len(text) > MOST_CHARACTERS:
        return text[:MOST_CHARACTERS] + "\n… the rest does not fit into the log\n"
    return text


name, listed = sys.argv[1:]
words = json.loads(listed)
answer = io.StringIO()
notes = io.StringIO()
code = 1
with contextlib.redirect_stdout(answer), contextlib.redirect_stderr(notes):
    try:
        refused = refusal(words)
        if refused:
            print(f"operate: {refused}", file=sys.stderr)
            code = 2
        else:
            if name != "-":
                sys.stdin = taken(name)
            code = main(words)
    except Exception as error:  # the last place before the operator
        # Its message may name a user.
        frames = "".join(traceback.format_tb(error.__traceback__))
        print(f"unexpected error\n{type(error).__name__}\n{frames}", file=sys.stderr)
log(
    "WARNING" if code else "INFO",
    text_of(answer),
    function="operate",
    command=" ".join(words),
    exit_code=code,
    notes=text_of(notes),
)
sys.exit(code)
