"""Which scores are one inference, whichever way they come."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from propensity import usecases
from propensity.streaming.scores.inference_log import Scored, inference_id

CARDS = usecases.load("card_fraud")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(
    event_id: str = "e", user_id: str | None = "u", time: datetime = NOON
) -> Scored:
    return Scored(event_id, user_id, time, {}, None)


def test_an_inference_is_of_a_use_case_an_event_and_a_version():
    """A transaction's id is unique in its use case, whoever names whom and when: by the
    stream and by HTTP it is one inference. Its id is what it always was."""
    ids = {
        inference_id(replace(CARDS, name=name), event(event_id), version)
        for name in ("a", "ab")
        for event_id in ("b", "bb")
        for version in (0, 1)
    }
    other = event("c0ffee01", user_id="v", time=datetime.now(UTC))

    assert len(ids) == 8
    for each in (other, event("c0ffee01"), event("c0ffee01", user_id=None)):
        assert inference_id(CARDS, each, 3) == (
            "2f797b1d8bfec65d12c8ba0585e18174d16fad5bd2533f277f6473ab94196f35"
        )
