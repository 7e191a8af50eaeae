"""What a stream costs a month, alone and beside an export."""

from __future__ import annotations

from dataclasses import replace

from offline.cost.usage import clocked, usage
from offline.partitions import Size


class TestUse:
    def test_of_a_stream_are_its_players_probabilities(self):
        """Defect: without an export their table, index, features and lookups cost
        nothing, although they are scored each week."""
        game = Size(users=50_000_000, events_a_day=0, stream_events_a_day=10**6,
                    lookups=10**8)  # fmt: skip
        used = {line.what: line.amount for line in usage(game)}

        assert used["newest probabilities"] > 50e6 * 50 / 2**30
        assert used["probabilities of every week"] > 0
        assert used["prediction index, and the one before"] > 2 * 50e6 * 18 / 2**30
        assert used["blocks of the index, one a user"] == 100_000
        assert used["features of users"] > 0
        assert used["files of features"] > 0

    def test_of_a_stream_of_events_have_no_probabilities_of_users(self):
        """Events are scored by their own fields: nobody publishes anything."""
        fraud = Size(users=10**6, events_a_day=0, stream_events_a_day=10**6,
                     scores_users=False, lookups=10**6)  # fmt: skip
        used = {line.what for line in usage(fraud)}

        assert not {"newest probabilities", "files of features"} & used

    def test_of_an_export_and_a_stream_are_the_runs_of_both(self):
        """Defect: the use case of the stream was left out. Cloud Scheduler has three
        jobs of each use case, and the compaction's."""
        both = Size(users=50_000, events_a_day=10**5, stream_events_a_day=1_000)

        assert sum(clocked(both).values()) == 3 * 2 + 1
        assert clocked(replace(both, scores_users=False))["predictions"] == 1
