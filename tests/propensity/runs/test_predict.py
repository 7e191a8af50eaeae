"""
Prediction as a run, where no function shows it: what it refuses to stage.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from propensity.errors import SchemaError, Unavailable
from propensity.runs import predict
from propensity.runs.reasons import Reasons
from propensity.runs.value import Values
from propensity.waiting.threads import DaemonThreads


class TestStaging:
    @pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1, np.inf])
    def test_values_that_are_no_probabilities_are_not_staged(self, wrong):
        """A model that answers NaN publishes nothing."""
        batch = pa.RecordBatch.from_pydict({"user_id": ["a", "b"]})
        run = SimpleNamespace(
            staging_key={"run_id": "r", "staged_on": date(2026, 3, 2)}
        )
        scored = [(batch, np.array([0.5, wrong]))]

        with pytest.raises(SchemaError, match="not probabilities"):
            list(
                predict._staged(
                    run, scored, Reasons(None, None), Values(None), has_features=True
                )
            )

    def test_leaves_no_thread_where_it_fails(self, monkeypatch):
        """Defect: who read the error of a run whose scores could not be stored had its
        parts' threads go on behind it, for as long as the error was held."""
        monkeypatch.setattr(predict.feature_sets, "PART_ROWS", 1)
        monkeypatch.setattr(predict, "STAGED_ROWS", 3)
        stored, may_end = [], threading.Event()

        def create(name: str, data: bytes, **_: str) -> int:
            assert may_end.wait(60)
            stored.append(name)
            return 1

        def scored(parts: Iterator[pa.RecordBatch]) -> Iterator[tuple]:
            for number, part in enumerate(parts):
                # The third part is asked for once the first is stored.
                may_end.set() if number == 1 else None
                yield part, np.array([0.5])

        def write(*_: object) -> None:
            raise Unavailable("BigQuery did not answer")

        run = SimpleNamespace(
            use_case=SimpleNamespace(name="shop", features={"visits": "number"}),
            settings=SimpleNamespace(
                feature_retention_days=9, explain_predictions=False
            ),
            registry=SimpleNamespace(artifacts=SimpleNamespace(create=create)),
            warehouse=SimpleNamespace(write=write),
            as_of=date(2026, 3, 2),
            began_at=datetime(2026, 3, 2, tzinfo=UTC),
            run_id="r",
            staging_key={"run_id": "r", "staged_on": date(2026, 3, 2)},
            log_fields={},
            threads=DaemonThreads(),
        )
        model = SimpleNamespace(
            scorer=SimpleNamespace(score=scored), version=0, metadata={}, value=None
        )
        rows = [
            pa.RecordBatch.from_pydict({"user_id": [f"u{n}"], "visits": [n]})
            for n in range(9)
        ]
        with pytest.raises(Unavailable) as raised:
            predict.stage(run, model, features=rows, shift=None)

        assert str(raised.value) == "BigQuery did not answer"
        assert len(stored) == 3, "of the rows that were to be written"
        names = [thread.name for thread in threading.enumerate()]
        assert not [name for name in names if name.startswith("features")]
