-- One row per user of a publication who may be a member: those with a probability or
-- more, at most so many, the best first. Of users who share a score the hash decides,
-- keyed so that it prefers no user by their id. Users whom the audience's own
-- statement has twice come before all others, whatever their probability. Whoever was
-- held out by an audience of the control group is marked.
-- By effect, users are left out whom contacting makes buy less, or brings less than it
-- costs. Users at random come first: about so large a share of the members, drawn by the
-- hash from all who may be one, so that they are the same in the next week.
-- Parameters: those of audience_scored.sql; @least FLOAT64, that probability;
--   @most INT64; @places INT64, the most members; @explore FLOAT64, that share; @cost
--   FLOAT64 of a contact and @margin FLOAT64, 0 if not declared; @tie_key STRING; those
--   of audience_held_out.sql.
WITH
-- include: audience_scored.sql
  ,
  counted AS (
    SELECT
      *,
      COUNT(*) OVER (PARTITION BY user_id) AS times,
      TO_HEX(SHA256(CONCAT(@tie_key, user_id))) AS tie,
      IFNULL(
        probability >= @least
        AND (
          @order != 'effect'
          OR effect >= 0
          AND IFNULL(
            effect * SAFE_DIVIDE(expected_value, probability) * @margin >= @cost,
            TRUE
          )
        ),
        FALSE
      ) AS is_wanted
    FROM scored
  ),
  drawn AS (
    SELECT
      c.*,
      -- In millionths, as many of all users as make up the share of the members.
      ABS(MOD(FARM_FINGERPRINT(c.tie), 1000000)) * n.users
        < @explore * LEAST(@places, n.wanted) * 1000000 AS is_explored
    FROM counted AS c
    CROSS JOIN (
      SELECT
        COUNT(*) AS users,
        COUNTIF(is_wanted) AS wanted
      FROM counted
    ) AS n
  ),
-- include: audience_held_out.sql
SELECT
  c.* EXCEPT (is_wanted),
  h.user_id IS NOT NULL AS was_control
FROM drawn AS c
LEFT JOIN held_out AS h
  ON h.user_id = c.user_id
WHERE
  is_wanted
  OR is_explored
  OR times > 1
ORDER BY
  times DESC,
  is_explored DESC,
  score DESC,
  tie
LIMIT @most
