-- One row per distinct probability: how many users had it and how many converted.
-- Parameters: those of labels.sql, @as_ofs being the one week; @use_case STRING;
--   @prediction_as_of DATE, the publication in force.
-- Source: ma_predictions_history and what labels.sql reads.
-- The row without a probability counts the converters whom nobody had scored.
-- Above two million users probabilities are rounded, which bounds the rows to a million.
WITH
  converters AS (
-- include: labels.sql
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
      c.user_id IS NOT NULL AS is_converted
    FROM
      scored AS s
    FULL OUTER JOIN
      converters AS c
      ON c.user_id = s.user_id
  )
SELECT
  probability,
  COUNT(*) AS users,
  COUNTIF(is_converted) AS conversions
FROM
  joined
GROUP BY
  probability
