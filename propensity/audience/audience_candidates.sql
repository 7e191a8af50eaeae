-- One row per user of a publication who may be a member: those with a probability or
-- more, at most so many, the best first. Of users who share a score the hash decides,
-- keyed so that it prefers nobody by their id. Users whom the audience's own
-- statement has twice come before all others, whatever their probability.
-- Parameters: @use_case, @order STRING, probability or expected_value; @as_of DATE;
--   @least FLOAT64, that probability; @most INT64; @tie_key STRING; those of
--   features.sql.
-- Source: ma_predictions_history, and what eligible.sql reads.
WITH
  publication AS (
    SELECT
      user_id,
      probability,
      percentile,
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
  candidates AS (
    SELECT
      e.*,
      p.probability,
      p.percentile,
      p.expected_value,
      IF(@order = 'expected_value', p.expected_value, p.probability) AS score,
      COUNT(*) OVER (PARTITION BY e.user_id) AS times
    FROM
      eligible AS e
    JOIN
      publication AS p
      ON p.user_id = e.user_id
  )
SELECT
  c.*,
  TO_HEX(SHA256(CONCAT(@tie_key, c.user_id))) AS tie
FROM
  candidates AS c
WHERE
  c.probability >= @least
  OR c.times > 1
ORDER BY
  c.times DESC,
  c.score DESC,
  tie
LIMIT @most
