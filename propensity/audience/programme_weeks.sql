-- One row per control group, audience and as-of date whose outcomes are over, where the
-- programme of the control group has no final row of the date, or none since its newest
-- members were chosen, with the share that is
-- held out, and the last day on which the audience was to be sent, as planned then (null
-- without one).
-- Parameters: @use_case STRING; @since DATE, the oldest date whose row is written again;
--   @until DATE, the newest whose outcomes are over.
SELECT
  m.control_group,
  m.audience,
  m.as_of AS week,
  MAX(m.control_share) AS control_share,
  MAX(p.until) AS planned_until
FROM ma_audience_members AS m
LEFT JOIN ma_audience_plans AS p
  ON p.use_case = m.use_case AND p.audience = m.audience AND p.as_of = m.as_of
LEFT JOIN ma_programme_lift AS l
  ON l.use_case = m.use_case
  AND l.control_group = m.control_group
  AND l.period = 'all'
  AND l.week = m.as_of
WHERE
  m.use_case = @use_case
  AND m.control_group IS NOT NULL
  AND m.as_of <= @until
GROUP BY m.control_group, m.audience, m.as_of
QUALIFY
  MAX(l.week) IS NULL
  OR MAX(l.status) != 'final' AND m.as_of >= @since
  OR MAX(MAX(m.selected_at)) OVER (PARTITION BY m.control_group, m.as_of)
    > MAX(l.evaluated_at)
