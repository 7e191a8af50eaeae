"""``propensity`` of a clone: all commands, also those of a person's machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import click

from commands import machine, operators, rehearsal, usecases
from propensity.trying.usecase_verbs import usecase
from propensity.trying.verbs import trying

SECTIONS: Mapping[str, Sequence[click.Command]] = {
    "On this machine": (machine.demo, machine.up, machine.down, machine.status),
    "A deployment": [rehearsal.rehearse] + list(operators.SECTIONS["A deployment"]),
    "Data": operators.SECTIONS["Data"],
    "Use cases": (trying, usecase, usecases.build_preprocessor),
}

root = operators.program(SECTIONS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return root.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
