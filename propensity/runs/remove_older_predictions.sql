-- Part of publish_predictions.sql: remove users from the current table who were not scored
-- for so many days.
-- Parameters: @use_case STRING; @as_of DATE; @kept_days INT64.
DELETE FROM ma_predictions_table
WHERE
  use_case = @use_case
  AND as_of < DATE_SUB(@as_of, INTERVAL @kept_days DAY);
-- Whoever returns later is added again.
