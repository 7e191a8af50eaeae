-- One row per distinct expected value and amount: how many users had both. Users who
-- paid nothing that is known have a null amount.
-- Parameters: those of labels.sql, @as_ofs being the one week; @use_case STRING;
--   @prediction_as_of DATE, the publication in force.
-- Source: ma_predictions_history and what converter_amounts.sql reads.
-- No row where the publication has no expected values. Above two million users they are
-- rounded to two decimals, which bounds the rows of those who paid nothing.
WITH
  buyers AS (
-- include: converter_amounts.sql
  ),
  valued AS (
    SELECT
      user_id,
      expected_value
    FROM
      ma_predictions_history
    WHERE
      use_case = @use_case
      AND as_of = @prediction_as_of
      AND expected_value IS NOT NULL
  ),
  joined AS (
    SELECT
      IF(
        (SELECT COUNT(*) FROM valued) > 2000000,
        ROUND(v.expected_value, 2),
        v.expected_value
      ) AS expected_value,
      b.amount
    FROM
      valued AS v
    LEFT JOIN
      buyers AS b
      ON b.user_id = v.user_id
  )
SELECT
  expected_value,
  amount,
  COUNT(*) AS users
FROM
  joined
GROUP BY
  expected_value,
  amount
