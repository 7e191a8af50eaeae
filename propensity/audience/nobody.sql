-- The session's table chosen of an audience that has ended, which has nobody.
-- Source: ma_audience_members, without a row of it.
CREATE TEMP TABLE chosen AS
SELECT
  *,
  FALSE AS is_newly_held_out,
  FALSE AS is_member
FROM ma_audience_members
WHERE FALSE
