"""Changes that a model has learned, specified week by week."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.drift import alarms
from propensity.drift.alarms import Earlier
from propensity.drift.learned import LASTING, Known, Trained, expected
from tests.propensity.drift.test_alarms import MONDAY, feature

WEEK = timedelta(weeks=1)
OLD, NEW = feature(), feature(missing=9_000)
# A label is final ten days after the as-of date of its row.
SETTLED = timedelta(days=10)


def played(states, trainings, *, look_back=13):
    """
    Publish a state each week; return the things, oldest first.

    Args:
        states: A feature by week.
        trainings: Weeks in which a version is trained before it publishes.
        look_back: Weeks that are compared with.
    """
    earlier: list[Earlier] = []
    trained, version = None, 0
    for week, state in enumerate(states):
        as_of = MONDAY + week * WEEK
        if week in trainings:
            trained = Trained(as_of=as_of, snapshot=as_of - SETTLED)
            version += 1
        [thing] = alarms.watched(
            [state], earlier[:look_back], model_version=version, trained=trained
        )
        publication = Earlier(
            as_of=as_of, model_version=version, things={thing.key: thing}
        )
        earlier.insert(0, publication)
    return [dict(week.things)[NEW.key] for week in earlier[::-1]]


def alarmed(states, trainings):
    """The weeks with an alarm."""
    things = played(states, trainings)
    return [week for week, thing in enumerate(things) if thing.is_alarm]


class TestALastingChange:
    @pytest.mark.parametrize(
        ("new", "old_again", "trainings", "alarms"),
        [
            pytest.param(20, 0, {14}, range(10, 14), id="a training knows it"),
            pytest.param(40, 0, range(14, 50, 4), range(10, 14), id="versions follow"),
            # A training that met a change which may have to be repaired is no reason
            # to be still; the next one is, which came once the change had lasted.
            pytest.param(
                20, 0, {11, 16}, range(10, 16), id="trained in its first week"
            ),
            pytest.param(5, 10, {18}, range(10, 15), id="repaired before a training"),
            pytest.param(
                10,
                4,
                {14},
                [*range(10, 14), *range(20, 24)],
                id="repaired once learned",
            ),
        ],
    )
    def test_is_an_alarm_until_a_training_knows_it(
        self, new, old_again, trainings, alarms
    ):
        """Defect: it was one for eleven weeks, whatever was trained. A repair after a
        training is a change as well; one before is compared with what was before."""
        states = [OLD] * 10 + [NEW] * new + [OLD] * old_again

        assert alarmed(states, {0, *trainings}) == [*alarms]

    def test_without_a_training_goes_on(self):
        """Until hardly a publication is left without it, as before."""
        assert len(alarmed([OLD] * 13 + [NEW] * 30, {0})) == 12

    def test_that_was_repaired_is_not_learned(self):
        """The alarm ended while the same version served."""
        repaired = [Known(MONDAY - n * WEEK, 1, False, 0) for n in (1, 2)]
        run = [Known(MONDAY - n * WEEK, 1, True, 7 - n) for n in range(3, 7)]
        trained = Trained(as_of=MONDAY, snapshot=MONDAY)

        assert expected([*repaired, *run], trained) is None
        assert expected(run, trained) == [0, 1, 2, 3]

    @pytest.mark.parametrize(
        ("after", "is_learned"), [(0, False), (1, False), (2, True)]
    )
    def test_is_learned_by_a_training_once_it_had_lasted(self, after, is_learned):
        """By the third publication in a row, and not by one that met it before."""
        run = [Known(MONDAY - n * WEEK, 1, True, 5 - n) for n in range(1, 5)]
        began = MONDAY - 4 * WEEK
        trained = Trained(as_of=began + after * WEEK, snapshot=began)

        assert (expected(run, trained) is not None) is is_learned

    def test_is_not_known_to_a_version_of_before(self):
        """After a rollback an older training is asked what it has learned."""
        ended = [Known(MONDAY - WEEK, 2, False, 0)]
        run = [Known(MONDAY - n * WEEK, 1, True, 6 - n) for n in range(2, 6)]
        newer, older = (
            Trained(as_of=MONDAY - n * WEEK, snapshot=MONDAY - n * WEEK - SETTLED)
            for n in (2, 12)
        )

        assert expected([*ended, *run], newer) == [0, 1, 2, 3, 4]
        assert expected([*ended, *run], older) is None


@given(
    before=st.integers(2, 12),
    lasting=st.integers(LASTING, 12),
    later=st.integers(0, 12),
    every=st.integers(2, 6),
)
def test_no_alarm_comes_back_once_it_was_learned(before, lasting, later, every):
    """Whatever had been published before, and however often is trained after it."""
    first = before + lasting
    states = [OLD] * before + [NEW] * (lasting + later + 1)
    trainings = {0, *range(first, len(states), every)}
    weeks = alarmed(states, trainings)

    assert [week for week in weeks if week >= first] == []


@pytest.mark.parametrize("trained", [None, Trained(as_of=MONDAY, snapshot=MONDAY)])
def test_nothing_is_learned_where_there_is_no_alarm(trained):
    calm = [Known(MONDAY - n * WEEK, 0, False, 0) for n in range(1, 9)]

    assert expected(calm, trained) is None
    assert expected([], trained) is None
