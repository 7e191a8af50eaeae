"""
``python -m propensity``: the program, where its script is not installed.

The functions are deployed without this module. A clone has more commands, by ``python
-m commands``.
"""

import sys

from propensity.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
