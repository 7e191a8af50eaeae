-- One row, if there are publications: how many users would have become members for the
-- first time in recent weeks, in how many weeks, and how many may be members at the
-- newest date. Members of each date are so large a part of those who may be members as
-- today, the best first: scores of all users may rise and fall with the season.
-- A member of the first date may have been one before it, and is no newcomer.
-- Parameters: @use_case, @audience, @order STRING, probability, expected_value or
--   effect; @who STRING, active, away or all; @least FLOAT64, the lowest probability;
--   @places INT64, the members of so many @eligible INT64; @tie_key STRING; @since DATE
--   and @as_of DATE, both included; @recent DATE.
-- Source: ma_predictions_history.
WITH
  scored AS (
    SELECT
      user_id,
      as_of,
      probability,
      CASE @order
        WHEN 'expected_value' THEN CAST(expected_value AS FLOAT64)
        WHEN 'effect'
          THEN (
            SELECT e.effect FROM UNNEST(effects) AS e WHERE e.audience = @audience
          )
        ELSE probability
      END AS score
    FROM ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of BETWEEN @since AND @as_of
      AND (@who = 'all' OR JSON_VALUE(categories, '$.presence') = @who)
  ),
  today AS (
    SELECT COUNT(*) AS users
    FROM scored
    WHERE
      as_of = @as_of
      AND score IS NOT NULL
  ),
  ranked AS (
    SELECT
      user_id,
      as_of,
      probability,
      ROW_NUMBER() OVER (
        PARTITION BY as_of
        ORDER BY score DESC, TO_HEX(SHA256(CONCAT(@tie_key, user_id)))
      ) AS place
    FROM scored
    WHERE score IS NOT NULL
  ),
  members AS (
    SELECT MIN(r.as_of) AS first_as_of
    FROM ranked AS r
    CROSS JOIN today AS t
    WHERE
      r.probability >= @least
      AND r.place * @eligible <= @places * t.users
    GROUP BY r.user_id
  )
SELECT
  COUNTIF(m.first_as_of > b.first_as_of) AS newcomers,
  MIN(t.users) AS users_now,
  DATE_DIFF(@as_of, b.first_as_of, DAY) / 7 AS weeks
FROM members AS m
CROSS JOIN today AS t
CROSS JOIN (
  SELECT GREATEST(MIN(first_as_of), @recent) AS first_as_of
  FROM members
) AS b
GROUP BY b.first_as_of
