-- At most one row: how many new members a week brings, as the plan of a date has it.
-- Parameters: @use_case, @audience STRING; @as_of DATE.
-- Source: ma_audience_plans.
SELECT new_members_a_week
FROM ma_audience_plans
WHERE
  use_case = @use_case
  AND audience = @audience
  AND as_of = @as_of
ORDER BY planned_at DESC
LIMIT 1
