"""The program of a wheel: what people have who try Propensity on their data."""

from __future__ import annotations

from importlib import metadata

from propensity.cli.answers import example
from propensity.cli.program import Program
from propensity.trying.usecase_verbs import usecase
from propensity.trying.verbs import trying


def _installed_version() -> str:
    return metadata.version("propensity")


root = Program(
    {"Try": [trying], "Use cases": [usecase]},
    version=_installed_version,
    epilog="`propensity COMMAND --help` explains a command's options. A clone of the "
    "project has more commands.\n\n"
    + example("propensity try churn.csv --user customer --label churned"),
)


def main() -> int:
    """Run the command line of this process; return the exit code."""
    return root.run()
