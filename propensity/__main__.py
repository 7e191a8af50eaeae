"""
``python -m propensity``: the one command, where its script is not installed.

The functions are deployed without this module, and without what it starts.
"""

import sys


def main() -> int:
    """Run the command; return the exit code."""
    from commands.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
