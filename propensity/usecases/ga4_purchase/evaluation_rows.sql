-- As runs/evaluation_rows.sql, with the transactions of nobody known beside it: the row
-- without a probability has them in its sums, and no user of theirs. The export is read
-- once.
-- Parameters: those of labels.sql, @as_ofs being the one week; @use_case STRING;
--   @prediction_as_of DATE, the publication in force.
-- Source: ma_predictions_history and what labels.sql reads.
WITH
-- include: label_transactions.sql
  ,
  converters AS (
    SELECT
      user_id,
      SUM(amount) AS amount,
      COUNT(*) AS purchases
    FROM every_transaction
    GROUP BY user_id
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
  SUM(c.amount) AS paid,
  SUM(c.purchases) AS purchases,
  SUM(IF(c.user_id IS NULL, c.purchases, 0)) AS purchases_without_id,
  SUM(IF(c.user_id IS NULL, c.amount, 0)) AS paid_without_id
FROM scored AS s
FULL OUTER JOIN converters AS c
  ON c.user_id = s.user_id
GROUP BY
  GROUPING SETS (
    (s.probability, s.presence), (s.expected_value, c.amount), (s.categories)
  )
