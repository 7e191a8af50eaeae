-- Common tables memberships and entries, as first_memberships.sql has them: of each audience
-- by itself (scope is audience), and of all audiences of a control group together (scope
-- is control_group).
-- Parameters: @as_ofs ARRAY<DATE>; @use_case STRING.
-- Source: ma_audience_members, up to the newest of the dates; ma_audience_plans.
  plans AS (
    SELECT audience, as_of, MAX(cost_per_contact) AS cost, MAX(margin) AS margin
    FROM ma_audience_plans
    WHERE use_case = @use_case
    GROUP BY audience, as_of
  ),
  memberships AS (
    SELECT
      scope,
      IF(scope = 'audience', m.audience, m.control_group) AS name,
      m.audience,
      m.as_of,
      m.user_id,
      m.is_control,
      m.probability,
      p.cost,
      p.margin
    FROM ma_audience_members AS m
    CROSS JOIN UNNEST(['audience', 'control_group']) AS scope
    LEFT JOIN plans AS p
      ON p.audience = m.audience AND p.as_of = m.as_of
    WHERE
      m.use_case = @use_case
      AND m.as_of <= (SELECT MAX(day) FROM UNNEST(@as_ofs) AS day)
      AND (scope = 'audience' OR m.control_group IS NOT NULL)
  ),
-- include: first_memberships.sql
