-- One row per scope (audience, or control_group), its name and as-of date whose outcomes
-- are over, where it has no final row of the date, or none since its newest members were
-- chosen; with its audiences, the share that is held out, and the last day on which they
-- were to be sent, as planned then (null if one had none).
-- Parameters: @use_case STRING; @since DATE, the oldest date whose row is written again;
--   @until DATE, the newest whose outcomes are over.
-- Source: ma_audience_members, ma_audience_plans, ma_audience_lift, ma_programme_lift.
WITH
  plans AS (
    SELECT audience, as_of, MAX(until) AS until
    FROM ma_audience_plans
    WHERE use_case = @use_case
    GROUP BY audience, as_of
  ),
  weeks AS (
    SELECT
      scope,
      IF(scope = 'audience', m.audience, m.control_group) AS name,
      m.as_of AS week,
      ARRAY_AGG(DISTINCT m.audience) AS audiences,
      IFNULL(MAX(m.control_share), 0) AS control_share,
      IF(COUNTIF(p.until IS NULL) > 0, NULL, MAX(p.until)) AS planned_until,
      MAX(m.selected_at) AS selected_at
    FROM ma_audience_members AS m
    CROSS JOIN UNNEST(['audience', 'control_group']) AS scope
    LEFT JOIN plans AS p
      ON p.audience = m.audience AND p.as_of = m.as_of
    WHERE
      m.use_case = @use_case
      AND m.as_of <= @until
      AND (scope = 'audience' OR m.control_group IS NOT NULL)
    GROUP BY scope, name, week
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
SELECT w.scope, w.name, w.week, w.audiences, w.control_share, w.planned_until
FROM weeks AS w
LEFT JOIN results AS r
  ON r.scope = w.scope AND r.name = w.name AND r.week = w.week
WHERE
  r.week IS NULL
  OR r.status != 'final' AND w.week >= @since
  OR w.selected_at > r.evaluated_at
