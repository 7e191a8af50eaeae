"""
forget_user among files that are none, specified: it goes on, and says which they are.
"""

from __future__ import annotations

import json

import pytest

from commands.cli import main
from commands.exits import Exit
from tests.offline.forgotten import (
    GONE,
    KEPT,
    counts,
    fill,
    parquet,
    shared,
    site,
    users_in,
)

pytestmark = pytest.mark.runs

# Fixtures.
__all__ = ["shared", "site"]

NAME = "exports/stream_events/date=2026-03-02/run=1/0.parquet"


class TestUnreadable:
    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"", marks=pytest.mark.long),
            pytest.param(b"PAR1", marks=pytest.mark.long),
            parquet(GONE)[:-40],
        ],
        ids=["empty", "none", "cut off"],
    )
    def test_files_stop_nothing_and_are_named(self, site, data, capsys):
        """Defect: a traceback, with the indexes and the second search still to come, at
        each further try."""
        fill(site)
        site.artifacts.create(NAME, data)
        behind = NAME.replace("0.parquet", "1.parquet")
        site.artifacts.create(behind, parquet(GONE, KEPT))
        status = main(["forget", GONE, "--json"])
        told = json.loads(capsys.readouterr().out)

        assert counts(site) == dict.fromkeys(counts(site), 2)
        assert users_in(site.artifacts.read(behind).data) == [KEPT]
        assert status == Exit.LEFT_OVER
        assert (told["left"], told["unreadable"]) == (1, [NAME])
        assert NAME in told["notes"][-1]

        site.artifacts.delete_generation(site.artifacts.generations(NAME)[0])
        assert main(["forget", GONE]) == Exit.DONE
