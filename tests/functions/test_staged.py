"""
Every function as it is deployed: its staged folder, its own requirements, real HTTP.

Each runs in a virtual environment that holds what its requirements name and no more,
so that an import that only the repository satisfies is found here.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from deploy import stage
from local import venvs
from local.processes import HOST, free_ports, spawn, stop
from local.stack.state import FUNCTIONS, LOCAL, ROOT
from tests.functions.conftest import TRAINED, Place
from tests.shop import WEEK

TIMEOUT_S = 120
FOLDERS = {function.target: function.folder for function in FUNCTIONS}
ASYNCHRONOUS = {function.target for function in FUNCTIONS if function.is_asynchronous}
TOGETHER = (*sorted(set(FOLDERS) - ASYNCHRONOUS), "get_proba")


@pytest.fixture(scope="module")
def python() -> Callable[[str], Path]:
    """The Python of an environment that holds a function's requirements only."""
    return lambda target: venvs.python_of(
        ROOT / FOLDERS[target] / "requirements.txt", folder=LOCAL / "venvs"
    )


@pytest.fixture(scope="module")
def deployed(
    new_place, python, tmp_path_factory
) -> Iterator[tuple[Place, dict[str, str]]]:
    """Functions, each staged and in its own process, and their addresses."""
    place = new_place()
    ports = dict(zip(TOGETHER, free_ports(len(TOGETHER)), strict=True))
    processes = {}
    try:
        for target, port in ports.items():
            home = tmp_path_factory.mktemp(target)
            processes[target] = spawn(
                target,
                [
                    *(str(python(target)), "-m", "functions_framework"),
                    *(["--asgi"] if target in ASYNCHRONOUS else []),
                    *("--source", "main.py", "--target", target),
                    *("--host", HOST, "--port", str(port)),
                ],
                environment={"PATH": os.environ["PATH"], **place.environment},
                folder=stage.stage(ROOT / FOLDERS[target], home / "staged"),
                port=port,
                log=home / "log",
            )
        urls = {target: f"http://{HOST}:{port}/" for target, port in ports.items()}
        for target, url in urls.items():
            while True:
                try:
                    # 405, or 400 of a lookup without user: it answers.
                    requests.get(url, timeout=TIMEOUT_S)
                    break
                except requests.ConnectionError:
                    log = Path(processes[target].log)
                    assert processes[target].is_running, log.read_text()
                    time.sleep(0.05)
        yield place, urls
    finally:
        stop(list(processes.values()))


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
        found = requests.get(
            urls["get_proba"], params={"user_id": row["user_id"]}, timeout=TIMEOUT_S
        )

        assert (trained["model_version"], trained["promoted"]) == (0, True)
        assert predicted["users"] == 160
        assert predicted["evaluation_missing"] is True
        [week] = evaluated["weeks"]
        assert (week["week"], week["outcome"]) == (str(TRAINED), "evaluated")
        assert week["roc_auc"] > 0.6
        assert found.json() == {
            "user_id": row["user_id"],
            "probability": row["probability"],
            "prediction_date": str(TRAINED),
            "model_version": 0,
            "percentile": 100,
            "stale": True,
        }

    @pytest.mark.parametrize("target", sorted(set(FOLDERS) - ASYNCHRONOUS))
    def test_refuse_what_is_no_request(self, deployed, target):
        """Bad input is the same JSON over HTTP as anywhere."""
        url = deployed[1][target]
        wrong = requests.post(url, data=b"{", timeout=TIMEOUT_S)
        got = requests.get(url, timeout=TIMEOUT_S)
        large = requests.post(url, data=iter([b" " * 70_000]), timeout=TIMEOUT_S)

        assert (wrong.status_code, wrong.json()["field"]) == (400, "body")
        assert (got.status_code, got.headers["Allow"]) == (405, "POST")
        assert (large.status_code, large.json()["error"]) == (413, "too_large")


class TestEnvironments:
    @pytest.mark.parametrize(
        ("target", "absent"),
        [
            ("get_proba", ["pandas", "pyarrow", "sklearn", "numpy"]),
            ("model_evaluation", ["pandas", "sklearn", "scipy", "joblib"]),
        ],
    )
    def test_lack_what_a_function_does_not_need(self, python, target, absent):
        """02 answers without pandas and pyarrow, 03 evaluates without scikit-learn."""
        program = (
            "import importlib.util, json, sys; print(json.dumps("
            "[n for n in sys.argv[1:] if importlib.util.find_spec(n)]))"
        )
        done = subprocess.run(
            [str(python(target)), "-c", program, *absent],
            check=True,
            capture_output=True,
            text=True,
        )

        assert json.loads(done.stdout) == []
