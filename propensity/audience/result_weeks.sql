-- One row per scope (audience, or control_group), its name, audience and as-of date whose
-- outcomes are over, where it has no final row of the date, or none since its newest
-- members were chosen; with the share that is held out, and the last day on which the
-- audience was to be sent, as planned then (null without one).
-- Parameters: @use_case STRING; @since DATE, the oldest date whose row is written again;
--   @until DATE, the newest whose outcomes are over.
-- Source: ma_audience_members, ma_audience_plans, ma_audience_lift, ma_programme_lift.
WITH
  members AS (
    SELECT
      scope,
      IF(scope = 'audience', audience, control_group) AS name,
      audience,
      as_of,
      MAX(control_share) AS control_share,
      MAX(selected_at) AS selected_at
    FROM ma_audience_members
    CROSS JOIN UNNEST(['audience', 'control_group']) AS scope
    WHERE
      use_case = @use_case
      AND as_of <= @until
      AND (scope = 'audience' OR control_group IS NOT NULL)
    GROUP BY scope, name, audience, as_of
  ),
  results AS (
    SELECT 'audience' AS scope, audience AS name, week, status, evaluated_at
    FROM ma_audience_lift
    WHERE use_case = @use_case
    UNION ALL
    SELECT 'control_group', control_group, week, status, evaluated_at
    FROM ma_programme_lift
    WHERE
      use_case = @use_case
      AND period = 'all'
  )
SELECT
  m.scope,
  m.name,
  m.audience,
  m.as_of AS week,
  m.control_share,
  p.until AS planned_until
FROM members AS m
LEFT JOIN (
  SELECT audience, as_of, MAX(until) AS until
  FROM ma_audience_plans
  WHERE use_case = @use_case
  GROUP BY audience, as_of
) AS p
  ON p.audience = m.audience AND p.as_of = m.as_of
LEFT JOIN results AS r
  ON r.scope = m.scope AND r.name = m.name AND r.week = m.as_of
WHERE TRUE
QUALIFY
  r.week IS NULL
  OR r.status != 'final' AND m.as_of >= @since
  OR MAX(m.selected_at) OVER (PARTITION BY m.scope, m.name, m.as_of) > r.evaluated_at
