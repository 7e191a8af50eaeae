-- One row, if a user reaches a score: how many users reached it for the first time in
-- recent weeks, in how many weeks, and how many users reach it at the newest date.
-- Who reaches it at the first date may have done so before it, and is no newcomer.
-- Parameters: @use_case, @audience, @order STRING, probability, expected_value or
--   effect; @who STRING, active, away or all; @least FLOAT64, that score; @since DATE and
--   @as_of DATE, both included; @recent DATE.
-- Source: ma_predictions_history.
WITH
  reached AS (
    SELECT
      MIN(as_of) AS first_as_of,
      MAX(as_of) AS newest_as_of
    FROM ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of BETWEEN @since AND @as_of
      AND (@who = 'all' OR JSON_VALUE(categories, '$.presence') = @who)
      AND @least <= CASE @order
        WHEN 'expected_value' THEN CAST(expected_value AS FLOAT64)
        WHEN 'effect'
          THEN (
            SELECT e.effect FROM UNNEST(effects) AS e WHERE e.audience = @audience
          )
        ELSE probability
      END
    GROUP BY user_id
  )
SELECT
  COUNTIF(r.first_as_of > b.first_as_of) AS newcomers,
  COUNTIF(r.newest_as_of = @as_of) AS users_now,
  DATE_DIFF(@as_of, b.first_as_of, DAY) / 7 AS weeks
FROM reached AS r
CROSS JOIN (
  SELECT GREATEST(MIN(first_as_of), @recent) AS first_as_of
  FROM reached
) AS b
GROUP BY b.first_as_of
