-- One row per scope (audience, or control_group), its name and as-of date whose outcomes
-- are over, where it has no final row of the date, or none since its newest members were
-- chosen; with its audiences, the share that is held out, and the last day on which they
-- were to be sent, as planned then (null if one had none).
-- Parameters: @use_case STRING; @since DATE, the oldest date whose row is written again;
--   @until DATE, the newest whose outcomes are over.
-- Source: ma_audience_members, ma_audience_plans, ma_audience_lift, ma_programme_lift.
WITH
-- include: audience_memberships.sql
  ,
  weeks AS (
    SELECT
      scope,
      name,
      as_of AS week,
      ARRAY_AGG(DISTINCT audience) AS audiences,
      IFNULL(MAX(control_share), 0) AS control_share,
      IF(COUNTIF(until IS NULL) > 0, NULL, MAX(until)) AS planned_until,
      MAX(selected_at) AS selected_at
    FROM memberships
    WHERE as_of <= @until
    GROUP BY scope, name, as_of
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
