"""
forget_user among files that are none, specified: it goes on, and says which they are.
"""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from commands.cli import main
from commands.exits import Exit
from propensity.edges.artifacts import Artifacts
from tests.offline.forgotten import (
    GONE,
    KEPT,
    NOW,
    USE_CASE,
    counts,
    features_writer,
    fill,
    forget,
    kept_features,
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


class TestFeatures:
    @pytest.mark.parametrize("until", ["scored", "searched", "told"])
    def test_of_a_run_that_is_under_way_can_still_be_read(
        self, site, monkeypatch, until
    ):
        """Defect: a part without the user got the manifest's checksum from before, so
        that nobody's probability in it could be computed again. The run writes its
        manifest when the command is done, while it rewrites the part, or before."""
        writer = features_writer(site)
        users = pa.RecordBatch.from_pydict({"user_id": [KEPT, GONE], "bets": [1, 2]})
        list(writer.keeping([users]))
        replace = Artifacts.replace

        def replaced(self, name, data, **named):
            is_part = name.endswith(".parquet")
            if is_part and until == "searched":
                writer.finish(model_version=0)
            generation = replace(self, name, data, **named)
            if is_part and until == "told":
                writer.finish(model_version=0)
            return generation

        monkeypatch.setattr(Artifacts, "replace", replaced)
        forget(site)
        if until == "scored":
            writer.finish(model_version=0)

        assert kept_features(site) == {"user_id": [KEPT, None], "bets": [1, None]}

    def test_of_a_damaged_set_lose_the_user_as_well(self, site):
        """Defect: the manifest's error ended the command at each try, before it had
        come to the files behind, to the indexes and to the second search."""
        folder = f"features/{USE_CASE}/as_of={NOW.date()}/20260302T060000.000000Z-r/"
        site.artifacts.create(f"{folder}manifest.json", b"{")
        site.artifacts.create(f"{folder}part-00000.parquet", parquet(KEPT, GONE))

        assert main(["forget", GONE]) == Exit.DONE
        data = site.artifacts.read(f"{folder}part-00000.parquet").data
        assert users_in(data) == [KEPT, None]
