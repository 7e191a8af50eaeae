-- One row per audience and as-of date whose outcomes are over and whose metrics are not
-- final, with the share that is held out.
-- Parameters: @use_case STRING; @since DATE, the oldest date of interest; @until DATE,
--   the newest whose outcomes are over.
SELECT
  m.audience,
  m.as_of AS week,
  MAX(m.control_share) AS control_share
FROM ma_audience_members AS m
LEFT JOIN ma_audience_lift AS l
  ON l.use_case = m.use_case AND l.audience = m.audience AND l.week = m.as_of
WHERE
  m.use_case = @use_case
  AND m.as_of BETWEEN @since AND @until
  AND COALESCE(l.status, '') != 'final'
GROUP BY m.audience, m.as_of
