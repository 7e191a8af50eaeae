-- Write the members that an audience has as of a date: all of them, once.
-- Parameters: those of audience_choice.sql; @control_share FLOAT64; @selection STRING, how
--   they were chosen; @selected_at TIMESTAMP.
-- Source: also ma_audience_members.
INSERT INTO ma_audience_members (
  use_case,
  audience,
  as_of,
  user_id,
  probability,
  percentile,
  expected_value,
  is_control,
  attributes,
  control_group,
  control_share,
  selection,
  selected_at,
  decile_value,
  effect,
  is_explored
)
WITH
-- include: audience_choice.sql
SELECT
  @use_case,
  @audience,
  @as_of,
  user_id,
  probability,
  percentile,
  expected_value,
  is_control,
  attributes,
  @control_group,
  @control_share,
  @selection,
  @selected_at,
  decile_value,
  effect,
  is_explored
FROM members
WHERE
  NOT EXISTS (
    SELECT 1
    FROM ma_audience_members
    WHERE
      use_case = @use_case
      AND audience = @audience
      AND as_of = @as_of
  )
