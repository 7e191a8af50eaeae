-- One row per member of an audience.
-- Parameters: @use_case, @audience STRING; @as_of DATE.
-- Source: ma_audience_members.
SELECT
  user_id,
  probability,
  percentile,
  expected_value,
  is_control,
  attributes,
  decile_value,
  effect,
  is_explored
FROM ma_audience_members
WHERE
  use_case = @use_case
  AND audience = @audience
  AND as_of = @as_of
