"""
00-ModelTraining, specified: a champion that has learned from the rows held out.
"""

from __future__ import annotations

import pytest

from tests.functions.conftest import TRAINED
from tests.shop import WEEK


class TestVerdict:
    @pytest.mark.long
    def test_of_an_earlier_day_says_that_the_champion_may_know_the_rows(
        self, enthroned
    ):
        """Defect: the model behind the champion's figures was said not to know them,
        though what it was fitted on ends a week before its own holdout."""
        answer = enthroned.run("model_training", TRAINED - WEEK)

        assert " against version 0 on the same " in answer["verdict"]
        assert answer["verdict"].endswith("rows, which may have learned from these")
