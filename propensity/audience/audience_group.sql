-- One row: how many users a control group has, counted once for each audience and date,
-- and the newest choice of members that it has some of.
-- Parameters: @control_group STRING.
-- Source: ma_audience_members.
SELECT
  COUNT(*) AS users,
  MAX(selected_at) AS selected_at
FROM ma_audience_members
WHERE
  control_group = @control_group
  AND is_control
