-- At most one row: the version that had been promoted by a past day.
-- Parameters: @use_case STRING; @as_of DATE; @champions ARRAY<INT64>, versions that the
--   pointer names: one of them was promoted even if its training was cut off then.
-- For reruns of past weeks: a model trained later has seen their outcomes.
SELECT model_version
FROM ma_model_training_metadata
WHERE
  use_case = @use_case
  AND as_of <= @as_of
  AND COALESCE(promoted, model_version IN UNNEST(@champions))
ORDER BY as_of DESC, model_version DESC
LIMIT 1
