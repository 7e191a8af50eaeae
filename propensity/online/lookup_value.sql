-- One row: a user's newest prediction and its expected value; none for a user without
-- a prediction.
-- Parameters: @use_case STRING; @user_id STRING.
-- Source: ma_predictions_table, whose key is (use_case, user_id) and which is clustered
-- by it. The partition column is left open on purpose, as in lookup.sql.
SELECT
  probability,
  as_of,
  percentile,
  model_version,
  expected_value
FROM ma_predictions_table
WHERE
  use_case = @use_case
  AND user_id = @user_id
