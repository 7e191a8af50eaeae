-- One row per distinct score of those who may be members, rounded, which bounds the
-- rows: how many users have it, how many of them are expected to convert, and what they
-- are expected to pay.
-- Parameters: @order STRING.
-- Source: the session's table scored.
WITH
  valued AS (
    SELECT
      probability,
      expected_value,
      CASE @order
        WHEN 'expected_value' THEN expected_value
        WHEN 'effect' THEN effect
        ELSE probability
      END AS score
    FROM scored
  )
SELECT
  ROUND(score, IF(@order = 'expected_value', 2, 6)) AS score,
  COUNT(*) AS users,
  SUM(probability) AS conversions,
  SUM(expected_value) AS value
FROM valued
WHERE score IS NOT NULL
GROUP BY 1
