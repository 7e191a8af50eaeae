-- Create a function of BigQuery that scores with the scorer's own code.
-- Source: the bundle of a version in the bucket: code, preprocessor and model.
-- Placeholders: `function`, its name; `arguments`, `packages`, `features`; `connection`,
-- whose account reads the bucket; `bucket`, `bundle` and `sha256`, of the bundle.
CREATE OR REPLACE FUNCTION `function`(`arguments`)
RETURNS FLOAT64
LANGUAGE python
WITH CONNECTION `connection`
OPTIONS (
  entry_point = 'score',
  runtime_version = 'python-3.11',
  container_memory = '2Gi',
  packages = [`packages`]
)
AS r"""
import hashlib
import io
import sys
import tempfile
import zipfile

import pyarrow as pa
from google.cloud import storage

FEATURES = `features`
_LOADED = []


def _load():
    bundle = storage.Client().bucket('`bucket`').blob('`bundle`').download_as_bytes()
    if hashlib.sha256(bundle).hexdigest() != '`sha256`':
        raise ValueError('the bundle has other bytes than when this was created')
    with tempfile.NamedTemporaryFile(suffix='.zip', delete=False) as file:
        file.write(bundle)
    sys.path.insert(0, file.name)
    import joblib
    from propensity.models.scoring import Scorer

    with zipfile.ZipFile(file.name) as files:
        preprocessor, model = (
            joblib.load(io.BytesIO(files.read(name)))
            for name in ('preprocessor.joblib', 'model.joblib')
        )
    return Scorer.compile(preprocessor, model, features=FEATURES, threads=1)


def score(batch: pa.RecordBatch) -> pa.Array:
    if not _LOADED:
        _LOADED.append(_load())
    named = pa.RecordBatch.from_arrays(batch.columns, names=list(FEATURES))
    return pa.array(_LOADED[0].probabilities(named))
"""
