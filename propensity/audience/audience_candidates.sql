-- One row per user of a publication who may be a member: those with a probability or
-- more, at most so many, the best first. Of users who share a score the hash decides,
-- keyed so that it prefers no user by their id. Users whom the audience's own
-- statement has twice come before all others, whatever their probability.
-- Parameters: those of audience_scored.sql; @least FLOAT64, that probability;
--   @most INT64; @tie_key STRING.
WITH
-- include: audience_scored.sql
  ,
  counted AS (
    SELECT
      *,
      COUNT(*) OVER (PARTITION BY user_id) AS times,
      TO_HEX(SHA256(CONCAT(@tie_key, user_id))) AS tie
    FROM scored
  )
SELECT *
FROM counted
WHERE
  probability >= @least
  OR times > 1
ORDER BY
  times DESC,
  score DESC,
  tie
LIMIT @most
