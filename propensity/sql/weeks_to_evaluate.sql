-- One row per published week whose outcomes are over and whose figures are not final.
-- Parameters: @use_case STRING; @since DATE, the oldest week of interest; @until DATE,
--   the newest whose outcomes are over.
-- Source: ma_predictions_history, ma_model_evaluation.
SELECT
  published.as_of AS week
FROM
  (
    SELECT DISTINCT
      as_of
    FROM
      ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of BETWEEN @since AND @until
  ) AS published
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
  ON settled.week = published.as_of
WHERE
  settled.week IS NULL
ORDER BY
  week
