-- The session's table chosen of an audience that has ended, which has nobody.
-- Parameters: @as_of DATE, so that no other date is read.
-- Source: ma_audience_members, without a row of it.
CREATE TEMP TABLE chosen AS
SELECT
  *,
  FALSE AS is_newly_held_out,
  FALSE AS is_member
FROM ma_audience_members
WHERE
  as_of = @as_of
  AND FALSE
