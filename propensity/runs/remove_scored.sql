-- Remove what a run has scored.
-- Parameters: @use_case STRING; @as_of DATE; @run_id STRING.
DELETE FROM ma_predictions_runs
WHERE
  use_case = @use_case
  AND as_of = @as_of
  AND run_id = @run_id
