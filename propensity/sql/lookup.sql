-- One row per user asked for that has a prediction; users without one have no row.
-- Parameters: @use_case STRING; @user_ids ARRAY<STRING>, 1 to 1,000, each once.
-- Source: ma_predictions_table, whose key is (use_case, user_id) and which is clustered
-- by it. The partition column is left open on purpose: a user who was not scored lately
-- keeps an older row, and that row is the answer.
SELECT
  user_id,
  probability,
  as_of,
  percentile,
  model_version
FROM ma_predictions_table
WHERE
  use_case = @use_case
  AND user_id IN UNNEST(@user_ids)
