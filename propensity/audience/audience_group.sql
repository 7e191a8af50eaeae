-- One row: how many users a control group has beside those of one choice, counted once
-- for each audience and date, and the newest choice of members that it has some of.
-- Parameters: @control_group STRING; @use_case, @audience STRING and @as_of DATE, that
--   choice.
-- Source: ma_audience_members.
SELECT
  COUNT(*) AS users,
  MAX(selected_at) AS selected_at
FROM ma_audience_members
WHERE
  control_group = @control_group
  AND is_control
  AND NOT (use_case = @use_case AND audience = @audience AND as_of = @as_of)
