-- One row: what may become of an audience, by who may be a member. Ten equal parts of
-- them, the best first, each with how many are expected to convert, what they should pay,
-- what it costs to contact them, and the uplift from which that pays. And how many users
-- became members for the first time a week, recently, if members of each date had been as
-- large a part of those who might be: scores of all users may rise and fall with the
-- season. A member of the first date may have been one before it, and is no newcomer.
-- Parameters: @use_case, @audience STRING; @who STRING, active, away or all; @least
--   FLOAT64, the lowest probability, if one is declared; @places INT64, else the members;
--   @tie_key STRING; @since DATE and @as_of DATE, both included; @recent DATE; @cost
--   FLOAT64, of a contact, and @margin FLOAT64, if they are declared.
-- Source: the session's table scored, and ma_predictions_history.
WITH
  tenths AS (
    SELECT
      probability,
      expected_value,
      NTILE(10) OVER (
        ORDER BY `order` DESC, TO_HEX(SHA256(CONCAT(@tie_key, user_id)))
      ) AS decile
    FROM scored
    WHERE `order` IS NOT NULL
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
  published AS (
    SELECT
      user_id,
      as_of,
      probability,
      expected_value
    FROM ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of BETWEEN @since AND @as_of
      AND (@who = 'all' OR JSON_VALUE(categories, '$.presence') = @who)
  ),
  ranked AS (
    SELECT
      user_id,
      as_of,
      probability,
      ROW_NUMBER() OVER (
        PARTITION BY as_of
        ORDER BY `order` DESC, TO_HEX(SHA256(CONCAT(@tie_key, user_id)))
      ) AS place
    FROM published
    WHERE `order` IS NOT NULL
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
      r.probability >= IFNULL(@least, 0)
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
