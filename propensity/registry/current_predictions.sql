-- One row per user with a prediction in a use case.
-- Parameters: @use_case STRING.
-- Source: ma_predictions_table, whose key is (use_case, user_id) and which is clustered
-- by it. The partition column is left open on purpose: a user who was not scored lately
-- keeps an older row, and that row is the answer.
SELECT
  user_id,
  probability,
  percentile,
  as_of,
  model_version,
  expected_value,
  decile_value
FROM ma_predictions_table
WHERE use_case = @use_case
