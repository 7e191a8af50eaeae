"""What contacting adds to each user's probability, by audience."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from propensity import errors
from propensity.models.effect import EffectModel
from propensity.models.encoding import Floats
from propensity.runs.run import Run
from propensity.tables.models import SCORES

_EFFECTS = SCORES.arrow_schema().field("effects").type


def models(run: Run) -> dict[str, EffectModel]:
    """
    Load the models of audiences whose gate is open, by audience, once verified.

    One that cannot be used is left out, and logged: its audience is ordered by
    probability then, and says so.
    """
    loaded = dict[str, EffectModel]()
    for row in run.rows("newest_looks", until=run.as_of):
        if not row["is_open"]:
            continue
        name = row["audience"]
        try:
            model = run.registry.verified(row["model_object"], row["model_sha256"])
            if model.features != dict(run.use_case.features):
                raise errors.SchemaError("features have changed since it was learned")
        except (errors.ArtifactError, errors.SchemaError) as error:
            message = f"{name} has no order by effect: {error.message}"
            run.log("WARNING", message, audience=name)
            continue
        loaded[name] = model
    return loaded


def of_users(
    models: Mapping[str, EffectModel], batch: pa.RecordBatch, probability: Floats
) -> pa.Array:
    """Return what contacting adds to each user's probability, by audience, (rows,)."""
    count = batch.num_rows
    if not models:
        return pa.array([[]] * count, _EFFECTS)
    by_audience = [model.effects(batch, probability) for model in models.values()]
    names = np.tile(np.array(list(models), dtype=object), count)
    # Users follow each other, each with an effect for each audience.
    values = pa.StructArray.from_arrays(
        [pa.array(names, pa.string()), pa.array(np.stack(by_audience, axis=1).ravel())],
        fields=list(_EFFECTS.value_type),
    )
    offsets = np.arange(count + 1, dtype=np.int32) * len(models)
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=_EFFECTS)
