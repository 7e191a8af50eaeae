-- One row per audience and as-of date whose outcomes are over and whose metrics are not
-- final, with the share that is held out, and the last day on which the audience was to
-- be sent, as planned then (null without one).
-- Parameters: @use_case STRING; @since DATE, the oldest date of interest; @until DATE,
--   the newest whose outcomes are over.
SELECT
  m.audience,
  m.as_of AS week,
  MAX(m.control_share) AS control_share,
  MAX(p.until) AS planned_until
FROM ma_audience_members AS m
LEFT JOIN ma_audience_plans AS p
  ON p.use_case = m.use_case AND p.audience = m.audience AND p.as_of = m.as_of
LEFT JOIN ma_audience_lift AS l
  ON l.use_case = m.use_case AND l.audience = m.audience AND l.week = m.as_of
WHERE
  m.use_case = @use_case
  AND m.as_of BETWEEN @since AND @until
  AND COALESCE(l.status, '') != 'final'
GROUP BY m.audience, m.as_of
