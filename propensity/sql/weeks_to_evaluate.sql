-- One row per week whose outcomes are over and whose figures are not final, where it was
-- published or has provisional figures (of probabilities published before it).
-- Parameters: @use_case STRING; @since DATE, the oldest week of interest; @until DATE,
--   the newest whose outcomes are over.
-- Source: ma_predictions_history, ma_model_evaluation.
SELECT
  begun.week
FROM
  (
    SELECT
      as_of AS week
    FROM
      ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of BETWEEN @since AND @until
    UNION DISTINCT
    SELECT
      week
    FROM
      ma_model_evaluation
    WHERE
      use_case = @use_case
      AND week BETWEEN @since AND @until
      AND status = 'provisional'
  ) AS begun
LEFT JOIN
  (
    SELECT DISTINCT
      week
    FROM
      ma_model_evaluation
    WHERE
      use_case = @use_case
      AND week BETWEEN @since AND @until
      AND status = 'final'
      AND model_version >= 0
  ) AS settled
  ON settled.week = begun.week
WHERE
  settled.week IS NULL
ORDER BY
  week
