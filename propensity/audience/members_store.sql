-- Write the members that an audience has as of a date: all of them, once.
-- Parameters: @use_case, @audience STRING; @as_of DATE; @control_group STRING;
--   @control_share FLOAT64; @selection STRING, how they were chosen; @selected_at
--   TIMESTAMP.
-- Source: the session's table chosen, and ma_audience_members.
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
  is_explored
)
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
  is_explored
FROM chosen
WHERE
  is_member
  AND NOT EXISTS (
    SELECT 1
    FROM ma_audience_members
    WHERE
      use_case = @use_case
      AND audience = @audience
      AND as_of = @as_of
  )
