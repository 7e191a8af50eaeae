"""
The scheduled functions and the lookup together, as they are deployed.

Each is its staged source in a process of its own, with its own requirements.
"""

from __future__ import annotations

import pytest
import requests

from local.stack.state import FUNCTIONS
from tests.functions.conftest import TRAINED
from tests.functions.instances import Instance, together
from tests.functions.streaming import DEADLINE_S
from tests.shop import WEEK

SCHEDULED = [function.target for function in FUNCTIONS if not function.is_asynchronous]


@pytest.mark.long
def test_train_predict_evaluate_and_look_up(new_place, tmp_path):
    """Model, probabilities, evaluation and a lookup, as the scheduler goes."""
    place = new_place()
    instances = {
        target: Instance(target, place.environment, tmp_path / target)
        for target in (*SCHEDULED, "get_proba")
    }

    def run(target: str, as_of) -> dict:
        body = {"as_of": str(as_of)}
        answer = requests.post(instances[target].url, json=body, timeout=DEADLINE_S)
        assert answer.status_code == 200, answer.text
        return answer.json()

    with together([*instances.values()]):
        training = run("model_training", TRAINED)
        predictions = run("predictions", TRAINED)
        evaluation = run("model_evaluation", TRAINED + WEEK)
        [row] = place.rows(
            "SELECT * FROM ma_predictions_table ORDER BY probability DESC LIMIT 1"
        )
        lookup = requests.get(
            instances["get_proba"].url, {"user_id": row["user_id"]}, timeout=DEADLINE_S
        )

    assert (training["model_version"], training["promoted"]) == (0, True)
    assert predictions["users"] == 160
    assert predictions["evaluation_missing"] is True
    [week] = evaluation["weeks"]
    assert (week["week"], week["outcome"]) == (str(TRAINED), "evaluated")
    assert week["roc_auc"] > 0.6
    assert lookup.json() == {
        "user_id": row["user_id"],
        "probability": row["probability"],
        "prediction_date": str(TRAINED),
        "model_version": 0,
        "percentile": 100,
        "stale": True,
    }
