-- One row per as-of date of an audience's members: how they were chosen.
-- Parameters: @use_case, @audience STRING.
-- Source: ma_audience_members.
SELECT
  as_of,
  MIN(control_group) AS control_group,
  MIN(control_share) AS control_share,
  MIN(selection) AS selection,
  MIN(selected_at) AS selected_at,
  COUNT(*) AS users,
  COUNTIF(is_control) AS control_users
FROM ma_audience_members
WHERE
  use_case = @use_case
  AND audience = @audience
GROUP BY as_of
ORDER BY as_of DESC
