"""``python3 -m offline.cost``: the estimate where nothing is set up."""

import sys

from offline.cost.command import main

sys.exit(main())
