"""The command in CONTRIBUTING.md that starts each function, in its environment."""

from __future__ import annotations

from local.stack.state import FUNCTIONS
from tests.docs.pages import blocks
from tests.functions.instances import python_of


def test_each_function_has_its_command_with_its_own_source():
    """A function is served from this file: ``test_doors.py`` starts it."""
    typed = [
        line
        for block in blocks("CONTRIBUTING.md")
        for line in block.splitlines()
        if "functions-framework " in line
    ]
    environments = {one.target: python_of(one.target).parents[1] for one in FUNCTIONS}

    assert sorted(typed) == sorted(
        f"{environments[one.target].name}/bin/functions-framework "
        f"--target={one.target} --source=../../{one.folder}/main.py"
        for one in FUNCTIONS
    )
