-- Import the graph of a version as a model of the dataset, once.
-- Source: an object of the bucket. Placeholders: `model`, the model's name; `uri`, the
-- object's.
CREATE MODEL IF NOT EXISTS `model`
OPTIONS (
  model_type = 'ONNX',
  model_path = '`uri`'
)
