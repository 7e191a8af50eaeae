"""``python -m commands``: a clone's ``propensity``, where its script is missing."""

import sys

from commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
