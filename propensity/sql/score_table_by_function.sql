-- One row per row of a table: its user, and the probability of a scoring function.
-- Source: any table with the columns. Placeholders: `function`, made by
-- create_scoring_function.sql; `values`, its arguments; `source`, the table.
SELECT
  user_id,
  `function`(`values`) AS probability
FROM
  `source`
