-- Part of audience_members.sql: the members that an audience has as of a date, chosen
-- from a publication: those with a probability or more, at most so many, the best first,
-- and so many of the treated as a budget pays for. Of users who share a score the hash
-- decides, keyed so that it prefers no user by their id.
-- The control group is drawn by HMAC-SHA256 of what a person is known by (RFC 2104: two
-- hashes, by the key and its pads), whose first sixteen digits are below its share; who
-- was held out by an audience of the group stays in it.
-- Users at random come first: about so large a share of the members, drawn by the hash
-- from all who may be one, so that they are the same in the next week.
-- Parameters: @least FLOAT64, that probability, if one is declared; @most INT64, the most members; @paid_for INT64, the
--   most who are treated; @read INT64, how many users are looked at, so many more as are
--   suppressed; @places INT64, the most members by chance; @explore FLOAT64, the share at
--   random; @tie_key STRING; @inner_pad and @outer_pad BYTES; @share STRING, of 2^64 in
--   hexadecimal; @suppressed ARRAY<STRING>.
-- Source: the session's table scored.
-- include: audience_controls.sql
  ,
  counted AS (
    SELECT
      *,
      `order` AS score,
      COUNT(*) OVER (PARTITION BY user_id) AS times,
      TO_HEX(SHA256(CONCAT(@tie_key, user_id))) AS tie,
      IFNULL(probability >= IFNULL(@least, 0), FALSE) AS is_wanted
    FROM scored
    WHERE is_published
  ),
  explored AS (
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
  candidates AS (
    SELECT
      *,
      user_id IN UNNEST(@suppressed) AS is_suppressed
    FROM explored
    WHERE is_wanted OR is_explored OR times > 1
    ORDER BY
      times DESC,
      is_explored DESC,
      score DESC,
      tie
    LIMIT @read
  ),
  drawn AS (
    SELECT
      *,
      user_id IN (SELECT user_id FROM held_out)
      OR LEFT(
        TO_HEX(
          SHA256(
            CONCAT(@outer_pad, SHA256(CONCAT(@inner_pad, CAST(person AS BYTES))))
          )
        ),
        16
      ) < @share AS is_control
    FROM candidates
  ),
  looked_at AS (
    SELECT
      * REPLACE (
        -- Nobody sends the control group.
        IF(is_control OR attributes = '{}', NULL, attributes) AS attributes
      ),
      FALSE AS is_newly_held_out,
      NOT is_suppressed
      AND ROW_NUMBER() OVER best_first <= @most
      -- They end with the last who is paid for: with more of the control group behind,
      -- a small budget would have too large a control group.
      AND COUNTIF(NOT is_control) OVER best_first - IF(is_control, 0, 1)
        < @paid_for AS is_member,
      is_suppressed AS is_left_out,
      NOT is_suppressed AND IFNULL(person, '') = '' AS is_nameless
    FROM drawn
    WINDOW best_first AS (
      PARTITION BY is_suppressed
      ORDER BY is_explored DESC, score DESC, tie
    )
  )
