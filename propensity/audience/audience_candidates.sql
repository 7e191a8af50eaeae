-- One row per user of a publication who may be a member: those with a probability or
-- more, at most so many, the best first. Of users who share a score the hash decides,
-- keyed so that it prefers no user by their id. Users whom the audience's own
-- statement has twice come before all others, whatever their probability. Whoever was
-- held out by an audience of the control group is marked: what the group is drawn by,
-- such as an address, may have changed since.
-- Parameters: those of audience_scored.sql; @least FLOAT64, that probability;
--   @most INT64; @tie_key, @control_group STRING.
-- Source: also ma_audience_members.
WITH
-- include: audience_scored.sql
  ,
  counted AS (
    SELECT
      *,
      COUNT(*) OVER (PARTITION BY user_id) AS times,
      TO_HEX(SHA256(CONCAT(@tie_key, user_id))) AS tie
    FROM scored
  ),
  held_out AS (
    SELECT DISTINCT user_id
    FROM ma_audience_members
    WHERE
      control_group = @control_group
      AND is_control
      AND as_of <= @as_of
  )
SELECT
  c.*,
  h.user_id IS NOT NULL AS was_control
FROM counted AS c
LEFT JOIN held_out AS h
  ON h.user_id = c.user_id
WHERE
  probability >= @least
  OR times > 1
ORDER BY
  times DESC,
  score DESC,
  tie
LIMIT @most
