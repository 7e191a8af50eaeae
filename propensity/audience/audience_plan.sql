-- One row: what may become of an audience, by who may be a member. Ten equal parts of
-- them, the best first, each with how many are expected to convert, what they should pay,
-- what it costs to contact them, and the uplift from which that pays. And how many users
-- became members for the first time a week, recently, if members of each date had been as
-- large a part of those who might be: scores of all users may rise and fall with the
-- season. A member of the first date may have been one before it, and is no newcomer.
-- All users of a date are too many for one worker to sort: they are put in order within a
-- hundred parts, whose sizes say the place of the first.
-- Parameters: @use_case, @audience STRING; @who STRING, active, away or all; @least
--   FLOAT64, the lowest probability, if one is declared; @places INT64, else the members;
--   @tie_key STRING; @since DATE and @as_of DATE, both included; @recent DATE; @cost
--   FLOAT64, of a contact, and @margin FLOAT64, if they are declared.
-- Source: the session's table scored, and ma_predictions_history.
WITH
  bounds AS (
    SELECT APPROX_QUANTILES(`order`, 100) AS bounds
    FROM scored
    WHERE `order` IS NOT NULL
  ),
  rated AS (
    SELECT
      user_id,
      -- Who may be a member, apart from the publications.
      DATE '9999-12-31' AS as_of,
      probability,
      expected_value,
      `order` AS worth
    FROM scored
    UNION ALL
    SELECT
      user_id,
      as_of,
      probability,
      CAST(expected_value AS FLOAT64) AS expected_value,
      `order` AS worth
    FROM ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of BETWEEN @since AND @as_of
      AND (@who = 'all' OR JSON_VALUE(categories, '$.presence') = @who)
  ),
  parted AS (
    SELECT
      c.*,
      (SELECT COUNTIF(bound <= c.worth) FROM UNNEST(b.bounds) AS bound) AS part
    FROM rated AS c
    CROSS JOIN bounds AS b
    WHERE c.worth IS NOT NULL
  ),
  parts AS (
    SELECT
      as_of,
      part,
      SUM(COUNT(*)) OVER (PARTITION BY as_of ORDER BY part DESC) - COUNT(*) AS better,
      SUM(COUNT(*)) OVER (PARTITION BY as_of) AS users
    FROM parted
    GROUP BY as_of, part
  ),
  ranked AS (
    SELECT
      c.*,
      p.users,
      p.better
      + ROW_NUMBER() OVER (
        PARTITION BY c.as_of, c.part
        ORDER BY c.worth DESC, TO_HEX(SHA256(CONCAT(@tie_key, c.user_id)))
      ) AS place
    FROM parted AS c
    INNER JOIN parts AS p
      ON p.as_of = c.as_of AND p.part = c.part
  ),
  -- Where ten parts cannot be equal, the best have one user more.
  tenths AS (
    SELECT
      probability,
      expected_value,
      IF(
        place <= MOD(users, 10) * (DIV(users, 10) + 1),
        DIV(place - 1, DIV(users, 10) + 1),
        DIV(place - 1 - MOD(users, 10), GREATEST(DIV(users, 10), 1))
      ) + 1 AS decile
    FROM ranked
    WHERE as_of > @as_of
  ),
  deciles AS (
    SELECT
      decile,
      COUNT(*) AS users,
      SUM(probability) AS conversions,
      SUM(expected_value) AS value
    FROM tenths
    GROUP BY decile
  ),
  today AS (
    SELECT
      (SELECT SUM(users) FROM deciles) AS eligible,
      COUNT(*) AS users
    FROM ranked
    WHERE as_of = @as_of
  ),
  members AS (
    SELECT MIN(r.as_of) AS first_as_of
    FROM ranked AS r
    CROSS JOIN today AS t
    WHERE
      r.as_of <= @as_of
      AND r.probability >= IFNULL(@least, 0)
      AND r.place * t.eligible <= IFNULL(@places, t.eligible) * t.users
    GROUP BY r.user_id
  ),
  newcomers AS (
    SELECT
      -- The audience's own statement lets only a part of all users be members.
      SAFE_DIVIDE(
        COUNTIF(m.first_as_of > b.first_as_of),
        DATE_DIFF(@as_of, b.first_as_of, DAY) / 7
      ) * MIN(t.eligible) / MIN(t.users) AS a_week
    FROM members AS m
    CROSS JOIN today AS t
    CROSS JOIN (
      SELECT GREATEST(MIN(first_as_of), @recent) AS first_as_of
      FROM members
    ) AS b
    GROUP BY b.first_as_of
  )
SELECT
  (SELECT a_week FROM newcomers) AS new_members_a_week,
  ARRAY_AGG(
    STRUCT(
      decile,
      users,
      conversions,
      value,
      users * @cost AS cost,
      IF(@margin * value > 0, users * @cost / (@margin * value), NULL) AS pays_from
    )
    ORDER BY decile
  ) AS deciles
FROM deciles
