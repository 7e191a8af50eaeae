"""What serves, as the doctor tells it: its advice on a finding ends that finding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from offline.doctor.champions import check_champions
from offline.doctor.run import use_cases_of
from propensity import usecases
from tests.functions.conftest import entered
from tests.functions.streaming import USE_CASE
from tests.offline.doctor.conftest import Place
from tests.offline.doctor.faults import damaged_pointer, no_champion

pytestmark = pytest.mark.runs

POINTER = f"models/{USE_CASE}/champion.json"
SPOILED = {
    "is not recorded": "7 AS model_version",
    "has lost its model": "1 AS model_version, 'gone' AS model_object",
    "bytes are not those": "1 AS model_version, 'x' AS preprocessor_sha256",
    "was trained on other features": "1 AS model_version, '{}' AS features",
    "was trained with": "1 AS model_version, '{\"x\": 1}' AS statement_parameters",
    "has not seen enough": "1 AS model_version, FALSE AS is_warm",
    "other libraries": '1 AS model_version, \'{"numpy": "0"}\' AS libraries',
}


def examined(place: Place, *, setting: str = USE_CASE) -> set[str]:
    """Return the use cases that are looked at where none is named."""
    with entered(place.environment):
        exam = place.examination(settings=replace(place.settings, use_case=setting))
        try:
            use_cases = use_cases_of(exam)
        finally:
            exam.close()
    return {use_case.name for use_case in use_cases}


@pytest.fixture
def recorded(place) -> Iterator[Callable[[str], None]]:
    """Records version 0 once more, with some columns changed."""

    def record(changed: str) -> None:
        place.warehouse.execute(
            f"INSERT INTO ma_model_training_metadata SELECT * REPLACE ({changed})"
            " FROM ma_model_training_metadata WHERE as_of > DATE '1970-01-01'"
        )

    yield record
    place.warehouse.execute(
        "DELETE FROM ma_model_training_metadata"
        " WHERE as_of > DATE '1970-01-01' AND model_version > 0"
    )


class TestAdvice:
    @pytest.mark.parametrize("fault", [no_champion, damaged_pointer])
    def test_on_a_pointer_names_its_use_case(self, place, fault):
        """Else the version of another use case would be promoted."""
        fault(place)

        [finding] = place.checked(check_champions)
        command = f"propensity promote N --use-case {USE_CASE} --epoch $(date +%s)"
        assert finding.advice.endswith(command)


class TestUseCases:
    def test_whose_pointer_was_deleted_are_looked_at(self, place):
        """Nothing of them serves any more, and that nobody else would say."""
        no_champion(place)
        others = {*usecases.names()} - {USE_CASE}

        assert examined(place, setting=others.pop()) >= {USE_CASE}

    def test_that_never_served_are_not(self, place):
        """Most deployments have one or two of those that are included."""
        assert examined(place) == {USE_CASE}
