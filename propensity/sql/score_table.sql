-- One row per row of a table: its user, and the probability that a version gives it.
-- Source: any table with the columns. Placeholders: `model`, the name of an imported
-- graph; `inputs`, its inputs; `source`, the table.
SELECT
  user_id,
  probability
FROM
  ML.PREDICT(
    MODEL `model`,
    (
      SELECT
        `inputs`
        user_id
      FROM
        `source`
    )
  )
