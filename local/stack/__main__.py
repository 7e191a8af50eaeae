"""Run a command of local mode: ``python -m local.stack up``, ``down`` or ``status``."""

from __future__ import annotations

import sys

from local.stack.commands import main

sys.exit(main())
