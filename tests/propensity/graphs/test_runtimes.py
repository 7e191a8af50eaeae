"""
Graphs on ONNX Runtime as BigQuery has it, 1.12.0, and on the one that is installed.

Five hundred generated models: of each the graph gives the scorer's probabilities on
both runtimes, or training says why there is none.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from local.stack.state import ROOT
from propensity.graphs import checked, parity
from tests.programs import execute
from tests.propensity.graphs.generated import Generated, generated

MODELS = 500
# Side by side.
PARTS = 3
# Runs graphs where this project is not: of each folder "graph.onnx" on "inputs.npz".
RUNNER = """
import sys, pathlib, numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    session = onnxruntime.InferenceSession(
        str(folder / "graph.onnx"), options, providers=["CPUExecutionProvider"]
    )
    inputs = dict(np.load(folder / "inputs.npz"))
    texts = {n: v.astype(object) for n, v in inputs.items() if v.dtype.kind == "U"}
    out = session.run(["probability"], {**inputs, **texts})[0]
    np.save(folder / "out.npy", out)
print(onnxruntime.__version__)
"""


def exported(number: int) -> tuple[Generated, np.ndarray, parity.Exported]:
    """A generated model, the scorer's probabilities, and its graph."""
    pipeline = generated(number, rows=500)
    arguments = pipeline.checked
    return pipeline, arguments["expected"], checked.checked(**arguments)


def runtimes() -> list[tuple[str, list[str]]]:
    """The runtime to install by the Python for it, the wanted one first."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    older = [
        str(folder / "bin" / "python") for folder in sorted(versions.glob("3.10.*"))
    ]
    return [
        *(
            (folder, ["onnxruntime==1.12.0", "numpy==1.26.4"])
            for folder in [*older, "3.10"]
        ),
        # No wheel of 1.12 is for a newer Python.
        (sys.executable, ["onnxruntime==1.15.0", "numpy==1.26.4"]),
    ]


@pytest.fixture(scope="module")
def oldest_runtime(tmp_path_factory) -> str:
    """A Python with ONNX Runtime 1.12.0, or with the oldest that installs here."""
    uv = str(ROOT / ".venv" / "bin" / "uv")
    folder = tmp_path_factory.mktemp("runtime")
    for number, (python, packages) in enumerate(runtimes()):
        place = folder / str(number)
        created = subprocess.run(
            [uv, "venv", "--quiet", "--no-python-downloads", "--python", python, place],
            check=False,
        )
        if created.returncode:
            continue
        at = str(place / "bin" / "python")
        installed = subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", at, *packages], check=False
        )
        if not installed.returncode:
            return at
    pytest.fail("no ONNX Runtime could be installed")


def table(results: dict[tuple[str, str], list[float]], runtime: str) -> None:
    """Print the largest difference by model and calibration."""
    print(f"\nONNX Runtime {runtime}: model, calibration, models, largest difference")
    for (kind, calibration), differences in sorted(results.items()):
        print(f"{kind:10} {calibration:12} {len(differences):4} {max(differences):.1e}")


@pytest.mark.installs
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(PARTS))
def test_they_are_equal_on_the_runtime_that_bigquery_has(
    oldest_runtime, tmp_path, part
):
    """Every graph that is kept holds parity on it, and on the installed one; what has
    none is an isotonic step too steep to tell on which side a last digit falls, and
    rare."""
    kept = {}
    results, without = defaultdict(list), Counter()
    for number in range(part, MODELS, PARTS):
        pipeline, expected, graph = exported(number)
        if graph.data is None:
            without[pipeline.calibration] += 1
            assert "it differs" in graph.note
            continue
        scores = parity.run(graph.data, pipeline.rows, features=pipeline.features)
        apart = parity.compare(scores, expected)
        results[pipeline.kind, pipeline.calibration].append(apart.largest_difference)
        assert apart.holds
        folder = tmp_path / f"{number:03}"
        folder.mkdir()
        (folder / "graph.onnx").write_bytes(graph.data)
        inputs = parity.inputs(pipeline.rows, pipeline.features).items()
        plain = {n: v.astype(str) if v.dtype.kind == "O" else v for n, v in inputs}
        np.savez(folder / "inputs.npz", **plain)
        kept[folder] = (pipeline.kind, pipeline.calibration), expected
    (tmp_path.parent / f"runner{part}.py").write_text(RUNNER)
    output = execute([oldest_runtime, tmp_path.parent / f"runner{part}.py", tmp_path])
    table(results, onnxruntime.__version__)
    results = defaultdict(list)
    for folder, (kind, expected) in kept.items():
        apart = parity.compare(np.load(folder / "out.npy"), expected)
        results[kind].append(apart.largest_difference)
        assert apart.holds, (folder.name, kind, apart)
    table(results, output.stdout.strip())

    assert set(without) <= {"isotonic"}
    assert len(kept) >= MODELS // PARTS * 48 // 50
