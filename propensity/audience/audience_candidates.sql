-- One row per user of a publication who may be a member: those with a probability or
-- more, at most so many, the best first. Of users who share a score the hash decides,
-- keyed so that it prefers no user by their id. Users whom the audience's own
-- statement has twice come before all others, whatever their probability. Whoever was
-- held out by an audience of the control group is marked, and so is who has the same
-- address now: an address may have changed since.
-- Parameters: those of audience_scored.sql; @least FLOAT64, that probability;
--   @most INT64; @tie_key, @control_group STRING. The program puts in the column that
--   the group is drawn by.
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
    SELECT DISTINCT e.`drawn_by` AS person
    FROM eligible AS e
    JOIN ma_audience_members AS m
      ON m.user_id = e.user_id
    WHERE
      m.control_group = @control_group
      AND m.is_control
      AND m.as_of <= @as_of
  )
SELECT
  c.*,
  h.person IS NOT NULL AS was_control
FROM counted AS c
LEFT JOIN held_out AS h
  ON h.person = c.`drawn_by`
WHERE
  probability >= @least
  OR times > 1
ORDER BY
  times DESC,
  score DESC,
  tie
LIMIT @most
