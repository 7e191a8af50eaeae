-- One row per distinct score of those who may be members: how many users have it, how
-- many of them are expected to convert, and what they are expected to pay.
-- Parameters: @use_case, @order STRING, probability or expected_value; @as_of DATE;
--   those of features.sql.
-- Source: ma_predictions_history, and what eligible.sql reads.
-- Above two million users scores are rounded, which bounds the rows.
WITH
  publication AS (
    SELECT
      user_id,
      probability,
      CAST(expected_value AS FLOAT64) AS expected_value
    FROM
      ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of = @as_of
  ),
  eligible AS (
    -- include: eligible.sql
  ),
  scored AS (
    SELECT
      p.probability,
      p.expected_value,
      CASE
        WHEN @order = 'probability' AND n.users > 2000000 THEN ROUND(p.probability, 6)
        WHEN @order = 'probability' THEN p.probability
        WHEN n.users > 2000000 THEN ROUND(p.expected_value, 2)
        ELSE p.expected_value
      END AS score
    FROM
      eligible AS e
    JOIN
      publication AS p
      ON p.user_id = e.user_id
    CROSS JOIN
      (SELECT COUNT(*) AS users FROM publication) AS n
  )
SELECT
  score,
  COUNT(*) AS users,
  SUM(probability) AS conversions,
  SUM(expected_value) AS value
FROM
  scored
WHERE
  score IS NOT NULL
GROUP BY
  score
