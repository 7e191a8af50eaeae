-- Part of a query: of what has begun, the weeks (or days) without final figures.
-- Parameters: @use_case STRING; @since and @until DATE, the oldest and the newest.
-- Source: ma_model_evaluation.
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
