-- Part: a common table memberships, with what the plan of the date says: of each audience by
-- itself (scope is audience), and of all audiences of a control group together (scope
-- is control_group).
-- Parameters: @use_case STRING.
-- Source: ma_audience_members, ma_audience_plans.
  plans AS (
    SELECT
      audience,
      as_of,
      cost_per_contact AS cost,
      margin,
      until
    FROM ma_audience_plans
    WHERE use_case = @use_case
    -- A delivery that ended before its members were stored has left another plan.
    QUALIFY
      ROW_NUMBER() OVER (PARTITION BY audience, as_of ORDER BY planned_at DESC) = 1
  ),
  memberships AS (
    SELECT
      scope,
      IF(scope = 'audience', m.audience, m.control_group) AS name,
      m.*,
      p.cost,
      p.margin,
      p.until
    FROM ma_audience_members AS m
    CROSS JOIN UNNEST(['audience', 'control_group']) AS scope
    LEFT JOIN plans AS p
      ON p.audience = m.audience AND p.as_of = m.as_of
    WHERE
      m.use_case = @use_case
      AND (scope = 'audience' OR m.control_group IS NOT NULL)
  )
