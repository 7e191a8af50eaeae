-- One row: what the scheduled runs of a use case have published last; null for nothing.
-- Parameters: @use_case STRING; @since DATE, the first day to look at.
-- Sources: ma_predictions_history, ma_model_evaluation.
SELECT
  (
    SELECT
      MAX(as_of)
    FROM
      ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of >= @since
  ) AS predicted,
  (
    SELECT
      MAX(scored_at)
    FROM
      ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of >= @since
  ) AS scored_at,
  (
    SELECT
      MAX(week_end)
    FROM
      ma_model_evaluation
    WHERE
      use_case = @use_case
      AND week >= @since
  ) AS evaluated
