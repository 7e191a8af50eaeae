"""
The demo: what it refuses and how soon, what it sends, what it says.

The whole of it is what ``make demo`` runs.
"""

from __future__ import annotations

import os
import sys

import pytest

from local.stack.state import State
from tests.support.programs import execute


class TestRefusals:
    @pytest.mark.parametrize(
        ("variable", "name", "text", "message"),
        [
            ("DATA", "e.json", "", "has no rows of a GA4 export"),
            ("CARDS", "cards.csv", "a,b\n1,2\n", "lacks the columns Time"),
        ],
    )
    def test_refusals_come_before_anything_is_started(
        self, tmp_path, variable, name, text, message
    ):
        """By the name of the data; no process is started, and no state is left."""
        path = tmp_path / name
        path.write_text(text)
        make = ["make", "-o", "setup", f"VENV={sys.prefix}", "demo"]
        process = execute([*make, f"{variable}={path}"], env=os.environ, status=2)

        for part in ("demo: ", message, str(path)):
            assert part in process.stderr
        assert "Traceback" not in process.stderr
        assert "starting" not in process.stdout
        assert not State.of_data(path).folder.exists()
