-- Rows of two kinds, so that the export is read once. With is_value FALSE, one row per
-- distinct probability: how many users had it, how many converted, and what all of them
-- paid. With is_value TRUE, one row per distinct expected value and amount: how many
-- users had both.
-- Parameters: those of labels.sql, @as_ofs being the one week; @use_case STRING;
--   @prediction_as_of DATE, the publication in force.
-- Source: ma_predictions_history and what converter_amounts.sql reads.
-- The row without a probability counts the converters who had no score. Users who
-- paid nothing that is known have a null amount.
-- Above two million users probabilities and values are rounded, which bounds the rows.
WITH
  converters AS (
-- include: converter_amounts.sql
  ),
-- include: published_probabilities.sql
  ,
  joined AS (
    SELECT
      IF(
        (SELECT COUNT(*) FROM scored) > 2000000,
        ROUND(s.probability, 6),
        s.probability
      ) AS probability,
      IF(
        (SELECT COUNT(*) FROM scored) > 2000000,
        ROUND(s.expected_value, 2),
        s.expected_value
      ) AS expected_value,
      c.amount,
      c.user_id IS NOT NULL AS is_converted
    FROM scored AS s
    FULL OUTER JOIN converters AS c
      ON c.user_id = s.user_id
  )
SELECT
  GROUPING(probability) = 1 AS is_value,
  probability,
  expected_value,
  amount,
  COUNT(*) AS users,
  COUNTIF(is_converted) AS conversions,
  SUM(amount) AS paid
FROM joined
GROUP BY GROUPING SETS ((probability), (expected_value, amount))
