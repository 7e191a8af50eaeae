-- One row per audience and as-of date whose outcomes are over and whose figures are not
-- final.
-- Parameters: @use_case STRING; @since DATE, the oldest date of interest; @until DATE,
--   the newest whose outcomes are over.
-- Source: ma_audience_members, ma_audience_lift.
SELECT DISTINCT
  m.audience,
  m.as_of AS week
FROM
  ma_audience_members AS m
LEFT JOIN
  (
    SELECT
      audience,
      week
    FROM
      ma_audience_lift
    WHERE
      use_case = @use_case
      AND week BETWEEN @since AND @until
      AND status = 'final'
  ) AS settled
  ON settled.audience = m.audience AND settled.week = m.as_of
WHERE
  m.use_case = @use_case
  AND m.as_of BETWEEN @since AND @until
  AND settled.week IS NULL
