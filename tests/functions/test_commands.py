"""The command in CONTRIBUTING.md that starts each function."""

from __future__ import annotations

from local.stack.state import FUNCTIONS
from tests.docs.pages import blocks


def test_each_function_has_its_command_with_its_own_source():
    """A function is served from this file: ``tests/deploy/test_start.py`` starts it."""
    typed = [
        line
        for block in blocks("CONTRIBUTING.md")
        for line in block.splitlines()
        if line.startswith("functions-framework ")
    ]

    assert sorted(typed) == sorted(
        f"functions-framework --target={one.target} --source={one.folder}/main.py"
        for one in FUNCTIONS
    )
