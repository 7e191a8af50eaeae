-- The session's table chosen of an audience that has ended, which has nobody.
-- Source: ma_audience_members, without a row of it.
CREATE TEMP TABLE chosen AS
SELECT
  user_id,
  probability,
  percentile,
  expected_value,
  decile_value,
  effect,
  is_explored,
  attributes,
  is_control,
  FALSE AS is_newly_held_out,
  FALSE AS is_member
FROM ma_audience_members
WHERE FALSE
