"""Lists of destinations, specified: whoever is on one is taken off, or is named."""

from __future__ import annotations

import pytest

from local.receiver import Receiver
from propensity.audience import run
from propensity.errors import RequestError
from tests.offline.audience.conftest import act, next_week, send, winback

BEST = {"control": "0%", "top": 10}


class TestMoved:
    """Another name in the destination's file, or another destination."""

    def test_an_audience_goes_nowhere_else_while_users_are_on_its_list(
        self, deployment, crm
    ):
        """Defect: whoever was on the earlier list stayed there, without a word."""
        with Receiver() as receiver:
            folder = crm(receiver, remove=True)
            send(deployment, folder, **BEST)
            next_week(deployment, {"u001": 0.5})
            file = folder / "destinations" / "crm.toml"
            file.write_text(file.read_text().replace('"crm"', '"crm2"'))
            for destination in ("crm", "bucket"):
                named = winback(folder, **BEST, destination=destination)
                for action in (run.preview, run.send):
                    with pytest.raises(RequestError, match="10 users of winback") as no:
                        act(deployment, action, named)
            assert len(receiver.users) == 10

            assert "audience end winback --destination 'crm'" in no.value.hint
            file.write_text(file.read_text().replace('"crm2"', '"crm"'))
            done = send(deployment, folder, **BEST)
        assert done["tallies"]["remove"]["accepted"] == 10

    def test_files_in_the_bucket_are_no_list(self, deployment, crm):
        """To practise with the bucket first is no reason to refuse."""
        send(deployment, **BEST)
        with Receiver() as receiver:
            assert send(deployment, crm(receiver), **BEST)["failure"] == ""
