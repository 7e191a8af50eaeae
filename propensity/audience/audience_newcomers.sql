-- One row per as-of date: how many users reached a score at it for the first time since
-- a date, and how many of these reach it at the newest one.
-- Parameters: @use_case, @order STRING, probability or expected_value; @least FLOAT64,
--   that score; @since DATE and @as_of DATE, both included.
-- Source: ma_predictions_history.
WITH
  reached AS (
    SELECT
      user_id,
      MIN(as_of) AS first_as_of,
      MAX(as_of) AS newest_as_of
    FROM
      ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of BETWEEN @since AND @as_of
      AND @least <= IF(
        @order = 'expected_value',
        CAST(expected_value AS FLOAT64),
        probability
      )
    GROUP BY
      user_id
  )
SELECT
  first_as_of AS as_of,
  COUNT(*) AS users,
  COUNTIF(newest_as_of = @as_of) AS users_now
FROM
  reached
GROUP BY
  first_as_of
ORDER BY
  as_of
