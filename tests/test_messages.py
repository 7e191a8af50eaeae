"""What people read: no pattern, no riddle, and the words of the glossary."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from propensity.errors import SettingsError
from propensity.settings import Settings, variable_of

ROOT = Path(__file__).parent.parent
ROOMS = ("commands", "deploy", "local", "offline", "propensity")
# Each is a habit that made a reader stop: a word for nothing, a noun for a command, a
# statement of a rule that reads as if it were kept, another word than the glossary's.
RIDDLES = re.compile(
    r"""
    (?<!here\ )\bis\ no\ (?!longer)   # "x is no table": say that it is not one
    | \bmust\ (be\ like|match)\b         # give an example of a right value
    | \bcan\ not\b | \bcan\ be\ no\b
    | \b(nobody|whoever|anybody's)\b     # say who
    | \b(set-up|serves|served)\b         # name the command; a version is live
    | \bgives\ (no|a)\b                  # a statement returns
    """,
    re.VERBOSE,
)
# Only a regular expression has these.
PATTERN = re.compile(r"\[\^|\[[a-zA-Z0-9]-[a-zA-Z0-9]|\\[dswW]|\(\?|\]\{|\.\*|\]\+")
# Functions whose texts a person sees; so are all that are raised.
PRINTING = {"echo", "fail", "log", "print", "say", "Finding", "Refused", "warning"}
# A person sees those, too, by whatever variable.
NAMED = {"problem", "hint", "advice", "text", "message", "reason", "what", "why"}


def texts(node: ast.AST) -> Iterator[str]:
    """The texts of an expression; what is put into them is its source in braces."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        parts = (
            part.value
            if isinstance(part, ast.Constant)
            else f"{{{ast.unparse(part.value)}}}"
            for part in node.values
        )
        yield "".join(map(str, parts))
    else:
        for child in ast.iter_child_nodes(node):
            yield from texts(child)


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a module that a person sees, with the line of each."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        shown: list[ast.AST] = []
        if isinstance(node, ast.Raise) and node.exc:
            shown = [node.exc]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in PRINTING or name.endswith("Error"):
                shown = [node]
        elif isinstance(node, ast.Yield | ast.Return) and node.value:
            # A check yields what is wrong, and a helper returns a part of it.
            shown = [node.value]
        elif isinstance(node, ast.Assign):
            shown = [node.value] if ast.unparse(node.targets[0]) in NAMED else []
        for part in shown:
            yield from ((node.lineno, text) for text in texts(part))


def echoed(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that a script prints."""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if "echo " in line:
            yield number, line.partition("echo ")[2]


MODULES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
SCRIPTS = [
    path for folder in ("deploy", *("0*",)) for path in ROOT.glob(f"{folder}/*.sh")
]


def test_messages_have_no_riddle_and_no_pattern():
    found = []
    for path in [*MODULES, *SCRIPTS]:
        read = messages if path.suffix == ".py" else echoed
        for line, text in sorted(set(read(path))):
            is_sentence = len(text.split()) > 2 and "SELECT" not in text
            riddle = RIDDLES.search(text) if is_sentence else None
            if riddle or (is_sentence and PATTERN.search(text)) or ".pattern}" in text:
                found.append(f"{path.relative_to(ROOT)}:{line}: {text[:90]}")

    assert not found, "\n".join(["", *found])


def test_a_hint_is_a_sentence():
    """It stands after a full stop, or on a line of its own; paths are as they are."""
    found = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "hint":
                text = next(texts(node.value), "")
                if text[:1].islower() and not text.startswith("docs/"):
                    found.append(f"{path.relative_to(ROOT)}: {text}")

    assert not found, "\n".join(["", *found])


def with_causes(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a module that have what a caught exception says, and the lines."""
    for handler in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(handler, ast.ExceptHandler) or not handler.name:
            continue
        # Attributes of it are texts of ours, or names; its type is one word.
        said = re.compile(rf"\{{(?!type)[^{{}}]*\b{handler.name}\b(?!\.)")
        for node in ast.walk(handler):
            if isinstance(node, ast.JoinedStr):
                shown = ast.unparse(node)
                if said.search(shown):
                    yield node.lineno, shown


def test_what_a_library_says_is_the_end_of_a_message_after_a_colon():
    """Before it stand what is wrong and what to do, in words of ours."""
    found = []
    for path in MODULES:
        for line, text in with_causes(path):
            if not re.search(r"(: |: it )\{[^{}!]*\}['\"]+$", text):
                found.append(f"{path.relative_to(ROOT)}:{line}: {text}")

    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize("name", [*Settings.__dataclass_fields__])
def test_a_wrong_setting_is_answered_without_a_pattern(name):
    """With what can be set instead, or an example of it."""
    variable = variable_of(name)
    with pytest.raises(SettingsError) as wrong:
        Settings.from_environment({"GOOGLE_CLOUD_PROJECT": "p", variable: "☃ !"})

    assert variable in wrong.value.problem
    assert not PATTERN.search(wrong.value.message)
    assert "must match" not in wrong.value.message
    assert "Expected" not in wrong.value.message
