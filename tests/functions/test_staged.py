"""
Every function as it is deployed: its staged folder, its own requirements, real HTTP.

Each runs in a virtual environment that holds what its requirements name and no more,
so that an import that only the repository satisfies is found here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest
import requests

from local.stack.state import FUNCTIONS
from tests.functions.conftest import TRAINED, Place
from tests.functions.instances import Instance, python_of
from tests.programs import execute
from tests.shop import WEEK

TIMEOUT_S = 120
SCHEDULED = sorted(
    function.target for function in FUNCTIONS if not function.is_asynchronous
)
TOGETHER = (*SCHEDULED, "get_proba")


@pytest.fixture(scope="module")
def deployed(new_place, tmp_path_factory) -> Iterator[tuple[Place, dict[str, str]]]:
    """A place, and the addresses of its functions, each in its own process."""
    place = new_place()
    instances = [
        Instance(target, place.environment, tmp_path_factory.mktemp(target))
        for target in TOGETHER
    ]
    with contextlib.ExitStack() as undo:
        for instance in instances:
            undo.callback(instance.stop)
            instance.start(wait=False)
        for instance in instances:
            instance.wait()
        yield place, {instance.target: instance.url for instance in instances}


@pytest.mark.long
class TestTogether:
    def test_train_predict_evaluate_and_look_up(self, deployed):
        """Model, probabilities, evaluation and a lookup, as the scheduler goes."""
        place, urls = deployed

        def run(target: str, as_of) -> dict:
            body = {"as_of": str(as_of)}
            answer = requests.post(urls[target], json=body, timeout=TIMEOUT_S)
            assert answer.status_code == 200, answer.text
            return answer.json()

        trained = run("model_training", TRAINED)
        predicted = run("predictions", TRAINED)
        evaluated = run("model_evaluation", TRAINED + WEEK)
        [row] = place.rows(
            "SELECT * FROM ma_predictions_table ORDER BY probability DESC LIMIT 1"
        )
        lookup = requests.get(
            urls["get_proba"], params={"user_id": row["user_id"]}, timeout=TIMEOUT_S
        )

        assert (trained["model_version"], trained["promoted"]) == (0, True)
        assert predicted["users"] == 160
        assert predicted["evaluation_missing"] is True
        [week] = evaluated["weeks"]
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

    @pytest.mark.parametrize("target", SCHEDULED)
    def test_refuse_what_is_no_request(self, deployed, target):
        """Bad input is the same JSON over HTTP as anywhere."""
        url = deployed[1][target]
        wrong = requests.post(url, data=b"{", timeout=TIMEOUT_S)
        get = requests.get(url, timeout=TIMEOUT_S)
        large = requests.post(url, data=iter([b" " * 70_000]), timeout=TIMEOUT_S)

        assert (wrong.status_code, wrong.json()["field"]) == (400, "body")
        assert (get.status_code, get.headers["Allow"]) == (405, "POST")
        assert (large.status_code, large.json()["error"]) == (413, "too_large")


class TestEnvironments:
    @pytest.mark.parametrize(
        ("target", "absent"),
        [
            ("get_proba", ["pandas", "pyarrow", "sklearn", "numpy"]),
            ("model_evaluation", ["pandas", "sklearn", "scipy", "joblib"]),
        ],
    )
    def test_lack_what_a_function_does_not_need(self, target, absent):
        """02 answers without pandas and pyarrow, 03 evaluates without scikit-learn."""
        program = (
            "import importlib.util, json, sys; print(json.dumps("
            "[n for n in sys.argv[1:] if importlib.util.find_spec(n)]))"
        )
        process = execute([python_of(target), "-c", program, *absent])

        assert json.loads(process.stdout) == []
