"""Counts of an instance, specified."""

from __future__ import annotations

import asyncio
import json

from propensity.gcp.counts import Counts


class TestCounts:
    async def test_are_one_line_of_all_that_was_counted(self, capsys):
        """Counts of many groups are logged together, dead letters by their reasons."""
        counts = Counts("streamFeatures")
        counts.add(rows_in=2, rows_out=2, appends=1)
        counts.add({"bad_time": 1}, rows_in=3, rows_out=2, appends=1, dead_letters=1)
        counts.write()
        counts.add(rows_in=1, rows_out=1, appends=1)
        counts.write()

        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line["severity"] for line in lines] == ["WARNING", "INFO"]
        assert (lines[0]["rows_in"], lines[0]["rows_out"]) == (5, 4)
        assert (lines[0]["appends"], lines[0]["dead_letters"]) == (2, 1)
        assert lines[0]["reasons"] == {"bad_time": 1}
        assert (lines[1]["rows_in"], "reasons" in lines[1]) == (1, False)

    async def test_are_logged_by_themselves(self, monkeypatch, capsys):
        """Whoever counts need not write: a line comes when its time is over."""
        monkeypatch.setattr("propensity.gcp.counts.LOG_EVERY_S", 0.0)

        Counts("score").add(requests=2)
        await asyncio.sleep(0.01)

        [line] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert (line["function"], line["requests"]) == ("score", 2)
