-- Rows of three kinds, so that the export is read once. With is_value, one row per
-- distinct expected value and amount: how many users had both. With is_category, one row
-- per combination of the categories that are compared: its users, how many were expected
-- to convert, and how many did. Else one row per distinct probability and presence: how many
-- users had it, how many converted, and what all of them paid.
-- Parameters: those of labels.sql, @as_ofs being the one week; @use_case STRING;
--   @prediction_as_of DATE, the publication in force.
-- Source: ma_predictions_history and what converter_amounts.sql reads.
-- The row without a probability counts the converters who had no score. Users who
-- paid nothing that is known have a null amount.
WITH
  converters AS (
-- include: converter_amounts.sql
  ),
-- include: published_probabilities.sql
SELECT
  GROUPING(s.expected_value) = 0 AS is_value,
  GROUPING(s.categories) = 0 AS is_category,
  s.probability,
  s.presence,
  s.expected_value,
  c.amount,
  s.categories,
  COUNT(*) AS users,
  SUM(s.probability) AS expected,
  COUNT(c.user_id) AS conversions,
  SUM(c.amount) AS paid
FROM scored AS s
FULL OUTER JOIN converters AS c
  ON c.user_id = s.user_id
GROUP BY
  GROUPING SETS (
    (s.probability, s.presence), (s.expected_value, c.amount), (s.categories)
  )
