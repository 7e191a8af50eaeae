-- One row per distinct score of those who may be members, rounded, which bounds the
-- rows: how many users have it, how many of them are expected to convert, and what they
-- are expected to pay.
-- Parameters: those of audience_scored.sql.
WITH
-- include: audience_scored.sql
SELECT
  ROUND(score, IF(@order = 'expected_value', 2, 6)) AS score,
  COUNT(*) AS users,
  SUM(probability) AS conversions,
  SUM(expected_value) AS value
FROM scored
WHERE score IS NOT NULL
GROUP BY 1
